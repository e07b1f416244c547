//! Files that survive a power cut.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink,
};
use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::error::file_error;
use crate::release::MAX_UNIT;

/// Makes a directory of our own, 0700, and what leads to it.
pub(crate) fn private_dir(path: &Path) -> Result<(), BackendError> {
    if path.is_dir() {
        return Ok(());
    }
    let fail = |e| {
        file_error(
            "a directory for the backend's state cannot be made",
            path,
            e,
        )
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(fail)?;
    // It must last as long as what will be in it. Best effort: not every directory above is ours
    // to open.
    for above in path.ancestors().skip(1) {
        let _ = File::open(above).and_then(|dir| dir.sync_all());
    }
    Ok(())
}

/// Writes a file whole or not at all, durably: temporary file, fsync, rename, fsync of the
/// directory. An existing file's mode and owner are kept.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), BackendError> {
    let inner = || -> std::io::Result<()> {
        let file = temporary(path, bytes, mode)?;
        file.persist(path).map_err(|e| e.error)?;
        sync_dir(path)
    };
    inner().map_err(|e| file_error("the file cannot be written", path, e))
}

/// Makes a symbolic link in the place of whatever is there, durably.
pub(crate) fn link(path: &Path, to: &Path) -> Result<(), BackendError> {
    let inner = || -> std::io::Result<()> {
        let made = tempfile::Builder::new()
            .prefix(&temporary_prefix(path))
            .rand_bytes(RANDOM)
            .make_in(directory(path), |at| symlink(to, at))?;
        made.persist(path).map_err(|e| e.error)?;
        sync_dir(path)
    };
    inner().map_err(|e| file_error("the link cannot be made", path, e))
}

fn temporary(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<tempfile::NamedTempFile> {
    let before = fs::symlink_metadata(path).ok().filter(|m| m.is_file());
    let mut file = tempfile::Builder::new()
        .prefix(&temporary_prefix(path))
        .rand_bytes(RANDOM)
        .tempfile_in(directory(path))?;
    file.write_all(bytes)?;
    if let Some(before) = &before {
        let now = file.as_file().metadata()?;
        if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
            fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    let mode = before.map_or(mode, |m| m.permissions().mode() & 0o7777);
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn temporary_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".rollback-{name}-")
}

/// Random characters at the end of a temporary file's name.
const RANDOM: usize = 6;

/// Removes what killed processes left in a directory: the files whose names are ours. Whoever calls
/// it excludes other writers.
pub(crate) fn sweep(dir: &Path, ours: impl Fn(&str) -> bool) -> Result<(), BackendError> {
    let fail = |e| file_error("what a killed process left cannot be removed", dir, e);
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_name().to_str().is_some_and(&ours) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file that is removed again at once, and need not be durable.
pub(crate) fn scratch(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// The name of the file that a temporary file was to become, if it is one of ours.
pub(crate) fn temporary_of(name: &str) -> Option<&str> {
    let (written, random) = name.strip_prefix(".rollback-")?.rsplit_once('-')?;
    let ours = random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric());
    (ours && !written.is_empty()).then_some(written)
}

/// Removes a file, durably; one that is not there is removed already.
pub(crate) fn remove(path: &Path) -> Result<(), BackendError> {
    let fail = |e| file_error("the file cannot be removed", path, e);
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(e)),
    }
    sync_dir(path).map_err(fail)
}

/// Reads a regular file, one byte more than [`MAX_UNIT`] at most; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, BackendError> {
    let fail = |e| file_error("the file cannot be read", path, e);
    // Opening a named pipe would wait for somebody who writes to it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(fail(e)),
    };
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(
            BackendError::new(Kind::InvalidReference, "this is not a regular file")
                .on(path.display())
                .advice("name a unit file"),
        );
    }
    let mut bytes = Vec::new();
    file.take(MAX_UNIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.service");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write(&path, b"new", 0o644).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(dir.path()), ["x.service"], "nothing is left over");
    }

    #[test]
    fn leftovers_of_a_killed_writer_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let half = temporary(&dir.path().join("x.service"), b"half", 0o644).unwrap();
        half.keep().unwrap();
        let others = [
            ".rollback-x.service-",
            ".rollback-x.service-notes",
            ".rollback-x.service-notes!",
            ".rollback-y.service-aB3dE6",
            "x.service",
        ];
        for name in others {
            fs::write(dir.path().join(name), "another's").unwrap();
        }
        sweep(dir.path(), |name| temporary_of(name) == Some("x.service")).unwrap();
        assert_eq!(names(dir.path()), others);
        sweep(dir.path(), |name| temporary_of(name).is_some()).unwrap();
        assert_eq!(names(dir.path()).len(), others.len() - 1);
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}
