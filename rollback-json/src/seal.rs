//! The seal on each file: its format's version first, its checksum last.
//!
//! The checksum is over every byte before the comma that precedes it, so that anybody with
//! `head -c` and `sha256sum` can check it, and any edit breaks it.

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use rollback_fs::strict;

use crate::unknown;

/// The version of the format that this library writes, where [`WITHHOLDING`] does not have to be.
pub(crate) const FORMAT: u32 = 2;

/// The format of a state that withholds something from rollbacks: a program that knows only
/// [`FORMAT`] would roll back there. The newest that is read.
pub(crate) const WITHHOLDING: u32 = 3;

/// Longest file that is read: a record with its events, each of which is 1 MiB at most.
pub(crate) const MAX_FILE: u64 = 64 * 1024 * 1024;

const CHECKSUM: &[u8] = b",\n  \"checksum\": \"sha256:";
const END: &[u8] = b"\"\n}\n";
const HEX: usize = 64;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A newer version of this library wrote it, as this says; it is left alone.
    Newer(String),
    /// It is not what this library wrote.
    Damaged(String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newer(why) | Self::Damaged(why) => f.write_str(why),
        }
    }
}

impl Unreadable {
    /// It has this newer version of what this library knows up to `newest`.
    pub(crate) fn newer(
        what: &str,
        version: impl std::fmt::Display,
        newest: impl std::fmt::Display,
    ) -> Self {
        Self::Newer(format!(
            "a newer version wrote it ({what} {version}, this one reads {newest}); update this \
             program"
        ))
    }
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// A struct whose first field is `format`, as a file's content.
pub(crate) fn seal(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| StoreError::new(Kind::Io, "a value cannot be written as JSON").because(e))?;
    bytes.truncate(bytes.len().saturating_sub(2)); // "\n}"
    let sum = hex(&bytes);
    bytes.extend_from_slice(CHECKSUM);
    bytes.extend_from_slice(sum.as_bytes());
    bytes.extend_from_slice(END);
    Ok(bytes)
}

/// The same for a file that is written anew: what `found`, its content, has and this version does
/// not know is kept. `known` is what was understood of it; see [`unknown::carried`] for `within`.
pub(crate) fn reseal(
    found: &[u8],
    known: &impl Serialize,
    new: &impl Serialize,
    within: &[&str],
) -> Result<Vec<u8>, StoreError> {
    if seal(known)? == found {
        return seal(new);
    }
    seal(&unknown::carried(found, known, new, within)?)
}

/// What a file says, if it is whole and of a version that is known.
pub(crate) fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let damaged = |why: String| Unreadable::Damaged(why);
    let is_sealed = is_sealed(bytes);
    // Most files are, and need not be parsed once more for their version.
    if !is_sealed || !begins_as_ours(bytes) {
        let version = serde_json::from_slice::<Version>(bytes);
        if let Ok(Version { format }) = version
            && format > WITHHOLDING
        {
            return Err(Unreadable::newer("format", format, WITHHOLDING));
        }
        if !is_sealed {
            return Err(damaged(match version {
                Ok(_) => "its checksum does not fit: it was changed by hand".to_owned(),
                Err(e) => format!("it is no whole record: {e}"),
            }));
        }
    }
    strict::check(bytes).map_err(|e| damaged(e.to_string()))?;
    serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))
}

/// Whether a file begins with the version that this library writes.
fn begins_as_ours(bytes: &[u8]) -> bool {
    let format = format!("{{\n  \"format\": {FORMAT},");
    bytes.starts_with(format.as_bytes())
}

pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    let tail = CHECKSUM.len() + HEX + END.len();
    let Some((body, tail)) = bytes
        .len()
        .checked_sub(tail)
        .and_then(|at| bytes.split_at_checked(at))
    else {
        return false;
    };
    tail.strip_prefix(CHECKSUM)
        .and_then(|t| t.strip_suffix(END))
        .is_some_and(|sum| sum == hex(body).as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Some {
        format: u32,
        text: String,
    }

    fn sealed(format: u32) -> Vec<u8> {
        let text = "x".to_owned();
        seal(&Some { format, text }).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_any_change_shows() {
        let bytes = sealed(1);
        assert_eq!(open::<Some>(&bytes).unwrap().text, "x");
        assert_eq!(bytes[0], b'{');
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            let refused = open::<Some>(&changed).unwrap_err();
            assert!(
                matches!(refused, Unreadable::Damaged(_) | Unreadable::Newer(_)),
                "{i}"
            );
            assert!(
                matches!(open::<Some>(&bytes[..i]), Err(Unreadable::Damaged(_))),
                "{i}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        assert!(begins_as_ours(&sealed(FORMAT)) && !begins_as_ours(&sealed(FORMAT * 10)));
        assert_eq!(
            open::<Some>(&sealed(7)).unwrap_err(),
            Unreadable::newer("format", 7, WITHHOLDING)
        );
    }
}
