//! [`Place`]: the file that was opened, told from any other that may come to have its name.
//!
//! This crate opens no file of the database's itself: the kernel takes back all of a process's
//! record locks on a file when the process closes *any* descriptor of it (fcntl_locking(2)), and
//! the locks of a connection that is open would go with them. SQLite alone opens them; what has to
//! be known besides is asked by name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_fs::{beside, check_single, system};

/// The lock that every open store shares, and that who makes or replaces the file has alone.
pub(crate) const STORE_LOCK: &str = "store.lock";

/// A history's file, and its log, as they were when it was opened.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    log: PathBuf,
    file: Inode,
    log_file: Option<Inode>,
}

/// What tells a file from any other at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode(u64, u64);

impl From<&fs::Metadata> for Inode {
    fn from(meta: &fs::Metadata) -> Self {
        Self(meta.dev(), meta.ino())
    }
}

impl Inode {
    /// The file of this name; `None` if there is none.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(Self::from(&meta))),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(system("the history cannot be examined", path, e)),
        }
    }
}

impl Place {
    /// The file at this resolved path, on which a connection has been opened since `file` was
    /// looked at.
    pub(crate) fn new(path: PathBuf, file: Inode) -> Result<Self, StoreError> {
        let log = beside(&path, "-wal");
        let log_file = Inode::of(&log)?;
        let place = Self {
            path,
            log,
            file,
            log_file,
        };
        place.check()?;
        Ok(place)
    }

    /// The same where nothing is written: the log is others'.
    pub(crate) fn read_only(path: PathBuf, file: Inode) -> Self {
        Self {
            log: beside(&path, "-wal"),
            path,
            file,
            log_file: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses to go on if another file has the name by now, or the log is gone: what is written
    /// then, nobody else will ever see.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let same = Inode::of(&self.path)? == Some(self.file)
            && (self.log_file.is_none() || Inode::of(&self.log)? == self.log_file);
        if same {
            return Ok(());
        }
        Err(StoreError::new(
            Kind::Unusable,
            "the history's file, or its log, was moved, replaced or deleted while it was open; \
             what this program writes now would be lost",
        )
        .on(self.path.display())
        .advice("start the program again; copies are made by backup and put back by restore"))
    }

    /// The same before a deployment begins, and whether the file has got a second name.
    pub(crate) fn check_to_begin(&self) -> Result<(), StoreError> {
        check_single(&self.path)
    }
}

fn is_gone(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Where a history's locks are.
pub(crate) fn locks_beside(path: &Path) -> PathBuf {
    beside(path, ".locks")
}

/// The directory that a path is in.
pub(crate) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}
