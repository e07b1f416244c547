//! [`IdempotencyKey`]: what makes a request that is sent twice one request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidId;

/// Longest idempotency key, in bytes.
pub const MAX_KEY: usize = 255;

/// The caller's own name for one request, such as a CI job's id: a request that is sent again under
/// it gets the deployment that the first one got.
///
/// 1 to [`MAX_KEY`] visible ASCII characters, as an HTTP header carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = |why: String| Err(InvalidId::new("idempotency key", s, why));
        if s.is_empty() {
            return bad("it is empty".into());
        }
        if s.len() > MAX_KEY {
            return bad(format!(
                "it has {} bytes, at most {MAX_KEY} are allowed",
                s.len()
            ));
        }
        match s.chars().find(|c| !c.is_ascii_graphic()) {
            Some(c) => bad(format!(
                "{c:?} is not allowed; use visible ASCII characters"
            )),
            None => Ok(Self(s.to_owned())),
        }
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = InvalidId;

    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> String {
        key.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_a_header_carries() {
        for good in ["1", "gh-run/123#4", "~", &"k".repeat(MAX_KEY)] {
            assert_eq!(good.parse::<IdempotencyKey>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "tab\t", "é", &"k".repeat(MAX_KEY + 1)] {
            assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?}");
        }
    }
}
