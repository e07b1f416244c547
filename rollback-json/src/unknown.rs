//! Fields that this version does not know: they survive being read and written back, so that an
//! older program takes nothing away from what a newer one has written in the same format.

use std::fmt;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// JSON whose members stay in the order that they were written in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Scalar(Value),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// A value as it would be written.
    fn of(value: &impl Serialize) -> Result<Self, StoreError> {
        let failed = |e| StoreError::new(Kind::Io, "a value cannot be written as JSON").because(e);
        let text = serde_json::to_vec(value).map_err(failed)?;
        serde_json::from_slice(&text).map_err(failed)
    }

    fn member(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        members.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

/// `new` with what `found`, a file's content, has and this version does not know. `known` is what
/// was understood of the file. Of what has changed only the whole and its members `within` keep
/// what is not understood: another hold does not get the former one's fields.
pub(crate) fn carried(
    found: &[u8],
    known: &impl Serialize,
    new: &impl Serialize,
    within: &[&str],
) -> Result<Json, StoreError> {
    let mut new = Json::of(new)?;
    if let Ok(found) = serde_json::from_slice::<Json>(found) {
        carry(&found, &Json::of(known)?, &mut new, within);
    }
    Ok(new)
}

fn carry(found: &Json, known: &Json, new: &mut Json, within: &[&str]) {
    let (Json::Object(there), Json::Object(members)) = (found, &mut *new) else {
        return;
    };
    for (key, value) in members.iter_mut() {
        let (Some(found), Some(known)) = (found.member(key), known.member(key)) else {
            continue;
        };
        if known == value {
            *value = found.clone();
        } else if within.contains(&&**key) {
            carry(found, known, value, within);
        } else {
            elements(found, known, value);
        }
    }
    for (key, value) in there {
        // The seal is no member: it is made anew.
        if key != "checksum" && known.member(key).is_none() {
            members.push((key.clone(), value.clone()));
        }
    }
}

/// Elements of a list that are the same as before keep what is not understood of them.
fn elements(found: &Json, known: &Json, new: &mut Json) {
    let (Json::Array(found), Json::Array(known), Json::Array(new)) = (found, known, new) else {
        return;
    };
    for element in new {
        if let Some(at) = known.iter().position(|k| k == element)
            && let Some(found) = found.get(at)
        {
            *element = found.clone();
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(value) => value.serialize(to),
            Self::Array(elements) => {
                let mut seq = to.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    seq.serialize_element(element)?;
                }
                seq.end()
            }
            Self::Object(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_understood_stays_where_it_is_and_goes_with_what_it_belonged_to() {
        let found = json!({
            "a": 1, "later": {"x": [1, 2]}, "kept": {"b": 2, "more": 3}, "gone": {"c": 1, "more": 4},
            "open": {"p": false, "more": 5}, "list": [{"n": 1, "more": 6}, {"n": 2, "more": 7}],
            "checksum": "old"
        });
        let known = json!({
            "a": 1, "kept": {"b": 2}, "gone": {"c": 1}, "open": {"p": false},
            "list": [{"n": 1}, {"n": 2}]
        });
        let new = json!({
            "a": 9, "kept": {"b": 2}, "gone": {"c": 8}, "open": {"p": true},
            "list": [{"n": 2}, {"n": 3}]
        });
        let found = serde_json::to_vec(&found).unwrap();
        let carried = carried(&found, &known, &new, &["open"]).unwrap();
        assert_eq!(
            serde_json::to_value(&carried).unwrap(),
            json!({
                "a": 9, "kept": {"b": 2, "more": 3}, "gone": {"c": 8}, "open": {"p": true, "more": 5},
                "list": [{"n": 2, "more": 7}, {"n": 3}], "later": {"x": [1, 2]}
            })
        );
    }

    #[test]
    fn members_keep_their_order() {
        let text = r#"{"z":1,"a":{"y":[null,true,-1,1.5,"x"],"b":2}}"#;
        let json: Json = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
    }
}
