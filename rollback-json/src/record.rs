//! A deployment as a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rollback_core::deployment::{Annotations, Deployment, NewDeployment, Outcome};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::health::VerdictKind;
use rollback_core::history::{MAX_RECORD, Sequence};
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
    new: NewDeployment,
}

/// A record as its file's content.
pub(crate) fn encode(deployment: &Deployment) -> Result<Vec<u8>, StoreError> {
    seal::seal(&Written {
        format: FORMAT,
        outcome: deployment.outcome(),
        health: deployment.verdict().kind(),
        duration_ms: deployment
            .duration()
            .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        deployment,
    })
}

/// The record that a file's content is.
pub(crate) fn decode(bytes: &[u8]) -> Result<Deployment, Unreadable> {
    let read: Stored = seal::open(bytes)?;
    Deployment::replay(read.new, read.sequence, read.events, read.annotations)
        .map_err(|e| Unreadable::Damaged(e.to_string()))
}

/// Refuses what is too large to be kept.
pub(crate) fn check_size(value: &impl Serialize) -> Result<(), StoreError> {
    let size = serde_json::to_vec(value)
        .map_err(|e| StoreError::new(Kind::Io, "a value cannot be written as JSON").because(e))?
        .len();
    if size <= MAX_RECORD {
        return Ok(());
    }
    Err(StoreError::new(
        Kind::TooLarge,
        format!("a record has {size} bytes, at most {MAX_RECORD} are kept"),
    )
    .advice("shorten its facets, labels or diagnostic"))
}

/// Tells one content of a file from another without reading it: each write makes a new inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of what has this name now; `None` if nothing has.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(Self::from(&meta))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(system("a file of the history cannot be examined", path, e)),
        }
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(meta: &fs::Metadata) -> Self {
        Self {
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// A file's content and stamp; `None` if it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<(Vec<u8>, Stamp)>, StoreError> {
    let fail = |e| system("a file of the history cannot be read", path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let meta = file.metadata().map_err(fail)?;
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(MAX_FILE)).unwrap_or(0));
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    Ok(Some((bytes, Stamp::from(&meta))))
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
        .advice("restore the file from a copy, or forget this record"),
    }
}
