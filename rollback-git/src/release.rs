//! [`Releases`]: the release directories, and the private notes that say whose they are.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, Chain};
use rollback_core::id::DeploymentId;
use rollback_process::Engine;
use serde::{Deserialize, Serialize};

use crate::file::{absent_is_fine, sync_dir};
use crate::listing::Relative;
use crate::reserve::with_reserve;
use crate::root::Root;
use crate::scan::Instant;
use crate::{error, json};

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
    /// Who took it last, and has not sealed it yet.
    #[serde(default)]
    pub(crate) taken: Option<Taken>,
}

impl Record {
    /// Whether this deployment took it last, and it is not sealed since.
    pub(crate) fn taken_by(&self, deployment: &DeploymentId) -> bool {
        self.taken.as_ref().is_some_and(|t| t.by == *deployment)
    }
}

/// A release directory between the moment that a deployment takes it and the moment that it is
/// sealed: what release tasks and the restart command write meanwhile belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) by: DeploymentId,
    /// What had been changed by hand before that, and stays so. Bytes: a path need not be text.
    changed: Vec<Vec<u8>>,
}

impl Taken {
    pub(crate) fn new<'a>(
        by: &DeploymentId,
        changed: impl IntoIterator<Item = &'a Relative>,
    ) -> Self {
        let bytes = |path: &Relative| path.as_bytes().to_vec();
        Self {
            by: by.clone(),
            changed: changed.into_iter().map(bytes).collect(),
        }
    }

    pub(crate) fn changed(&self) -> BTreeSet<Relative> {
        let path = |bytes: &Vec<u8>| bytes.as_slice().into();
        self.changed.iter().map(path).collect()
    }
}

/// What is on record of a release directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// Nothing: it is not ours.
    Missing,
    Sound(Record),
    /// It is ours, and nothing more is known.
    Damaged,
}

/// What the last switch did, so that one called again does not restart again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Switched {
    pub(crate) deployment: DeploymentId,
    /// The handle, or nothing.
    pub(crate) to: Option<String>,
    pub(crate) previous: Option<String>,
    pub(crate) restart: Restart,
}

/// How far the command got that follows a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Restart {
    /// It has not been begun.
    Due,
    /// This process has begun it. So many before it have died of it, or while it ran.
    Begun { by: Engine, deaths: u32 },
    /// It has succeeded, or there is none.
    Done,
}

/// The directories of one deploy root.
#[derive(Debug, Clone)]
pub(crate) struct Releases {
    root: Root,
}

impl Releases {
    pub(crate) fn new(root: Root) -> Self {
        Self { root }
    }

    fn notes(&self) -> PathBuf {
        self.root.state().join("releases")
    }

    fn note_path(&self, name: &str) -> PathBuf {
        self.notes().join(format!("{name}.json"))
    }

    /// Where the seal of a release is.
    pub(crate) fn seal(&self, name: &str) -> PathBuf {
        self.notes().join(format!("{name}.seal"))
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.root.path().join("releases").join(name)
    }

    /// The release that a path is, if it is one of ours.
    pub(crate) fn name_of(&self, path: &Path) -> Option<String> {
        let releases = self.root.path().join("releases");
        let name = path.strip_prefix(releases).ok()?.to_str()?;
        let note = self.note(name).ok()?;
        (note != Note::Missing).then(|| name.to_owned())
    }

    /// What is on record of a release; one damaged note says nothing of any other.
    pub(crate) fn note(&self, name: &str) -> Result<Note, BackendError> {
        // A handle comes out of a record: it must not lead out of the directory.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Ok(Note::Missing);
        }
        match json::read(&self.note_path(name)) {
            Ok(Some(record)) => Ok(Note::Sound(record)),
            Ok(None) => Ok(Note::Missing),
            Err(e) if e.kind() == BackendErrorKind::Corrupt => {
                tracing::warn!(release = name, error = %Chain::of(&e), "a damaged note");
                Ok(Note::Damaged)
            }
            Err(e) => Err(e),
        }
    }

    /// Its record, if that can be read.
    pub(crate) fn record(&self, name: &str) -> Result<Option<Record>, BackendError> {
        Ok(match self.note(name)? {
            Note::Sound(record) => Some(record),
            Note::Missing | Note::Damaged => None,
        })
    }

    /// Every record that can be read, by name.
    pub(crate) fn records(&self) -> Result<Vec<(String, Record)>, BackendError> {
        let dir = self.notes();
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
        let path = self.note_path(name);
        json::put(&path, record)?;
        self.root.synced().name(&path)
    }

    /// Whether the release is complete and stands, as far as its note can be read.
    pub(crate) fn stands(&self, name: &str) -> Result<bool, BackendError> {
        let complete = match self.note(name)? {
            Note::Sound(record) => record.complete,
            Note::Damaged => true,
            Note::Missing => false,
        };
        Ok(complete && self.dir(name).is_dir())
    }

    /// Opens the finished directory to the service's user.
    pub(crate) fn publish(&self, name: &str) -> Result<(), BackendError> {
        let dir = self.dir(name);
        fs::set_permissions(&dir, Permissions::from_mode(0o755))
            .map_err(|e| error::io("cannot open the release", dir.display(), e))?;
        sync_dir(&dir)?;
        sync_dir(&self.root.path().join("releases"))
    }

    /// Moves a release to the trash, in one rename: what is half deleted never looks whole.
    pub(crate) fn remove(&self, name: &str) -> Result<(), BackendError> {
        let dir = self.dir(name);
        let fail = |e| error::io("cannot remove the release", dir.display(), e);
        let trash = self.trash();
        let mut places = (0_u32..).map(|n| trash.join(format!("{name}.{n}")));
        if let Some(free) = places.find(|path| path.symlink_metadata().is_err()) {
            absent_is_fine(fs::rename(&dir, free)).map_err(fail)?;
        }
        absent_is_fine(fs::remove_file(self.seal(name))).map_err(fail)?;
        absent_is_fine(fs::remove_file(self.note_path(name))).map_err(fail)?;
        sync_dir(&self.root.path().join("releases"))?;
        self.sync_notes()
    }

    /// Makes the note of a release durable: whoever wrote it may not have lived to do so.
    pub(crate) fn sync_note(&self, name: &str) -> Result<(), BackendError> {
        self.root.synced().name(&self.note_path(name))
    }

    pub(crate) fn sync_notes(&self) -> Result<(), BackendError> {
        sync_dir(&self.notes())
    }

    fn trash(&self) -> PathBuf {
        self.root.state().join("trash")
    }

    /// Deletes what was removed. What cannot be deleted is said, and stays for the next time: it is
    /// in nobody's way.
    pub(crate) fn empty_trash(&self, cx: &Context) {
        let trash = self.trash();
        let entries: Vec<_> = fs::read_dir(&trash)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        if entries.is_empty() {
            return;
        }
        let say = |what: &Path, e: &(dyn std::error::Error + 'static)| {
            let e = Chain::of(e);
            tracing::warn!(trash = %what.display(), error = %e, "it cannot be deleted now");
            cx.say(format!("{} cannot be deleted now: {e}", what.display()));
        };
        // Whoever removed it may not have lived to make that durable: half a release must not come
        // back.
        let releases = self.root.path().join("releases");
        if let Err(e) = sync_dir(&releases).and_then(|()| self.sync_notes()) {
            return say(&trash, &e);
        }
        for entry in entries {
            if let Err(e) = absent_is_fine(delete(&entry.path())) {
                say(&entry.path(), &e);
            }
        }
    }

    /// What the last switch did, if that is on record and can be read.
    pub(crate) fn switched(&self) -> Result<Option<Switched>, BackendError> {
        json::read_sound(&self.root.state().join("switched.json"))
    }

    pub(crate) fn write_switched(&self, switched: &Switched) -> Result<(), BackendError> {
        json::write(&self.root.state().join("switched.json"), switched)
    }

    /// What time it is by the clock of the file system that the releases are on.
    pub(crate) fn clock(&self) -> Result<Instant, BackendError> {
        let path = self.root.state().join("clock.next");
        let meta = with_reserve(&path, || {
            let asked = fs::write(&path, b"").and_then(|()| path.metadata());
            asked.map_err(|e| error::io("cannot ask the clock", path.display(), e))
        })?;
        let _ = fs::remove_file(&path);
        Ok((meta.ctime(), meta.ctime_nsec()))
    }
}

/// Deletes a directory, opening those of our own that were closed to us.
fn delete(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir);
            fs::remove_dir_all(dir)
        }
        done => done,
    }
}

fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
