//! [`Reserve`]: room on the disk that is kept for ending what has begun.

use std::fs;
use std::io;
use std::path::PathBuf;

use rollback_fs::{owner, room};

/// What the rest of a deployment's events, its settlement and the state take at most at once, next
/// to two copies of the record as it was opened.
const ROOM: u64 = 64 * 1024;

/// A file without a content whose blocks are taken: given up when the disk is full, so that a
/// deployment can be ended and records can be forgotten.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Takes the room that a deployment needs whose record begins with so many bytes. Room that
    /// was taken before is kept.
    pub(crate) fn ensure(&self, record: usize) -> io::Result<()> {
        let room = ROOM + 2 * record as u64;
        if self.has(room) {
            return Ok(());
        }
        let taken = self.take(room);
        if taken.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        taken
    }

    fn take(&self, room: u64) -> io::Result<()> {
        room::take(&owner::open_or_create(&self.path)?, room)
    }

    /// Takes what can be had again, for the next one that needs it.
    pub(crate) fn refill(&self) {
        for part in [1, 2, 4, 8] {
            if self.has(ROOM / part) || self.take(ROOM / part).is_ok() {
                return;
            }
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Takes what going back needs at least, or fails: what could not be gone back from is not
    /// switched to.
    pub(crate) fn keep(&self, record: usize) -> io::Result<()> {
        let room = ROOM / 8 + 2 * record as u64;
        if self.has(room) {
            return Ok(());
        }
        self.take(room)
    }

    fn has(&self, room: u64) -> bool {
        let taken = fs::symlink_metadata(&self.path);
        taken.is_ok_and(|m| m.len() >= room && room::has(&m, room))
    }

    /// Gives it up; says whether there was any.
    pub(crate) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// Whether an error is that of a disk or a quota without room.
pub(crate) fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
