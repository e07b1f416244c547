//! [`Place`]: a directory of its own with a history in it.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory of its own with a history in it, a file or a directory. Gone when dropped.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    /// An empty one. In memory where that is possible: a kill takes back nothing that was written,
    /// so there is nothing to be had from waiting for a disk.
    pub(super) fn new() -> Self {
        let in_memory = tempfile::tempdir_in("/dev/shm");
        Self(in_memory.or_else(|_| tempfile::tempdir()).unwrap())
    }

    /// All of it once more.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::new();
        copy_all(self.0.path(), copy.0.path());
        copy
    }

    /// Where the history is, or will be.
    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("history")
    }

    /// The directory around it.
    pub(super) fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
