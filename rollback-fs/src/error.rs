//! From the system's errors to [`StoreError`]: what happened, to which file, what to do next.

use std::io;
use std::path::Path;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};

/// The error for a path that cannot be written to.
pub fn read_only(path: &Path) -> StoreError {
    StoreError::new(Kind::ReadOnly, "the history cannot be written to")
        .on(path.display())
        .advice("mount the file system for writing, or choose another path")
}

/// The error for a disk without space.
pub fn full(path: &Path) -> StoreError {
    StoreError::new(
        Kind::Full,
        "no space is left for the history; nothing recorded so far is lost",
    )
    .on(path.display())
    .advice("free some space, then try again")
}

/// Types an error of the system's on a file or directory of the store's: [`ReadOnly`](Kind::ReadOnly),
/// [`Full`](Kind::Full), [`Unusable`](Kind::Unusable) where the path or its permissions have to be put
/// right, [`Io`](Kind::Io) for the rest.
pub fn system(what: &str, path: &Path, e: io::Error) -> StoreError {
    use io::ErrorKind as E;
    let error = match e.kind() {
        E::ReadOnlyFilesystem => read_only(path),
        E::StorageFull | E::QuotaExceeded => full(path),
        E::PermissionDenied
        | E::NotFound
        | E::NotADirectory
        | E::IsADirectory
        | E::AlreadyExists
        | E::InvalidFilename => StoreError::new(Kind::Unusable, what)
            .on(path.display())
            .advice("choose a path in a directory that this user may write"),
        _ => StoreError::new(Kind::Io, what).on(path.display()),
    };
    error.because(e)
}
