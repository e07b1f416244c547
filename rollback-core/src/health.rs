//! Health: the verdict, the checks that reach it, and the gate they form.

mod check;
mod gate;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use check::{Aim, HealthCheck, Healthy, Probe, Unhealthy};
pub use gate::Gate;
pub(crate) use gate::{maybe_millis, millis};

/// How a health gate ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Nobody looked, or nobody could tell. Not healthy.
    #[default]
    Unknown,
    /// Healthy, as often and for as long as the gate asks.
    Passed,
    /// Unhealthy at first, healthy after this remediation.
    Healed {
        /// The remediation's name.
        by: String,
    },
    /// Unhealthy oftener than the gate bears, not healthy by its deadline, or failed for good.
    Failed {
        /// What a person should read first. Redacted, at most [`MAX_DIAGNOSTIC`] bytes.
        diagnostic: String,
    },
}

/// Longest diagnostic that is stored, in bytes: 64 KiB.
pub const MAX_DIAGNOSTIC: usize = 64 * 1024;

/// The last [`MAX_DIAGNOSTIC`] bytes.
pub(crate) fn tail(text: String) -> String {
    if text.len() <= MAX_DIAGNOSTIC {
        return text;
    }
    let mut cut = text.len() - MAX_DIAGNOSTIC + '…'.len_utf8();
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    format!("…{}", &text[cut..])
}

impl Verdict {
    /// A failure, its diagnostic cut to [`MAX_DIAGNOSTIC`] bytes (the end is kept: that is where
    /// logs say what killed them).
    pub fn failed(diagnostic: impl Into<String>) -> Self {
        Self::Failed {
            diagnostic: tail(diagnostic.into()),
        }
    }

    /// Passed or healed.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Passed | Self::Healed { .. })
    }

    /// Whether it is known to be unhealthy; one that nobody judged is not.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// The kind alone, for columns and filters.
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Unknown => VerdictKind::Unknown,
            Self::Passed => VerdictKind::Passed,
            Self::Healed { .. } => VerdictKind::Healed,
            Self::Failed { .. } => VerdictKind::Failed,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not checked"),
            Self::Passed => f.write_str("healthy"),
            Self::Healed { by } => write!(f, "healthy after {by}"),
            Self::Failed { diagnostic } => {
                write!(f, "unhealthy: {}", diagnostic.lines().next().unwrap_or(""))
            }
        }
    }
}

/// A [`Verdict`] without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerdictKind {
    /// See [`Verdict::Unknown`].
    Unknown,
    /// See [`Verdict::Passed`].
    Passed,
    /// See [`Verdict::Healed`].
    Healed,
    /// See [`Verdict::Failed`].
    Failed,
}

/// The platform's own view of an instance, looked at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "view", content = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum View {
    /// It has none: no process, no health check.
    NoOpinion,
    /// It cannot tell yet, and why: it starts, or has not run for long enough. Waited for until the
    /// gate's deadline.
    NotYet(String),
    /// The platform says that it is; of what has to run for a while, once it has.
    Healthy,
    /// Nothing of it was asked to run, and why: it is scaled to none. Nobody is asked, for nobody is
    /// there: it is not judged.
    Idle(String),
    /// It has failed for good, and how: nothing to wait for. Redacted.
    Failed(String),
}

impl View {
    /// A failure for good, its diagnostic cut to [`MAX_DIAGNOSTIC`] bytes.
    pub fn failed(diagnostic: impl Into<String>) -> Self {
        Self::Failed(tail(diagnostic.into()))
    }

    /// Whether it has failed for good.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The verdict that this view alone comes to.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::NoOpinion | Self::NotYet(_) | Self::Idle(_) => Verdict::Unknown,
            Self::Healthy => Verdict::Passed,
            Self::Failed(diagnostic) => Verdict::failed(diagnostic.clone()),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOpinion => f.write_str("no opinion"),
            Self::NotYet(why) => write!(f, "not yet: {why}"),
            Self::Idle(why) => write!(f, "nothing is to run: {why}"),
            Self::Healthy => f.write_str("healthy"),
            Self::Failed(how) => write!(f, "unhealthy: {}", how.lines().next().unwrap_or("")),
        }
    }
}

/// Where a gate looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// At the successor, before it has the traffic.
    Beside,
    /// At what is live.
    Live,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_diagnostic_keeps_its_end() {
        let Verdict::Failed { diagnostic } = Verdict::failed(format!("{}end", "é".repeat(60_000)))
        else {
            panic!("failed() makes a failure")
        };
        assert!(diagnostic.len() <= MAX_DIAGNOSTIC);
        assert!(diagnostic.ends_with("end"));
    }
}
