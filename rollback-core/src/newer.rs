//! [`Newer`]: what a newer version of this library has written and this one does not know. It is
//! kept as it is, so that an older program that writes to a record loses nothing of it.

use std::fmt;
use std::iter::{Once, once};

use serde::de::value::MapDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

/// Fields, or a whole value of an unknown kind, as a newer version wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Newer(Map<String, Value>);

impl Newer {
    /// Its kind: what the field that tells kinds apart says.
    pub fn kind(&self, tag: &str) -> &str {
        self.0.get(tag).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A value whose kind a field tells, before it is understood.
pub(crate) enum Tagged {
    /// Of a kind that this version knows.
    Known(Value),
    /// Of another one.
    Newer(Newer),
}

impl Tagged {
    /// Reads one. What has no kind at all is damaged, and not newer: it is left to fail as known.
    pub(crate) fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
        tag: &str,
        known: &[&str],
    ) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        Ok(match fields.get(tag) {
            Some(Value::String(kind)) if !known.contains(&kind.as_str()) => {
                Self::Newer(Newer(fields))
            }
            _ => Self::Known(Value::Object(fields)),
        })
    }
}

/// A value that has a kind, and nothing else.
pub(crate) type Bare = MapDeserializer<'static, Once<(&'static str, &'static str)>, Kinds>;

/// What an enum's derive says of a kind that it does not have: those that it has.
#[derive(Debug)]
pub(crate) struct Kinds(&'static [&'static str]);

impl Kinds {
    /// The kinds that an enum has. Its own derive is asked: a list beside it would be forgotten, and
    /// what is missing there read as a newer version's.
    pub(crate) fn of<T>(
        tag: &'static str,
        derived: impl FnOnce(Bare) -> Result<T, Self>,
    ) -> &'static [&'static str] {
        match derived(MapDeserializer::new(once((tag, "")))) {
            Ok(_) => &[],
            Err(Self(kinds)) => kinds,
        }
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not one of {}", self.0.join(", "))
    }
}

impl std::error::Error for Kinds {}

impl de::Error for Kinds {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, kinds: &'static [&'static str]) -> Self {
        Self(kinds)
    }
}

/// Makes an enum that is derived for its known kinds (`remote = "Self"`) keep those of newer versions.
macro_rules! keeps_newer {
    ($name:ident, $tag:literal) => {
        impl $name {
            /// The kinds that this version knows, as they are recorded.
            pub(crate) fn kinds() -> &'static [&'static str] {
                static KINDS: ::std::sync::OnceLock<&[&str]> = ::std::sync::OnceLock::new();
                KINDS.get_or_init(|| {
                    $crate::newer::Kinds::of($tag, |bare: $crate::newer::Bare| {
                        Self::deserialize(bare)
                    })
                })
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                match self {
                    Self::Newer(newer) => ::serde::Serialize::serialize(newer, to),
                    known => Self::serialize(known, to),
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                match $crate::newer::Tagged::read(from, $tag, Self::kinds())? {
                    $crate::newer::Tagged::Newer(newer) => Ok(Self::Newer(newer)),
                    $crate::newer::Tagged::Known(value) => {
                        Self::deserialize(value).map_err(::serde::de::Error::custom)
                    }
                }
            }
        }
    };
}
pub(crate) use keeps_newer;

#[cfg(test)]
mod tests;
