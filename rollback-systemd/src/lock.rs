//! [`Held`]: the shelf's kernel lock.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::file_error;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// While it lives, nobody else changes what the shelf and the unit's file are. The kernel frees it
/// when its process dies.
#[derive(Debug)]
pub(crate) struct Held {
    _file: File,
}

impl Held {
    /// Waits until nobody else holds it. `wait` is asked before each new try and ends the waiting
    /// with its error.
    pub(crate) fn acquire(
        path: &Path,
        mut wait: impl FnMut() -> Result<(), BackendError>,
    ) -> Result<Self, BackendError> {
        let fail = |e| file_error("the lock of the backend's state cannot be had", path, e);
        loop {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
                .map_err(fail)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // A lock on a file that was removed meanwhile excludes nobody.
                Ok(()) if is_at(&file, path) => return Ok(Self { _file: file }),
                Ok(()) | Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(e) => return Err(fail(e.into())),
            }
            wait()?;
            std::thread::sleep(PAUSE);
        }
    }

    /// The same, for a moment only: for what is done without a context.
    pub(crate) fn soon(path: &Path) -> Result<Self, BackendError> {
        let began = Instant::now();
        Self::acquire(path, || {
            if began.elapsed() < Duration::from_secs(10) {
                return Ok(());
            }
            Err(
                BackendError::new(Kind::Locked, "another process holds the backend's state")
                    .on(path.display())
                    .advice("try again when it is done, or end it if it hangs"),
            )
        })
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let at = fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    file.metadata().map(|m| (m.dev(), m.ino())).ok() == at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_a_removed_file_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let given_up = || Err(BackendError::new(Kind::Cancelled, "given up"));
        let first = Held::soon(&path).unwrap();
        let e = Held::acquire(&path, given_up).unwrap_err();
        assert_eq!(e.kind(), Kind::Cancelled);
        fs::remove_file(&path).unwrap();
        let second = Held::acquire(&path, given_up).unwrap();
        drop(first);
        let e = Held::acquire(&path, given_up).unwrap_err();
        assert_eq!(e.kind(), Kind::Cancelled);
        drop(second);
        Held::acquire(&path, given_up).unwrap();
    }
}
