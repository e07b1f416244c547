//! [`Error`]: what the engine says.

use std::fmt;

use super::detail::{Detail, detail_builders};
use super::{BackendError, BackendErrorKind, StoreError, StoreErrorKind};
use crate::history::Conflict;
use crate::id::WorkloadId;
use crate::plan::Refusal;

/// What kind of thing went wrong for the embedder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be carried out as asked (HTTP 400).
    InvalidRequest,
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
    /// Another request has this idempotency key; see [`Error::refusal`] (HTTP 409).
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

/// What the engine failed with, before or instead of a [`Report`](crate::engine::Report).
///
/// A deployment that was opened and failed its health gate is *not* an error: it has a report.
///
/// One that only carries a store's or a backend's error is transparent to it: text, subject, advice
/// and source are that error's. To name another subject, or to advise anew, changes what is carried.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    refusal: Option<Box<Refusal>>,
    said: Said,
}

/// Who says it.
#[derive(Debug)]
enum Said {
    /// The engine, in a sentence of its own; what it heard is the source.
    Own(Box<Detail>),
    /// The store, unchanged.
    Store(StoreError),
    /// The backend, unchanged.
    Backend(BackendError),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            refusal: None,
            said: Said::Own(Box::new(Detail::new(what))),
        }
    }

    /// A sentence of the engine's on what the store's error means here. The kind stays the store's.
    pub(crate) fn on_store(e: StoreError, what: impl Into<String>) -> Self {
        Self::new(kind_of_store(e.kind()), what).because(e)
    }

    detail_builders!();

    /// The same of a member of a group: it names the member, where it does not.
    pub(crate) fn of_member(self, workload: &WorkloadId) -> Self {
        let named = self.to_string().contains(&workload.to_string());
        match named {
            true => self,
            false => self.on(workload),
        }
    }

    fn detail(&self) -> &Detail {
        match &self.said {
            Said::Own(detail) => detail,
            Said::Store(e) => e.detail(),
            Said::Backend(e) => e.detail(),
        }
    }

    fn detail_mut(&mut self) -> &mut Detail {
        match &mut self.said {
            Said::Own(detail) => detail,
            Said::Store(e) => e.detail_mut(),
            Said::Backend(e) => e.detail_mut(),
        }
    }

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
        self.store_error()?.conflict()
    }

    /// The store's error that this carries, or that caused it.
    pub fn store_error(&self) -> Option<&StoreError> {
        match &self.said {
            Said::Store(e) => Some(e),
            Said::Own(detail) => detail.source()?.downcast_ref(),
            Said::Backend(_) => None,
        }
    }

    /// The backend's error that this carries, or that caused it.
    pub fn backend_error(&self) -> Option<&BackendError> {
        match &self.said {
            Said::Backend(e) => Some(e),
            Said::Own(detail) => detail.source()?.downcast_ref(),
            Said::Store(_) => None,
        }
    }

    /// Whether trying the same thing again may succeed.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::Conflict | ErrorKind::Stale => true,
            ErrorKind::Store(_) => self.store_error().is_some_and(StoreError::is_transient),
            ErrorKind::Backend(_) => self.backend_error().is_some_and(BackendError::is_transient),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Said::Own(detail) => detail.fmt(f, None),
            Said::Store(e) => e.fmt(f),
            Said::Backend(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail().source()
    }
}

fn kind_of_store(kind: StoreErrorKind) -> ErrorKind {
    match kind {
        StoreErrorKind::Conflict => ErrorKind::Conflict,
        StoreErrorKind::Stale => ErrorKind::Stale,
        StoreErrorKind::NotFound => ErrorKind::NotFound,
        kind => ErrorKind::Store(kind),
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        Self {
            kind: kind_of_store(e.kind()),
            refusal: None,
            said: Said::Store(e),
        }
    }
}

impl From<BackendError> for Error {
    fn from(e: BackendError) -> Self {
        let kind = match e.kind() {
            BackendErrorKind::NotFound => ErrorKind::NotFound,
            BackendErrorKind::InvalidReference => ErrorKind::InvalidRequest,
            kind => ErrorKind::Backend(kind),
        };
        Self {
            kind,
            refusal: None,
            said: Said::Backend(e),
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;
    use crate::error::Chain;

    fn full() -> StoreError {
        StoreError::new(StoreErrorKind::Full, "no space is left")
            .on("/var/lib/history")
            .advice("free some")
            .because(io::Error::other("ENOSPC"))
    }

    #[test]
    fn a_carried_error_was_its_own_cause_and_printed_twice() {
        let away = BackendError::new(BackendErrorKind::Unreachable, "docker is away")
            .untouched()
            .because(io::Error::other("ECONNREFUSED"));
        let (stored, platform) = (full().to_string(), away.to_string());
        let (store, backend) = (Error::from(full()), Error::from(away));
        assert_eq!(store.to_string(), stored);
        assert_eq!(store.source().unwrap().to_string(), "ENOSPC");
        assert!(store.is_transient() && store.store_error().is_some());
        assert_eq!(backend.to_string(), platform);
        assert_eq!(backend.source().unwrap().to_string(), "ECONNREFUSED");
        assert!(backend.is_transient() && backend.backend_error().is_some());
    }

    #[test]
    fn a_second_subject_and_advice_were_appended_to_the_first() {
        let e = Error::from(full()).on("api").advice("recover");
        assert_eq!(e.to_string(), "no space is left: api; recover");
        assert_eq!((e.subject(), e.advised()), (Some("api"), Some("recover")));
        let kept = Error::from(full());
        assert_eq!(kept.subject(), Some("/var/lib/history"));
        assert_eq!(kept.advised(), Some("free some"));
    }

    #[test]
    fn what_the_engine_says_of_a_stores_error_does_not_repeat_it() {
        let e = Error::on_store(full(), "it stopped")
            .on("api")
            .advice("recover");
        assert_eq!(e.to_string(), "it stopped: api; recover");
        assert_eq!(e.kind(), ErrorKind::Store(StoreErrorKind::Full));
        assert!(e.is_transient());
        assert_eq!(
            Chain::of(&e).to_string(),
            "it stopped: api; recover; cause: no space is left: /var/lib/history; free some; \
             cause: ENOSPC"
        );
    }
}
