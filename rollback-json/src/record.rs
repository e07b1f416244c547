//! A deployment as a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rollback_core::deployment::{Annotations, Deployment, Opening, Outcome, RecordVersion};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::health::VerdictKind;
use rollback_core::history::Sequence;
use rollback_fs::system;
use serde::{Deserialize, Serialize};

use crate::seal::{self, FORMAT, MAX_FILE, Unreadable};

/// What is written: the record, and what people ask first of it.
#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    /// These three follow from the events; they are for people, and not read back.
    outcome: Option<Outcome>,
    health: VerdictKind,
    duration_ms: Option<u64>,
    #[serde(flatten)]
    deployment: &'a Deployment,
}

#[derive(Deserialize)]
struct Stored {
    sequence: Sequence,
    annotations: Annotations,
    events: Vec<TimedEvent>,
    #[serde(flatten)]
    new: Opening,
}

impl<'a> Written<'a> {
    fn of(deployment: &'a Deployment) -> Self {
        Self {
            format: FORMAT,
            outcome: deployment.outcome(),
            health: deployment.verdict().kind(),
            duration_ms: deployment
                .duration()
                .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            deployment,
        }
    }
}

/// A new record as its file's content.
pub(crate) fn encode(deployment: &Deployment) -> Result<Vec<u8>, StoreError> {
    seal::seal(&Written::of(deployment))
}

/// A changed record as its file's new content. `found` is the present one, and `known` what it
/// says.
pub(crate) fn encode_again(
    found: &[u8],
    known: &Deployment,
    new: &Deployment,
) -> Result<Vec<u8>, StoreError> {
    let (known, new) = (Written::of(known), Written::of(new));
    seal::reseal(found, &known, &new, &["annotations"])
}

/// The record that a file's content is.
pub(crate) fn decode(bytes: &[u8]) -> Result<Deployment, Unreadable> {
    let read: Stored = seal::open(bytes).map_err(|why| newer(bytes, why))?;
    Deployment::replay(read.new, read.sequence, read.events, read.annotations)
        .map_err(|e| Unreadable::Damaged(e.to_string()))
}

/// A record that a newer version wrote, and this one cannot read, is not damaged.
fn newer(bytes: &[u8], why: Unreadable) -> Unreadable {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    match RecordVersion::named_in(text) {
        Some(version) if version.is_newer() && seal::is_sealed(bytes) => {
            Unreadable::newer("record version", version, RecordVersion::NEWEST)
        }
        _ => why,
    }
}

/// A file's content; `None` if it is not there.
///
/// What was read before is believed only if this is the same: stamps of a file tell two contents
/// apart only where clocks and inodes are finer than disks are fast.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let fail = |e| system("a file of the history cannot be read", path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let len = file.metadata().map_err(fail)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(len.min(MAX_FILE)).unwrap_or(0));
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    Ok(Some(bytes))
}

/// The error for a file that cannot be read.
pub(crate) fn unreadable(path: &Path, why: &Unreadable) -> StoreError {
    match why {
        Unreadable::Newer(_) => {
            StoreError::new(Kind::NewerSchema, format!("it was left as it is: {why}"))
                .on(path.display())
        }
        Unreadable::Damaged(_) => StoreError::new(
            Kind::Corrupt,
            format!("a stored record cannot be read ({why})"),
        )
        .on(path.display())
        .advice("put the file back from a copy, or forget this record: it is then moved aside"),
    }
}
