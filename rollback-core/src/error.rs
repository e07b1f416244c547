//! The three errors of this crate: what a backend says, what a store says, what the engine says.
//!
//! Each is one opaque struct with a `kind()` to branch on, `is_transient()` for retries, and a
//! text that says what happened, to what, whether anything changed, and what to do next.

mod hook;
mod kind;

use std::error::Error as StdError;
use std::fmt;

use crate::deployment::RecordVersion;
use crate::history::Conflict;
use crate::id::{DeploymentId, IdempotencyKey};
use crate::plan::Refusal;

pub use hook::{HookError, HookErrorKind};
pub use kind::{BackendErrorKind, ErrorKind, LiveImpact, StoreErrorKind};

type Source = Box<dyn StdError + Send + Sync + 'static>;

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

        /// What it happened to, where that is known.
        pub fn subject(&self) -> Option<&str> {
            self.detail.subject.as_deref()
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
                | BackendErrorKind::Conflict
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

    /// A record that a newer version of this library wrote, and this one cannot read. It is not
    /// damaged.
    pub fn newer_record(version: RecordVersion) -> Self {
        Self::new(
            StoreErrorKind::NewerSchema,
            format!(
                "a newer version wrote this record (version {version}, this one reads {}); it was \
                 left as it is",
                RecordVersion::NEWEST
            ),
        )
        .advice("update this program")
    }

    /// For stores: another deployment of the workload has this idempotency key.
    pub fn key_taken(key: &IdempotencyKey, by: &DeploymentId) -> Self {
        Self::new(
            StoreErrorKind::KeyTaken,
            format!("{by} was opened under the idempotency key {key}"),
        )
        .advice("look at that deployment, or use another key")
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

    /// Its text where what it happened to is said beside it.
    pub(crate) fn without_subject(&self) -> String {
        match &self.detail.advice {
            Some(advice) => format!("{}; {advice}", self.detail.what),
            None => self.detail.what.clone(),
        }
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
            ErrorKind::InvalidRequest => 400,
            ErrorKind::Refused => 403,
            ErrorKind::NotFound | ErrorKind::NotRegistered => 404,
            ErrorKind::Conflict | ErrorKind::AlreadyLive | ErrorKind::KeyTaken => 409,
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
            BackendErrorKind::InvalidReference => ErrorKind::InvalidRequest,
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
            Refusal::KeyTaken { .. } => ErrorKind::KeyTaken,
            Refusal::Guard { .. }
            | Refusal::ComposedDifferently { .. }
            | Refusal::Held { .. }
            | Refusal::Unauthorized { .. } => ErrorKind::Refused,
            _ => ErrorKind::InvalidRequest,
        };
        let mut e = Self::new(kind, r.to_string());
        e.refusal = Some(Box::new(r));
        e
    }
}
