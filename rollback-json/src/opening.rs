//! The record that was opened last: the only one that a killed `begin` can have left uncommitted.
//!
//! The note is written before the record and never synced. A killed process leaves it as it is;
//! a power cut may take it back, but then the boot is another one, and the note is not believed:
//! whoever begins next looks through the whole directory once.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rollback_core::deployment::Deployment;
use rollback_core::error::StoreError;
use rollback_core::history::Sequence;
use rollback_core::id::DeploymentId;
use rollback_fs::system;
use serde::{Deserialize, Serialize};

use crate::index::this_boot;
use crate::record::read;

#[derive(Serialize, Deserialize)]
pub(crate) struct Opening {
    boot: String,
    pub(crate) deployment: DeploymentId,
    pub(crate) sequence: Sequence,
    pub(crate) shard: u64,
}

impl Opening {
    pub(crate) fn of(shard: u64, d: &Deployment) -> Self {
        Self {
            boot: this_boot().to_owned(),
            deployment: d.id().clone(),
            sequence: d.sequence(),
            shard,
        }
    }

    /// The note of this boot; `None` if there is none that can be believed.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let Some((bytes, _)) = read(path)? else {
            return Ok(None);
        };
        let noted: Option<Self> = serde_json::from_slice(&bytes).ok();
        Ok(noted.filter(|o| o.boot == this_boot()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        // Plain data always has a JSON text; an empty note is one that is not believed.
        let text = serde_json::to_vec(self).unwrap_or_default();
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(&text))
            .map_err(|e| system("a note of what begins cannot be written", path, e))
    }
}
