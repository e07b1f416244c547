//! JSON as strict as its readers would like it: no name twice in an object, no deep nesting.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting that a file of this store has.
pub(crate) const MAX_DEPTH: usize = 32;

/// Says what is wrong with a text, if anything is.
pub(crate) fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Level(MAX_DEPTH).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// So many levels may still open.
#[derive(Clone, Copy)]
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl Level {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.0.checked_sub(1) {
            Some(left) => Ok(Self(left)),
            None => Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            ))),
        }
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.deeper()?;
        let mut names: HashSet<String> = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(below)?;
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!(
                    "the name {name:?} is there twice"
                )));
            }
            names.insert(name);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let below = self.deeper()?;
        while seq.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_twice_and_deep_nesting_are_refused() {
        check(br#"{"a":[1,2.5,null,true,"x",{"a":{}}],"b":-1}"#).unwrap();
        let twice = check(br#"{"a":{"b":1,"b":2}}"#).unwrap_err().to_string();
        assert!(twice.contains("\"b\" is there twice"), "{twice}");
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        check(nested(MAX_DEPTH).as_bytes()).unwrap();
        assert!(check(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(check(b"{} x").is_err());
        assert!(check(b"{\"a\":").is_err());
    }
}
