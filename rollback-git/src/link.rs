//! The `current` link: read, swapped in one rename, removed.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use rollback_core::error::BackendError;

use crate::error;
use crate::file::{absent_is_fine, sync_dir};
use crate::reserve::with_reserve;

/// What stands at `current`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Current {
    /// Nothing has that name.
    Absent,
    /// A link to this absolute path.
    Link(PathBuf),
    /// A directory or file: not ours to replace.
    Solid,
}

/// The link in one deploy root.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    root: PathBuf,
}

impl Link {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    fn path(&self) -> PathBuf {
        self.root.join("current")
    }

    pub(crate) fn read(&self) -> Result<Current, BackendError> {
        let path = self.path();
        match std::fs::read_link(&path) {
            Ok(target) => Ok(Current::Link(lexical(&self.root.join(target)))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Current::Absent),
            // EINVAL: it is there and is no link.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(Current::Solid),
            Err(e) => Err(error::io("cannot read the link", path.display(), e)),
        }
    }

    /// What stands there, or a typed refusal where it cannot be swapped.
    pub(crate) fn swappable(&self) -> Result<Current, BackendError> {
        match self.read()? {
            Current::Solid => Err(error::unsupported(
                "`current` is not a symbolic link, so it cannot be swapped atomically",
                self.path().display(),
            )
            .advice("move it aside, link to it under the name `current`, and adopt that")),
            current => Ok(current),
        }
    }

    /// Points `current` at `target` in one rename: no reader ever finds nothing.
    pub(crate) fn point(&self, target: &Path) -> Result<(), BackendError> {
        let fail = |e| error::io("cannot swap the link", self.path().display(), e);
        let next = self.root.join(".rollback").join("current.next");
        with_reserve(&next, || {
            absent_is_fine(std::fs::remove_file(&next)).map_err(fail)?;
            // Relative where it can be, so that the root may be moved or mounted elsewhere.
            symlink(target.strip_prefix(&self.root).unwrap_or(target), &next).map_err(fail)?;
            std::fs::rename(&next, self.path()).map_err(fail)
        })?;
        sync_dir(&self.root)
    }

    pub(crate) fn remove(&self) -> Result<(), BackendError> {
        absent_is_fine(std::fs::remove_file(self.path()))
            .map_err(|e| error::io("cannot remove the link", self.path().display(), e))?;
        sync_dir(&self.root)
    }
}

/// The path without `.` and `..`, not following links: the link's own words, made absolute.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}
