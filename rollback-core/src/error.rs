//! The three errors of this crate: what a backend says, what a store says, what the engine says.
//!
//! Each is one opaque struct with a `kind()` to branch on, `is_transient()` for retries, and a
//! text that says what happened, to what, whether anything changed, and what to do next.

use std::error::Error as StdError;
use std::fmt;

use crate::history::Conflict;
use crate::plan::Refusal;

type Source = Box<dyn StdError + Send + Sync + 'static>;

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
    /// Somebody else changed the platform at the same time.
    Conflict,
    /// Another program holds the platform's own lock.
    Locked,
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
    /// Another deployment of the workload is in flight; see [`StoreError::conflict`].
    Conflict,
    /// The workload's state moved since the plan was made.
    Stale,
    /// The lease's epoch is over: another process has taken the workload.
    Fenced,
    /// No such deployment or workload.
    NotFound,
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
    InvalidTarget,
    /// No such deployment, workload, reference or image (HTTP 404).
    NotFound,
    /// Another deployment is in flight; see [`Error::conflict`] (HTTP 409).
    Conflict,
    /// The workload changed since the plan was made: preview again (HTTP 412).
    Stale,
    /// A guard or the rules refused; see [`Error::refusal`] (HTTP 403).
    Refused,
    /// The target is already live: nothing to do.
    AlreadyLive,
    /// The workload is not in the engine's catalog.
    NotRegistered,
    /// The history store failed.
    Store(StoreErrorKind),
    /// The platform failed before the deployment was opened.
    Backend(BackendErrorKind),
    /// The run gave up or panicked; its record is unfinished and recovery will settle it.
    Interrupted,
}

#[derive(Debug)]
struct Detail {
    what: String,
    subject: Option<String>,
    advice: Option<String>,
    source: Option<Source>,
}

impl Detail {
    fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            subject: None,
            advice: None,
            source: None,
        }
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>, changed: Option<&str>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(subject) = &self.subject {
            write!(f, ": {subject}")?;
        }
        if let Some(changed) = changed {
            write!(f, " ({changed})")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

macro_rules! detail_builders {
    () => {
        /// Names what it happened to.
        #[must_use]
        pub fn on(mut self, subject: impl fmt::Display) -> Self {
            self.detail.subject = Some(subject.to_string());
            self
        }

        /// Says what to do next.
        #[must_use]
        pub fn advice(mut self, advice: impl Into<String>) -> Self {
            self.detail.advice = Some(advice.into());
            self
        }

        /// Keeps the cause.
        #[must_use]
        pub fn because(
            mut self,
            source: impl Into<Box<dyn StdError + Send + Sync + 'static>>,
        ) -> Self {
            self.detail.source = Some(source.into());
            self
        }
    };
}

macro_rules! detail_source {
    ($name:ident) => {
        impl StdError for $name {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                self.detail
                    .source
                    .as_deref()
                    .map(|s| s as &(dyn StdError + 'static))
            }
        }
    };
}

/// What a [`Backend`](crate::backend::Backend) verb failed with.
///
/// ```
/// use rollback_core::error::{BackendError, BackendErrorKind};
/// let e = BackendError::new(BackendErrorKind::NotFound, "no such image")
///     .on("registry/api:v9")
///     .advice("check the tag, or push the image first")
///     .untouched();
/// assert_eq!(
///     e.to_string(),
///     "no such image: registry/api:v9 (the live release was not touched); \
///      check the tag, or push the image first"
/// );
/// ```
#[derive(Debug)]
pub struct BackendError {
    kind: BackendErrorKind,
    impact: LiveImpact,
    transient: bool,
    detail: Box<Detail>,
}

impl BackendError {
    /// A failure whose effect on the live release is unknown until [`untouched`](Self::untouched)
    /// says otherwise: the careful default.
    pub fn new(kind: BackendErrorKind, what: impl Into<String>) -> Self {
        let transient = matches!(
            kind,
            BackendErrorKind::Unreachable
                | BackendErrorKind::Locked
                | BackendErrorKind::DeadlineExceeded
        );
        Self {
            kind,
            impact: LiveImpact::Unknown,
            transient,
            detail: Box::new(Detail::new(what)),
        }
    }

    detail_builders!();

    /// States that the live release was surely not touched.
    #[must_use]
    pub fn untouched(mut self) -> Self {
        self.impact = LiveImpact::Untouched;
        self
    }

    /// Overrides whether trying again may help.
    #[must_use]
    pub fn transient(mut self, transient: bool) -> Self {
        self.transient = transient;
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> BackendErrorKind {
        self.kind
    }

    /// What it may have done to the live release.
    pub fn impact(&self) -> LiveImpact {
        self.impact
    }

    /// Whether trying the same thing again may succeed.
    pub fn is_transient(&self) -> bool {
        self.transient
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detail.fmt(
            f,
            Some(match self.impact {
                LiveImpact::Untouched => "the live release was not touched",
                LiveImpact::Unknown => "the live release may have changed",
            }),
        )
    }
}

detail_source!(BackendError);

/// What a [`HistoryStore`](crate::history::HistoryStore) method failed with.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    conflict: Option<Box<Conflict>>,
    detail: Box<Detail>,
}

impl StoreError {
    /// A failure of the given kind.
    pub fn new(kind: StoreErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            conflict: None,
            detail: Box::new(Detail::new(what)),
        }
    }

    /// The workload is leased to somebody else.
    pub fn held(conflict: Conflict) -> Self {
        Self {
            kind: StoreErrorKind::Conflict,
            detail: Box::new(Detail::new(conflict.to_string())),
            conflict: Some(Box::new(conflict)),
        }
    }

    detail_builders!();

    /// What kind of failure this is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Who holds the workload, when the kind is [`StoreErrorKind::Conflict`].
    pub fn conflict(&self) -> Option<&Conflict> {
        self.conflict.as_deref()
    }

    /// Whether trying the same thing again may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Busy
                | StoreErrorKind::Io
                | StoreErrorKind::Full
                | StoreErrorKind::Conflict
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detail.fmt(f, None)
    }
}

detail_source!(StoreError);

/// What the engine failed with, before or instead of a [`Report`](crate::engine::Report).
///
/// A deployment that was opened and failed its health gate is *not* an error: it has a report.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    refusal: Option<Box<Refusal>>,
    detail: Box<Detail>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            refusal: None,
            detail: Box::new(Detail::new(what)),
        }
    }

    detail_builders!();

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status that says the same, for programs that serve the engine: 400, 403, 404,
    /// 409, 412; 503 for what may pass by waiting; 500 for the rest. Nothing to do is 409.
    pub fn http_status(&self) -> u16 {
        match self.kind {
            ErrorKind::InvalidTarget => 400,
            ErrorKind::Refused => 403,
            ErrorKind::NotFound | ErrorKind::NotRegistered => 404,
            ErrorKind::Conflict | ErrorKind::AlreadyLive => 409,
            ErrorKind::Stale => 412,
            _ if self.is_transient() => 503,
            _ => 500,
        }
    }

    /// Why the planner or a guard refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_deref()
    }

    /// Who holds the workload, when the kind is [`ErrorKind::Conflict`].
    pub fn conflict(&self) -> Option<&Conflict> {
        self.detail
            .source
            .as_ref()?
            .downcast_ref::<StoreError>()?
            .conflict()
    }

    /// Whether trying the same thing again may succeed.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::Conflict | ErrorKind::Stale => true,
            ErrorKind::Store(_) | ErrorKind::Backend(_) => {
                self.detail.source.as_ref().is_some_and(|s| {
                    s.downcast_ref::<StoreError>()
                        .is_some_and(StoreError::is_transient)
                        || s.downcast_ref::<BackendError>()
                            .is_some_and(BackendError::is_transient)
                })
            }
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detail.fmt(f, None)
    }
}

detail_source!(Error);

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        let kind = match e.kind {
            StoreErrorKind::Conflict => ErrorKind::Conflict,
            StoreErrorKind::Stale => ErrorKind::Stale,
            StoreErrorKind::NotFound => ErrorKind::NotFound,
            kind => ErrorKind::Store(kind),
        };
        Self::new(kind, e.to_string()).because(e)
    }
}

impl From<BackendError> for Error {
    fn from(e: BackendError) -> Self {
        let kind = match e.kind {
            BackendErrorKind::NotFound => ErrorKind::NotFound,
            BackendErrorKind::InvalidReference => ErrorKind::InvalidTarget,
            kind => ErrorKind::Backend(kind),
        };
        Self::new(kind, e.to_string()).because(e)
    }
}

impl From<Refusal> for Error {
    fn from(r: Refusal) -> Self {
        let kind = match &r {
            Refusal::AlreadyLive { .. } => ErrorKind::AlreadyLive,
            Refusal::NotFound { .. } => ErrorKind::NotFound,
            Refusal::Guard { .. } | Refusal::Held { .. } | Refusal::Unauthorized { .. } => {
                ErrorKind::Refused
            }
            _ => ErrorKind::InvalidTarget,
        };
        let mut e = Self::new(kind, r.to_string());
        e.refusal = Some(Box::new(r));
        e
    }
}
