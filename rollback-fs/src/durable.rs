//! Files that are there whole or not at all, and stay after a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::owner::{self, parent};

/// How the temporary files of this module begin, so that leftovers of a killed writer can be
/// told from records.
pub const TEMPORARY: &str = ".new-";

static NTH: AtomicU64 = AtomicU64::new(0);

/// Writes a file (0600) in place of whatever has that name: temporary file in the same
/// directory, fsync, rename, fsync of the directory. Whoever reads sees the old content or the
/// new, never a mixture, also after a power cut.
///
/// # Errors
///
/// The system's, and the old content is in place: but for one of the last fsync, after which the
/// new one is, and may not outlast a power cut.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, |from, to| fs::rename(from, to))
}

/// The same, but only if nothing has that name.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if something has that name, and nothing is
/// changed; else as [`replace`].
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, |from, to| {
        let cwd = rustix::fs::CWD;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(cwd, from, cwd, to, flags) {
            // Not every file system knows the flag; a link never replaces either.
            Err(rustix::io::Errno::INVAL) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            other => Ok(other?),
        }
    })
}

/// Makes the entries of a directory durable.
///
/// # Errors
///
/// The system's, also where the directory cannot be opened for reading.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the entries of every directory above durable, after something new was made: what leads to it
/// must last as long as what will be in it. Best effort, for not every directory above is ours to
/// open.
pub fn sync_above(path: &Path) {
    for above in path.ancestors().skip(1) {
        let _ = sync_dir(above);
    }
}

/// Removes a file durably; one that is not there is as good.
///
/// # Errors
///
/// The system's. After one of the last fsync the file is gone, and may be back after a power cut.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    sync_dir(parent(path))
}

/// Removes what killed writers left in a directory. Only for who may write there alone.
///
/// # Errors
///
/// The system's, at the first that cannot be removed; those before it are gone.
pub fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY.as_bytes())
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write(
    path: &Path,
    bytes: &[u8],
    publish: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let dir = parent(path);
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let temporary = dir.join(format!("{TEMPORARY}{}-{nth}", std::process::id()));
    let written = (|| {
        let mut file = empty(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        publish(&temporary, path)
    })();
    if let Err(e) = written {
        // Best effort: a leftover is removed by the next writer too.
        let _ = fs::remove_file(&temporary);
        return Err(e);
    }
    sync_dir(dir)
}

/// A new file. What has its name already is a leftover, of a process that had our number.
fn empty(path: &Path) -> io::Result<File> {
    match owner::create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let file = owner::open_or_create(path)?;
            file.set_len(0)?;
            Ok(file)
        }
        created => created,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn create_never_replaces_and_replace_always_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        create(&path, b"one").unwrap();
        let refused = create(&path, b"two").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_go_and_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!("{TEMPORARY}1-1")), "half").unwrap();
        fs::write(dir.path().join("a"), "whole").unwrap();
        remove_leftovers(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&dir.path().join("a")).unwrap();
        remove(&dir.path().join("a")).unwrap();
    }
}
