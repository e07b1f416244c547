//! [`HookError`]: why a hook did not do what it was asked.

use std::fmt;

use super::{BackendError, BackendErrorKind, LiveImpact};

/// How a hook ended that did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HookErrorKind {
    /// It failed by itself.
    Failed,
    /// It stopped because it was told to, by its [`Context`](crate::context::Context).
    Cancelled,
}

/// Why a hook (a release task, a restart, a remediation, a migration log) did not do what it was
/// asked: what failed, whether because it was told to stop, and what its program said. Without
/// secrets: it is recorded.
///
/// ```
/// use rollback_core::error::{HookError, HookErrorKind};
/// let e = HookError::new("it exited with 1").with_output("no such table: users\n");
/// assert_eq!(e.kind(), HookErrorKind::Failed);
/// assert_eq!(e.to_string(), "it exited with 1\nno such table: users");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookError {
    kind: HookErrorKind,
    what: String,
    output: String,
    impact: LiveImpact,
}

impl HookError {
    /// It failed by itself, in this.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            kind: HookErrorKind::Failed,
            what: what.into(),
            output: String::new(),
            impact: LiveImpact::Unknown,
        }
    }

    /// It was told to stop, and did.
    pub fn cancelled(what: impl Into<String>) -> Self {
        Self {
            kind: HookErrorKind::Cancelled,
            ..Self::new(what)
        }
    }

    /// Adds what its program said; a few KiB of the end are enough.
    #[must_use]
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        self.output = output.into();
        self
    }

    /// States that it surely did not touch the live release.
    #[must_use]
    pub fn untouched(mut self) -> Self {
        self.impact = LiveImpact::Untouched;
        self
    }

    /// What it may have done to the live release.
    pub fn impact(&self) -> LiveImpact {
        self.impact
    }

    /// How it ended.
    pub fn kind(&self) -> HookErrorKind {
        self.kind
    }

    /// What failed, without its output.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What its program said; empty if it said nothing.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// The same as the failure of the step that the hook is a part of. Its output is not lost: it
    /// says why.
    pub(crate) fn in_step(self, hook: &str, impact: LiveImpact) -> BackendError {
        let kind = match self.kind {
            HookErrorKind::Failed => BackendErrorKind::Failed,
            HookErrorKind::Cancelled => BackendErrorKind::Cancelled,
        };
        let error = BackendError::new(kind, format!("{hook} failed: {self}")).of_hook();
        match impact {
            LiveImpact::Untouched => error.untouched(),
            LiveImpact::Unknown => error,
        }
    }
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.output.trim_end() {
            "" => Ok(()),
            output => write!(f, "\n{output}"),
        }
    }
}

impl std::error::Error for HookError {}

impl From<String> for HookError {
    fn from(what: String) -> Self {
        Self::new(what)
    }
}

impl From<&str> for HookError {
    fn from(what: &str) -> Self {
        Self::new(what)
    }
}

/// What [`Context::check`](crate::context::Context::check) says, and what a hook asked of a platform.
impl From<BackendError> for HookError {
    fn from(e: BackendError) -> Self {
        let impact = e.impact();
        let error = match e.kind() {
            BackendErrorKind::Cancelled | BackendErrorKind::DeadlineExceeded => {
                Self::cancelled(e.without_impact())
            }
            _ => Self::new(e.without_impact()),
        };
        Self { impact, ..error }
    }
}
