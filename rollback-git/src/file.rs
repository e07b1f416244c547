//! Small files of this crate's own, and directories: written whole, durably, and with the modes
//! that they are to have, whatever the umask of whoever deploys.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rollback_core::error::BackendError;

use crate::error;

/// How often a directory is made that another process makes at the same time.
const TRIES: usize = 10;

/// For this user alone.
pub(crate) const PRIVATE: u32 = 0o600;
/// For everybody to read.
pub(crate) const PUBLIC: u32 = 0o644;

/// How a file ends that is not whole yet. One writer at a time: whoever comes next begins anew.
const NEXT: &str = ".next";

pub(crate) fn sync_dir(dir: &Path) -> Result<(), BackendError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| error::io("cannot make a directory durable", dir.display(), e))
}

/// What is gone already is as good.
pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a directory of this mode, and those above it for everybody to enter. It gets its name with
/// the mode that it is to have, whatever the umask: whoever is killed before leaves none that stays
/// closed to others, and one that is there is as somebody wants it.
pub(crate) fn make_dir(dir: &Path, mode: u32) -> Result<(), BackendError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new("/"));
    make_dir(parent, 0o755)?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let next = parent.join(format!(".{name}.rollback-new"));
    let make = || new_dir(&next, mode).and_then(|()| fs::rename(&next, dir));
    let mut made = make();
    for _ in 0..TRIES {
        // Somebody else has taken it for a killed maker's.
        if dir.is_dir() || made.is_ok() {
            break;
        }
        made = make();
    }
    match made {
        Ok(()) => sync_dir(parent),
        // Somebody else was quicker.
        Err(_) if dir.is_dir() => {
            let _ = fs::remove_dir(&next);
            Ok(())
        }
        Err(e) => Err(error::io("cannot make a directory", dir.display(), e)),
    }
}

/// Makes an empty directory in place of an empty one that a killed maker left.
fn new_dir(dir: &Path, mode: u32) -> io::Result<()> {
    absent_is_fine(fs::remove_dir(dir))?;
    DirBuilder::new().mode(mode & 0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(mode))
}

/// Old or new after a power cut, never half, and new once this has returned.
pub(crate) fn write_once(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), BackendError> {
    put(path, mode, bytes)?;
    sync_dir(path.parent().unwrap_or(path))
}

/// The same, but for the sync of the directory: which of them it is after a power cut is settled by
/// the next one.
pub(crate) fn put(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), BackendError> {
    let mut next = path.as_os_str().to_owned();
    next.push(NEXT);
    let next = PathBuf::from(next);
    let written = new(&next, mode, bytes).and_then(|()| fs::rename(&next, path));
    if let Err(e) = written {
        // On a full disk this is room; whoever comes next would sweep it, too.
        let _ = fs::remove_file(&next);
        return Err(error::io("cannot write a record", path.display(), e));
    }
    Ok(())
}

/// Writes a file that is not to be there, durable but for its name.
pub(crate) fn new(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Removes what a killed writer left in a directory of ours, by names that nobody else gives.
pub(crate) fn sweep(dir: &Path) -> Result<(), BackendError> {
    let fail = |e| error::io("cannot sweep what was left", dir.display(), e);
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(fail)?,
    };
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_name().to_str().is_some_and(is_left) {
            absent_is_fine(fs::remove_file(entry.path())).map_err(fail)?;
        }
    }
    Ok(())
}

fn is_left(name: &str) -> bool {
    let random = |n: &str| n.len() == 6 && n.bytes().all(|b| b.is_ascii_alphanumeric());
    name.ends_with(NEXT) || name.strip_prefix(".tmp").is_some_and(random)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn of_two_processes_that_made_a_directory_at_once_one_failed() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..200 {
            let path = dir.path().join(format!("{round}"));
            std::thread::scope(|scope| {
                let made: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| make_dir(&path, 0o755)))
                    .collect();
                for made in made {
                    made.join().unwrap().unwrap();
                }
            });
            assert!(path.is_dir());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 200, "none left");
    }
}
