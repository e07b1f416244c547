//! [`Notes`]: which copies there are. A note is written once its copy is whole.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::Release;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::tag::artifact_of;

/// How the name of a file begins that is not whole yet.
const UNFINISHED: &str = ".unfinished-";

/// A copy of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The image's id, which is what it is.
    pub(super) image: String,
    pub(super) kept: Kept,
}

/// Which artifact a copy is of: the digits of its digest. They come from a record, and go into a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits<'a>(&'a str);

impl<'a> Digits<'a> {
    /// Those of a release; `None` where its digest is none of docker's.
    pub(super) fn of(release: &'a Release) -> Option<Self> {
        let digits = artifact_of(release);
        let is_one = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then_some(Self(digits))
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kept {
    /// Beside the note, and so long, in bytes.
    Archive { size: u64 },
    /// In a registry, as `repository@digest`.
    At(String),
}

impl Note {
    /// By which name a registry has it.
    pub(super) fn at(self) -> Option<(String, Self)> {
        match &self.kept {
            Kept::At(name) => Some((name.clone(), self)),
            Kept::Archive { .. } => None,
        }
    }
}

/// The directory of one workload's copies, 0700: `<artifact>.json`, and `<artifact>.tar` beside it. Several
/// workloads may share a state directory.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    dir: PathBuf,
}

impl Notes {
    /// `workload` is fit for a file's name.
    pub(super) fn below(state_dir: &Path, workload: &str) -> Self {
        Self {
            dir: state_dir.join("images").join(workload),
        }
    }

    pub(super) fn archive(&self, artifact: Digits<'_>) -> PathBuf {
        self.dir.join(format!("{}.tar", artifact.0))
    }

    fn note(&self, artifact: Digits<'_>) -> PathBuf {
        self.dir.join(format!("{}.json", artifact.0))
    }

    /// What is kept of an artifact. One that cannot be understood, or whose file is not as long as it was,
    /// is made again.
    pub(super) async fn read(
        &self,
        cx: &Context,
        artifact: Digits<'_>,
    ) -> Result<Option<Note>, BackendError> {
        let (path, archive) = (self.note(artifact), self.archive(artifact));
        blocking(cx, move |_| {
            let text = match fs::read(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                text => text.map_err(|e| fail(&path, e))?,
            };
            let note: Note = match serde_json::from_slice(&text) {
                Ok(note) => note,
                Err(e) => {
                    tracing::warn!(path = %path.display(), error = %e, "no note of a copy");
                    return Ok(None);
                }
            };
            let is_there = match note.kept {
                Kept::Archive { size } => fs::metadata(archive).is_ok_and(|m| m.len() == size),
                Kept::At(_) => true,
            };
            Ok(is_there.then_some(note))
        })
        .await
    }

    /// Durably.
    pub(super) async fn write(
        &self,
        cx: &Context,
        artifact: Digits<'_>,
        note: &Note,
    ) -> Result<(), BackendError> {
        let path = self.note(artifact);
        let text = serde_json::to_vec(note).map_err(|e| fail(&path, e.into()))?;
        blocking(cx, move |_| {
            let put = || {
                let mut file = unnamed(&path)?;
                file.write_all(&text)?;
                name(file, &path)
            };
            put().map_err(|e| fail(&path, e))
        })
        .await
    }

    /// Removes all that is of no artifact that is needed, and what was never finished. What this crate
    /// does not write it leaves.
    pub(super) async fn retain(
        &self,
        cx: &Context,
        needed: &impl Fn(&str) -> bool,
    ) -> Result<(), BackendError> {
        let dir = self.dir.clone();
        let list = move |_: &Context| {
            let entries = match fs::read_dir(&dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries.map_err(|e| fail(&dir, e))?,
            };
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths
                .collect::<io::Result<Vec<_>>>()
                .map_err(|e| fail(&dir, e))
        };
        let mut surplus = blocking(cx, list).await?;
        let is_surplus = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let (stem, kind) = name
                .and_then(|name| name.split_once('.'))
                .unwrap_or_default();
            let is_digits = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_hexdigit());
            let is_copy = is_digits && matches!(kind, "json" | "tar");
            is_copy && !needed(stem) || name.is_some_and(|name| name.starts_with(UNFINISHED))
        };
        surplus.retain(is_surplus);
        // A note before its copy: what is noted is there.
        surplus.sort_by_key(|path| path.extension().is_some_and(|e| e == "tar"));
        blocking(cx, move |cx| {
            for path in &surplus {
                cx.check()?;
                match fs::remove_file(path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(path, e)),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

/// A file without a name yet, 0600, beside where it is to be.
pub(super) fn unnamed(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let dir = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)
}

/// Gives a whole file its name, durably.
pub(super) fn name(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path)?;
    let mut above = path.parent();
    // The directories may be new, too.
    for _ in 0..3 {
        if let Some(dir) = above {
            File::open(dir)?.sync_all()?;
            above = dir.parent();
        }
    }
    Ok(())
}

pub(super) fn fail(path: &Path, e: io::Error) -> BackendError {
    error::io(
        "the copy of an image cannot be kept or read",
        path.display(),
        e,
    )
}

/// A step that blocks. It keeps the lease as long as it goes on, whoever waits for it.
pub(super) async fn blocking<T: Send + 'static>(
    cx: &Context,
    step: impl FnOnce(&Context) -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    let cx = cx.clone();
    let done = tokio::task::spawn_blocking(move || step(&cx)).await;
    done.unwrap_or_else(|e| {
        let what = "a step ended abnormally";
        Err(BackendError::new(BackendErrorKind::Failed, what).because(e))
    })
}
