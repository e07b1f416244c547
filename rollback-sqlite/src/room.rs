//! [`Room`]: space that is kept for ending what has begun.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rollback_core::error::StoreError;
use rollback_fs::{full, owner, room, system};

/// So many bytes are kept: the last events of several deployments, their settlements, and a
/// clean-up's first steps. A log of which everything is in the file is written over from its
/// start, so this need not hold all of them at once.
const SIZE: u64 = 256 * 1024;
/// What going back takes at least: without so much nothing is switched.
const LEAST: u64 = 64 * 1024;

/// A file whose space is given up when a write finds no other. No deployment begins without it.
#[derive(Debug)]
pub(crate) struct Room {
    path: PathBuf,
}

impl Room {
    /// In the directory of the locks.
    pub(crate) fn in_dir(locks: &Path) -> Self {
        Self {
            path: locks.join("reserve"),
        }
    }

    /// Makes sure that the space is kept, before a deployment begins. `Full` if there is not so
    /// much.
    pub(crate) fn keep(&self) -> Result<(), StoreError> {
        self.keep_of(SIZE)
    }

    /// Makes sure that there is enough of it to go back, before anything is switched.
    pub(crate) fn keep_to_go_back(&self) -> Result<(), StoreError> {
        self.keep_of(LEAST)
    }

    /// Takes what can be had again, after it was given up: else somebody else would.
    pub(crate) fn refill(&self) {
        let _ = self.keep_of(2 * LEAST).or_else(|_| self.keep_of(LEAST));
    }

    fn keep_of(&self, size: u64) -> Result<(), StoreError> {
        if self.is_kept(size) {
            return Ok(());
        }
        self.make(size).map_err(|e| {
            self.give_up();
            match e.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(&self.path),
                _ => system(
                    "the space for ending deployments cannot be kept",
                    &self.path,
                    e,
                ),
            }
        })
    }

    /// Gives the space to whoever writes next; says whether there was any.
    pub(crate) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    fn is_kept(&self, size: u64) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| room::has(&meta, size))
    }

    fn make(&self, size: u64) -> io::Result<()> {
        room::take(&owner::open_or_create(&self.path)?, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_is_taken_kept_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::in_dir(dir.path());
        assert!(!room.give_up());
        room.keep().unwrap();
        room.keep().unwrap();
        let meta = fs::metadata(dir.path().join("reserve")).unwrap();
        assert!(room::has(&meta, SIZE));
        // What was cut short is no room.
        fs::write(dir.path().join("reserve"), "").unwrap();
        assert!(!room.is_kept(LEAST));
        room.keep().unwrap();
        assert!(room.is_kept(SIZE));
        assert!(room.give_up());
        room.keep_to_go_back().unwrap();
        assert!(room.is_kept(LEAST) && !room.is_kept(SIZE));
        room.keep().unwrap();
        assert!(room.is_kept(SIZE));
    }
}
