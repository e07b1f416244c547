//! Values as columns hold them, and back.

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::MAX_RECORD;
use rollback_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::unreadable;

/// A number as SQLite has them.
pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// An instant as whole microseconds (rounded down) and the nanoseconds left over, so that
/// columns compare exactly as timestamps do.
pub(crate) fn split(at: Timestamp) -> (i64, u32) {
    let mut us = at.as_microsecond();
    // Before 1970 microseconds are rounded towards zero, which is later.
    if Timestamp::from_microsecond(us).is_some_and(|t| t > at) {
        us -= 1;
    }
    let rest = Timestamp::from_microsecond(us).map_or(0, |t| at.since(t).subsec_nanos());
    (us, rest)
}

pub(crate) fn encode(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|e| StoreError::new(Kind::Io, "a value cannot be written as JSON").because(e))
}

/// A stored value. Fails with `Corrupt` if this library cannot have written it.
pub(crate) fn decode<T: DeserializeOwned>(
    what: impl std::fmt::Display,
    text: &str,
) -> Result<T, StoreError> {
    if text.len() > MAX_RECORD {
        let why = format!("it has {} bytes, at most {MAX_RECORD} are kept", text.len());
        return Err(unreadable(what, why));
    }
    // A key twice is an error in a struct; in a map only `verify` finds it, at half a parse more.
    serde_json::from_str(text).map_err(|e| unreadable(what, e))
}

/// A plain enum as the one word that it is in JSON.
pub(crate) fn word(value: &impl Serialize) -> Result<String, StoreError> {
    Ok(encode(value)?.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_instants_compare_as_the_instants_do() {
        let mut texts = [
            "1969-12-31T23:59:59.999999001Z",
            "1969-12-31T23:59:59.999999Z",
            "1969-12-31T23:59:59.999998999Z",
            "1970-01-01T00:00:00Z",
            "2026-03-15T14:30:22.000000001Z",
            "2026-03-15T14:30:22.000000999Z",
            "2026-03-15T14:30:22.000001Z",
        ];
        texts.sort_by_key(|t| t.parse::<Timestamp>().unwrap());
        let split: Vec<_> = texts.iter().map(|t| split(t.parse().unwrap())).collect();
        assert!(split.is_sorted_by(|a, b| a < b), "{split:?}");
    }
}
