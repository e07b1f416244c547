//! [`Releases`]: the release directories, and the private records that say whose they are.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rollback_core::error::BackendError;
use rollback_core::id::DeploymentId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error;

/// Whose a release directory is and how far it got. Written before the directory is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) deployment: DeploymentId,
    pub(crate) commit: String,
    pub(crate) reference: String,
    /// Everything is written and durable.
    pub(crate) complete: bool,
    /// It was live once: kept for reading, until `retain` lets it go.
    pub(crate) went_live: bool,
    /// The digest of all that was written, for the day the commit is gone.
    pub(crate) content: Option<String>,
}

/// What the last switch did, so that one called again does not restart again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Switched {
    pub(crate) deployment: DeploymentId,
    /// The handle, or nothing.
    pub(crate) to: Option<String>,
    pub(crate) previous: Option<String>,
    pub(crate) restarted: bool,
}

/// The directories of one deploy root.
#[derive(Debug, Clone)]
pub(crate) struct Releases {
    root: PathBuf,
}

impl Releases {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    fn state(&self) -> PathBuf {
        self.root.join(".rollback")
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.state().join("releases").join(format!("{name}.json"))
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.root.join("releases").join(name)
    }

    /// The release that a path is, if it is one of ours.
    pub(crate) fn name_of(&self, path: &Path) -> Option<String> {
        let name = path
            .strip_prefix(self.root.join("releases"))
            .ok()?
            .to_str()?;
        (self.record(name).ok()?).map(|_| name.to_owned())
    }

    /// Makes the directories that everything else needs.
    pub(crate) fn make(&self) -> Result<(), BackendError> {
        for (dir, mode) in [
            (self.root.clone(), 0o755),
            (self.root.join("releases"), 0o755),
            (self.state(), 0o700),
            (self.state().join("releases"), 0o700),
            (self.state().join("trash"), 0o700),
        ] {
            if !dir.is_dir() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(mode)
                    .create(&dir)
                    .map_err(|e| error::io("cannot make a directory", dir.display(), e))?;
                if let Some(parent) = dir.parent() {
                    sync_dir(parent)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn record(&self, name: &str) -> Result<Option<Record>, BackendError> {
        // A handle comes out of a record: it must not lead out of the directory.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Ok(None);
        }
        read_json(&self.record_path(name))
    }

    /// Every record, by name.
    pub(crate) fn records(&self) -> Result<Vec<(String, Record)>, BackendError> {
        let dir = self.state().join("releases");
        let fail = |e| error::io("cannot list the releases", dir.display(), e);
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fail)?,
        };
        let mut out = Vec::new();
        for entry in entries {
            let file = entry.map_err(fail)?.file_name();
            if let Some(name) = file.to_str().and_then(|f| f.strip_suffix(".json"))
                && let Some(record) = self.record(name)?
            {
                out.push((name.to_owned(), record));
            }
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(out)
    }

    pub(crate) fn write_record(&self, name: &str, record: &Record) -> Result<(), BackendError> {
        write_json(&self.record_path(name), record)
    }

    /// Whether the release is complete and stands.
    pub(crate) fn stands(&self, name: &str) -> Result<bool, BackendError> {
        Ok(self.record(name)?.is_some_and(|r| r.complete) && self.dir(name).is_dir())
    }

    /// Opens the finished directory to the service's user.
    pub(crate) fn publish(&self, name: &str) -> Result<(), BackendError> {
        let dir = self.dir(name);
        fs::set_permissions(&dir, Permissions::from_mode(0o755))
            .map_err(|e| error::io("cannot open the release", dir.display(), e))?;
        sync_dir(&dir)?;
        sync_dir(&self.root.join("releases"))
    }

    /// Removes a release. It is renamed away first: what is half deleted never looks whole.
    pub(crate) fn remove(&self, name: &str) -> Result<(), BackendError> {
        let (dir, trash) = (self.dir(name), self.state().join("trash").join(name));
        let fail = |e| error::io("cannot remove the release", dir.display(), e);
        absent_is_fine(fs::remove_dir_all(&trash)).map_err(fail)?;
        absent_is_fine(fs::rename(&dir, &trash)).map_err(fail)?;
        absent_is_fine(fs::remove_file(self.record_path(name))).map_err(fail)?;
        sync_dir(&self.root.join("releases"))?;
        sync_dir(&self.state().join("releases"))?;
        absent_is_fine(fs::remove_dir_all(&trash)).map_err(fail)
    }

    /// Deletes what an interrupted removal left.
    pub(crate) fn empty_trash(&self) -> Result<(), BackendError> {
        let trash = self.state().join("trash");
        let fail = |e| error::io("cannot empty the trash", trash.display(), e);
        for entry in fs::read_dir(&trash).into_iter().flatten() {
            fs::remove_dir_all(entry.map_err(fail)?.path()).map_err(fail)?;
        }
        Ok(())
    }

    pub(crate) fn switched(&self) -> Result<Option<Switched>, BackendError> {
        read_json(&self.state().join("switched.json"))
    }

    pub(crate) fn write_switched(&self, switched: &Switched) -> Result<(), BackendError> {
        write_json(&self.state().join("switched.json"), switched)
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), BackendError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| error::io("cannot make a directory durable", dir.display(), e))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BackendError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            error::corrupt("a record of the deploy root does not parse", path.display()).because(e)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(error::io("cannot read a record", path.display(), e)),
    }
}

// Same directory, fsync, rename, fsync of the directory: old or new after a power cut, never half.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), BackendError> {
    let fail = |e| error::io("cannot write a record", path.display(), e);
    let dir = path.parent().unwrap_or(path);
    let bytes = serde_json::to_vec(value).map_err(|e| fail(e.into()))?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(fail)?;
    file.write_all(&bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    sync_dir(dir)
}
