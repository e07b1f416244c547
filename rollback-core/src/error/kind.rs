//! What to branch on: the kinds of each error.

/// What a failed backend verb may have done to the live release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveImpact {
    /// The live release was surely not touched.
    Untouched,
    /// It may have been touched: observe before acting.
    Unknown,
}

/// What kind of thing went wrong at the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The reference or configuration cannot be understood.
    InvalidReference,
    /// The reference names nothing that exists.
    NotFound,
    /// The artifact existed once and is no longer available.
    Gone,
    /// The platform, or the registry or remote behind it, does not answer.
    Unreachable,
    /// Credentials are missing, wrong or expired.
    Unauthorized,
    /// The platform denies the operation to this user.
    Denied,
    /// Somebody else changed the platform at the same time: a lost race, to be run again.
    Conflict,
    /// Another program holds the platform's own lock.
    Locked,
    /// A later actor has published at the target: the caller was taken for dead, and must stop.
    Fenced,
    /// The platform, repository or unit uses something this backend does not support.
    Unsupported,
    /// What was found does not match what was recorded or asked for.
    Corrupt,
    /// No space, memory or quota is left.
    Exhausted,
    /// The platform rejected or failed the step.
    Failed,
    /// The deadline passed before the step ended.
    DeadlineExceeded,
    /// The step was cancelled.
    Cancelled,
}

/// What kind of thing went wrong in the history store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Another deployment of the workload is in flight; see [`StoreError::conflict`](super::StoreError::conflict).
    Conflict,
    /// The workload's state moved since the plan was made.
    Stale,
    /// The lease's epoch is over: another process has taken the workload.
    Fenced,
    /// No such deployment or workload.
    NotFound,
    /// Another deployment of the workload has this idempotency key.
    KeyTaken,
    /// The event cannot follow the ones recorded.
    IllegalEvent,
    /// A record does not parse or its checksum is wrong.
    Corrupt,
    /// The store was written by a newer version of this library.
    NewerSchema,
    /// The store cannot be written to.
    ReadOnly,
    /// No space is left.
    Full,
    /// The store's path is not usable: missing, a directory, forbidden, a network file system.
    Unusable,
    /// The store is busy; try again.
    Busy,
    /// A record or field is larger than the store takes.
    TooLarge,
    /// Any other input or output failure.
    Io,
}

/// What kind of thing went wrong for the embedder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be carried out as asked (HTTP 400).
    InvalidRequest,
    /// No such deployment, workload, reference or image (HTTP 404).
    NotFound,
    /// Another deployment is in flight; see [`Error::conflict`](super::Error::conflict) (HTTP 409).
    Conflict,
    /// The workload changed since the plan was made: preview again (HTTP 412).
    Stale,
    /// A guard or the rules refused; see [`Error::refusal`](super::Error::refusal) (HTTP 403).
    Refused,
    /// The target is already live: nothing to do.
    AlreadyLive,
    /// Another request has this idempotency key; see [`Error::refusal`](super::Error::refusal)
    /// (HTTP 409).
    KeyTaken,
    /// The workload is not in the engine's catalog.
    NotRegistered,
    /// The history store failed.
    Store(StoreErrorKind),
    /// The platform failed before the deployment was opened.
    Backend(BackendErrorKind),
    /// The run gave up or panicked; its record is unfinished and recovery will settle it.
    Interrupted,
}
