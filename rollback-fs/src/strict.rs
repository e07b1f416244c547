//! JSON as this library writes it: no key twice in one object, and nothing nested deeply. The
//! parser itself takes the last of two equal keys in silence, so what a hand has edited might be
//! read as something else than what it says.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Levels of nesting; a record has some ten.
const DEPTH: usize = 32;
/// Up to so many keys a list is searched faster than a set is filled.
const FEW: usize = 16;

/// Whether a text is one JSON value without a doubled key or deep nesting.
///
/// # Errors
///
/// Says why it is not, and where in the text.
pub fn check(text: &[u8]) -> std::io::Result<()> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    Level(DEPTH).deserialize(&mut parser)?;
    Ok(parser.end()?)
}

/// Levels that are left.
struct Level(usize);

impl Level {
    fn next<E: Error>(&self) -> Result<Self, E> {
        let left = self.0.checked_sub(1);
        left.map(Self)
            .ok_or_else(|| E::custom(format_args!("it is nested deeper than {DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self.next()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut few, mut many) = (Vec::new(), HashSet::new());
        while let Some(Key(key)) = map.next_key()? {
            let doubled = if few.len() < FEW {
                few.contains(&key)
            } else {
                few.contains(&key) || many.contains(&key)
            };
            if doubled {
                return Err(A::Error::custom(format_args!(
                    "it has the key {key:?} twice"
                )));
            }
            if few.len() < FEW {
                few.push(key);
            } else {
                many.insert(key);
            }
            map.next_value_seed(self.next()?)?;
        }
        Ok(())
    }
}

/// A key, borrowed from the text where it has no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_key_is_found_wherever_it_is() {
        let many: String = (0..40).map(|n| format!("\"k{n}\":{n},")).collect();
        for doubled in [
            r#"{"a":1,"a":1}"#.to_owned(),
            r#"{"a":[{"b":{"c":1,"d":"x","c":null}}]}"#.to_owned(),
            // The same key in another spelling.
            r#"{"ab":1,"\u0061b":2}"#.to_owned(),
            format!("{{{many}\"k39\":1}}"),
            format!("{{{many}\"k3\":1}}"),
        ] {
            let why = check(doubled.as_bytes()).unwrap_err().to_string();
            assert!(why.contains("twice"), "{why}");
        }
        let sound = format!("{{{many}\"a\":[{{\"k1\":-1.5}},{{\"k1\":true}}]}}");
        check(sound.as_bytes()).unwrap();
    }

    #[test]
    fn deep_nesting_and_broken_text_are_found() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        check(nested(DEPTH).as_bytes()).unwrap();
        for deep in [DEPTH + 1, 100, 1_000, 100_000] {
            let why = check(nested(deep).as_bytes()).unwrap_err().to_string();
            assert!(why.contains("deeper"), "{why}");
        }
        for broken in ["", "{", r#"{"a":"#, "1 2", "{} x", r#"{"a":"\ud800"}"#] {
            check(broken.as_bytes()).unwrap_err();
        }
    }
}
