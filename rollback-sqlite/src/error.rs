//! From SQLite's and the system's errors to [`StoreError`]: what happened, to which file, and
//! what to do next.

use std::fmt;
use std::path::Path;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_fs::{beside, full, read_only};
use rusqlite::ErrorCode;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::place::directory;

/// Inside a transaction: SQLite's error still without the file's name, or one already typed.
#[derive(Debug)]
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(e) => e.fmt(f),
            Self::Store(e) => e.fmt(f),
        }
    }
}

impl Failure {
    /// Whether SQLite found a page of the file to be damaged.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite(e)
            if e.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt))
    }

    /// Whether it is for want of space.
    pub(crate) fn is_full(&self, path: &Path) -> bool {
        match self {
            Self::Sqlite(e) => match e.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => true,
                Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => disk_is_full(path),
                _ => false,
            },
            Self::Store(e) => e.kind() == Kind::Full,
        }
    }

    /// Whether it is about the record that was read and no other: damage where it lies, or a
    /// value that is not of its column's type (which has no code of SQLite's).
    pub(crate) fn is_of_one_record(&self) -> bool {
        match self {
            Self::Sqlite(e) => self.is_damage() || e.sqlite_error_code().is_none(),
            Self::Store(e) => matches!(e.kind(), Kind::Corrupt | Kind::NewerSchema),
        }
    }

    pub(crate) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(e) => sqlite(path, e),
            Self::Store(e) => e,
        }
    }
}

/// Kind, what happened, what to do.
type Text = (Kind, &'static str, &'static str);

const CORRUPT: Text = (
    Kind::Corrupt,
    "the file is not a whole SQLite database",
    "move it aside, with the files -wal and -shm beside it, and restore a copy",
);

const FAILED: Text = (
    Kind::Io,
    "reading or writing the history failed",
    "look at the kernel's log for disk errors, then try again",
);

const FORBIDDEN: Text = (
    Kind::Unusable,
    "the history cannot be opened",
    "check that this user may write the file, those beside it and its directory",
);

fn typed((kind, what, advice): Text, path: &Path) -> StoreError {
    StoreError::new(kind, what)
        .on(path.display())
        .advice(advice)
}

/// Types an error of SQLite's.
pub(crate) fn sqlite(path: &Path, e: rusqlite::Error) -> StoreError {
    use ErrorCode as C;
    let text = match e.sqlite_error_code() {
        Some(C::DiskFull) => return full(path).because(e),
        // SQLite reports a full disk as a plain I/O error where it extends its shared index.
        Some(C::SystemIoFailure | C::CannotOpen) if disk_is_full(path) => {
            return full(path).because(e);
        }
        Some(C::SystemIoFailure) => FAILED,
        Some(C::NotADatabase | C::DatabaseCorrupt) => CORRUPT,
        // What this library asks for, its own tables always have.
        Some(C::Unknown) => (
            Kind::Corrupt,
            "the history's tables are not as this library makes them",
            "verify names what differs; move the file aside and restore a copy",
        ),
        Some(C::ReadOnly | C::CannotOpen | C::PermissionDenied) => {
            return hindrance(path).because(e);
        }
        Some(C::DatabaseBusy | C::DatabaseLocked) => (
            Kind::Busy,
            "another process is writing the history",
            "try again",
        ),
        Some(C::TooBig) => (
            Kind::TooLarge,
            "a record is larger than the history takes",
            "shorten its facets, labels or diagnostic",
        ),
        Some(_) => (Kind::Io, "SQLite refused a step", "report this as a defect"),
        None => (
            Kind::Corrupt,
            "a record holds what this library never wrote",
            "restore the file from a copy, or forget the record",
        ),
    };
    typed(text, path).because(e)
}

/// Why SQLite could not open or write: it says the same of a disk that fails as of a file that this
/// user may not write, so the system is asked.
fn hindrance(path: &Path) -> StoreError {
    let beside = ["", "-wal", "-shm"].map(|suffix| beside(path, suffix));
    let dir = directory(path);
    let files = beside.iter().filter(|file| file.exists());
    let wanted = Access::READ_OK | Access::WRITE_OK;
    let asked = files.map(|file| (file.as_path(), wanted));
    for (file, access) in asked.chain([(dir.as_path(), wanted | Access::EXEC_OK)]) {
        match accessat(CWD, file, access, AtFlags::EACCESS) {
            Err(Errno::ROFS) => return read_only(path),
            Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR) => {
                return typed(FORBIDDEN, path);
            }
            Ok(()) | Err(_) => {}
        }
    }
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => typed(FORBIDDEN, path),
        _ => typed(FAILED, path),
    }
}

/// The error for an empty file in a history's place.
pub(crate) fn no_bytes(path: &Path) -> StoreError {
    StoreError::new(
        Kind::Corrupt,
        "the history's file has no bytes: this library never leaves it like that",
    )
    .on(path.display())
    .advice("restore a copy; to begin a new history, remove the file")
}

pub(crate) fn not_a_database(path: &Path) -> StoreError {
    typed(CORRUPT, path)
}

fn disk_is_full(path: &Path) -> bool {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty());
    // SQLite extends its shared index by 32 KiB at a time.
    rustix::fs::statvfs(dir.unwrap_or(Path::new(".")))
        .is_ok_and(|s| s.f_blocks > 0 && s.f_bavail.saturating_mul(s.f_frsize) < 64 * 1024)
}

pub(crate) fn unreadable(what: impl std::fmt::Display, why: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        Kind::Corrupt,
        format!("a stored record cannot be read ({why})"),
    )
    .on(what)
    .advice(
        "if a newer version of this library writes here too, update this program; \
         else restore the file from a copy, or forget this record",
    )
}
