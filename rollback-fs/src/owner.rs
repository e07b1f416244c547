//! Whose a new file is: its maker's alone, or, where root is the maker, the owner's of the
//! directory around it. Otherwise one run as root would lock out the service that the history is
//! of.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid};

/// Makes a file (0600) that does not exist yet, open for reading and writing. Links are not
/// followed.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if something has that name; else the system's. A
/// file that could not be given to its owner is there, and is root's.
pub fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)?;
    give(&file, parent(path))?;
    Ok(file)
}

/// Opens a file for reading and writing, and makes it (0600) if there is none.
///
/// # Errors
///
/// The system's, also for a link.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    loop {
        let existing = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(no_follow())
            .open(path);
        match existing {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        match create(path) {
            // Somebody else was quicker.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
}

/// Makes a directory (0700), and those above it, if they do not exist.
///
/// # Errors
///
/// The system's; directories above that were made stay.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    if above != dir {
        create_dir(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            let made = OpenOptions::new()
                .read(true)
                .custom_flags(no_follow())
                .open(dir)?;
            give(&made, above)
        }
        // Somebody else was quicker.
        Err(_) if dir.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// Gives what root has just made to whom the directory around it belongs to. Where the kernel
/// forbids that (a user namespace without that user) it stays root's, and serves root.
fn give(made: &File, dir: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (made_meta, dir) = (made.metadata()?, std::fs::metadata(dir)?);
    if (made_meta.uid(), made_meta.gid()) == (dir.uid(), dir.gid()) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(dir.uid()), Gid::from_raw(dir.gid()));
    match rustix::fs::fchown(made.as_fd(), Some(uid), Some(gid)) {
        Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// The directory around a path.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// For `open`: whoever may write in the directory must not lead root elsewhere by a link.
pub(crate) fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn what_root_makes_is_the_directorys_owners() {
        let dir = tempfile::tempdir().unwrap();
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root makes files for others");
            return;
        }
        chown(dir.path(), Some(12_345), Some(23_456)).unwrap();
        let deep = dir.path().join("a/b");
        create_dir(&deep).unwrap();
        create_dir(&deep).unwrap();
        let file = deep.join("file");
        drop(create(&file).unwrap());
        assert_eq!(
            create(&file).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        drop(open_or_create(&file).unwrap());
        drop(open_or_create(&deep.join("other")).unwrap());
        for (path, mode) in [
            ("a", 0o700),
            ("a/b", 0o700),
            ("a/b/file", 0o600),
            ("a/b/other", 0o600),
        ] {
            let meta = dir.path().join(path).metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid()), (12_345, 23_456), "{path}");
            assert_eq!(meta.permissions().mode() & 0o7777, mode, "{path}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(create(&link).is_err());
        assert!(open_or_create(&link).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}
