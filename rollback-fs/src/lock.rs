//! Liveness: one lock file for each workload. Who holds the kernel's lock on it lives, stopped or
//! not; whoever died, however it died, holds none.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollback_core::error::StoreError;
use rollback_core::history::Liveness;
use rollback_core::id::WorkloadId;

use crate::error::system;

/// How long a taker waits for somebody who merely looks: looking takes microseconds.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// The directory of lock files. They are never unlinked: a lock on an unlinked file would guard
/// nothing against the next process, which makes a new one.
#[derive(Debug)]
pub struct Locks {
    dir: PathBuf,
}

/// A held lock; dropping it, or dying, frees it.
#[derive(Debug)]
pub struct Held {
    _file: File,
}

impl Locks {
    /// Locks in this directory, which only its owner may enter; it is made if need be.
    pub fn in_dir(dir: PathBuf) -> Result<Self, StoreError> {
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => {}
            Err(_) if dir.is_dir() => {}
            Err(e) => return Err(system("the lock directory cannot be made", &dir, e)),
        }
        Ok(Self { dir })
    }

    /// The same where nothing can be made: for looking alone.
    pub fn to_look_at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Takes a workload's lock; `None` while somebody who lives holds it.
    pub fn take(&self, workload: &WorkloadId) -> Result<Option<Held>, StoreError> {
        self.take_named(&format!("{workload}.lock"), PATIENCE)
    }

    /// Takes any other lock of this directory, waiting for about so many milliseconds; `None`
    /// while somebody who lives holds it. `name` is the caller's own, never input.
    pub fn take_named(&self, name: &str, patience: u32) -> Result<Option<Held>, StoreError> {
        let path = self.dir.join(name);
        let file = Self::open(&path)?;
        for _ in 0..patience.max(1) {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Held { _file: file })),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(e)) => {
                    return Err(system("the lock cannot be taken", &path, e));
                }
            }
        }
        Ok(None)
    }

    /// Whether somebody holds a workload's lock. Looks with a shared lock, so that two who look
    /// do not take each other for the holder.
    pub fn look(&self, workload: &WorkloadId) -> Result<Liveness, StoreError> {
        let path = self.path(workload);
        // Looking makes no file and needs none: without one, nobody has ever held it. So it also
        // works where nothing can be written.
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Liveness::Dead),
            Err(e) => return Err(system("the lock file cannot be opened", &path, e)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Liveness::Dead),
            Err(TryLockError::WouldBlock) => Ok(Liveness::Alive),
            Err(TryLockError::Error(e)) => {
                Err(system("the workload's lock cannot be looked at", &path, e))
            }
        }
    }

    /// A workload id is two validated names, each a safe and short path component, and `@`: a
    /// file name as it is.
    fn path(&self, workload: &WorkloadId) -> PathBuf {
        self.dir.join(format!("{workload}.lock"))
    }

    fn open(path: &Path) -> Result<File, StoreError> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| system("the lock file cannot be opened", path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_alive_and_cannot_be_taken_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::in_dir(dir.path().join("locks")).unwrap();
        let workload: WorkloadId = "api@web-1".parse().unwrap();
        let other: WorkloadId = "api@web-2".parse().unwrap();
        assert_eq!(locks.look(&workload).unwrap(), Liveness::Dead);
        assert_eq!(std::fs::read_dir(&locks.dir).unwrap().count(), 0);
        let held = locks.take(&workload).unwrap().unwrap();
        assert_eq!(locks.look(&workload).unwrap(), Liveness::Alive);
        assert_eq!(locks.look(&other).unwrap(), Liveness::Dead);
        assert!(locks.take(&workload).unwrap().is_none());
        drop(held);
        assert!(locks.take(&workload).unwrap().is_some());
    }
}
