//! How libgit2's and the file system's failures become [`BackendError`]s.

use std::fmt::Display;
use std::io;

use rollback_core::error::{BackendError, BackendErrorKind};

/// An error of the file system at `subject`.
pub(crate) fn io(what: &str, subject: impl Display, e: io::Error) -> BackendError {
    let (kind, advice) = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (BackendErrorKind::Exhausted, "free space and try again")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
            BackendErrorKind::Denied,
            "give this user write access to the deploy root",
        ),
        _ => (BackendErrorKind::Failed, "check the path and try again"),
    };
    BackendError::new(kind, what)
        .on(subject)
        .advice(advice)
        .because(e)
}

/// An error of libgit2 at `subject`.
pub(crate) fn git(what: &str, subject: impl Display, e: git2::Error) -> BackendError {
    let text = e.message().to_owned();
    let unsupported = ["extension", "object format", "repository version"];
    let (kind, advice) = match e.code() {
        git2::ErrorCode::Locked => (
            BackendErrorKind::Locked,
            "wait for the other git process; if none runs, remove its lock file by hand",
        ),
        git2::ErrorCode::Owner => (
            BackendErrorKind::Denied,
            "the repository belongs to another user: run as its owner or list it in safe.directory",
        ),
        _ if unsupported.iter().any(|u| text.contains(u)) => (
            BackendErrorKind::Unsupported,
            "use a repository in the SHA-1 format without extensions",
        ),
        git2::ErrorCode::NotFound => (BackendErrorKind::NotFound, "fetch it and try again"),
        _ => (BackendErrorKind::Failed, "check it with git fsck"),
    };
    BackendError::new(kind, format!("{what} ({text})"))
        .on(subject)
        .advice(advice)
}

pub(crate) fn unsupported(what: impl Into<String>, subject: impl Display) -> BackendError {
    BackendError::new(BackendErrorKind::Unsupported, what).on(subject)
}

pub(crate) fn corrupt(what: impl Into<String>, subject: impl Display) -> BackendError {
    BackendError::new(BackendErrorKind::Corrupt, what).on(subject)
}

pub(crate) fn gone(what: impl Into<String>, subject: impl Display) -> BackendError {
    BackendError::new(BackendErrorKind::Gone, what)
        .on(subject)
        .advice("deploy a release that is still available")
}
