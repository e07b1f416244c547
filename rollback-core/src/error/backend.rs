//! [`BackendError`]: what a backend says.

use std::fmt;

use super::chain::Chain;
use super::detail::{Detail, detail_builders};

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
    /// Whether a hook within the verb said so, and not the platform.
    of_hook: bool,
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
            of_hook: false,
            detail: Box::new(Detail::new(what)),
        }
    }

    detail_builders!();

    pub(super) fn detail(&self) -> &Detail {
        &self.detail
    }

    pub(super) fn detail_mut(&mut self) -> &mut Detail {
        &mut self.detail
    }

    /// States that the live release was surely not touched.
    #[must_use]
    pub fn untouched(mut self) -> Self {
        self.impact = LiveImpact::Untouched;
        self
    }

    /// The same, said by a hook within the verb.
    pub(super) fn of_hook(mut self) -> Self {
        self.of_hook = true;
        self
    }

    /// The same, of what was told to stop because its time was over, and says that it was cancelled.
    /// A platform that took too long may be quicker the next time; of a hook that hangs nothing is to be
    /// hoped for, and trying for ever would not help.
    pub(crate) fn late(self) -> Self {
        let (what, kind) = match self.of_hook {
            true => ("a hook did not end in time", BackendErrorKind::Failed),
            false => ("it took too long", BackendErrorKind::DeadlineExceeded),
        };
        let late = match self.impact {
            LiveImpact::Untouched => Self::new(kind, what).untouched(),
            LiveImpact::Unknown => Self::new(kind, what),
        };
        late.because(self)
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

    /// All that it says, causes included, but for what it did to the live release: where somebody
    /// else knows that.
    pub(super) fn without_impact(&self) -> String {
        let mut own = String::new();
        match self.detail.fmt(&mut own, None) {
            Ok(()) => Chain::of(self).after(own),
            // A string takes all that is written to it.
            Err(fmt::Error) => Chain::of(self).to_string(),
        }
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

impl std::error::Error for BackendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail.source()
    }
}
