//! [`Outcome`] and [`Settlement`]: how a deployment ended, and what is live.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::health::Verdict;
use crate::id::{DeploymentId, InvalidId, one_of};

/// How a settled deployment ended. The health [`Verdict`] is another axis. The order is that of
/// [`Outcome::ALL`], for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Its release is live, and no gate failed.
    Succeeded,
    /// It failed; the settlement says what is live.
    Failed,
    /// It failed after it had gone live, and what was live before was put back.
    FailedAndRolledBack,
    /// A guard refused it after it had been opened.
    Refused,
    /// Somebody cancelled it; what was live before is live.
    Cancelled,
    /// Its process died; recovery found nothing worth finishing, or something it must not touch.
    Interrupted,
    /// A rollback failed its own gate, or what is live could not be settled: a person has to
    /// look. Any later passing deployment, or `adopt`, leaves that state.
    Degraded,
}

impl Outcome {
    /// All that there are.
    pub const ALL: &'static [Self] = &[
        Self::Succeeded,
        Self::Failed,
        Self::FailedAndRolledBack,
        Self::Refused,
        Self::Cancelled,
        Self::Interrupted,
        Self::Degraded,
    ];

    /// The outcome as stores and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::FailedAndRolledBack => "failed_and_rolled_back",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Degraded => "degraded",
        }
    }
}

/// From the word that [`Outcome::as_str`] gives.
impl FromStr for Outcome {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        one_of(
            "outcome",
            s,
            Self::ALL.iter().map(|outcome| (outcome.as_str(), *outcome)),
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_str().replace('_', " "))
    }
}

/// What is live on a workload, as far as history knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveRecord {
    /// Nothing has been deployed, or the first deployment was undone.
    #[default]
    Nothing,
    /// This deployment's release.
    Known(DeploymentId),
    /// Something, but not what any record says.
    Unknown,
}

impl LiveRecord {
    /// The live deployment, where it is known.
    pub fn known(&self) -> Option<&DeploymentId> {
        match self {
            Self::Known(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for LiveRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Known(id) => id.fmt(f),
            Self::Unknown => f.write_str("not known"),
        }
    }
}

/// How a deployment ended, and what is live now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settlement {
    /// How it ended.
    pub outcome: Outcome,
    /// How its health gate ended.
    pub verdict: Verdict,
    /// What is live.
    pub live: LiveRecord,
    /// One sentence for a person: what happened and, if need be, what to do next.
    pub summary: String,
    /// Why what failed its gate was not rolled back by itself; `None` where it was, or need not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_attempted: Option<NotAttempted>,
}

impl Settlement {
    /// A settlement with nothing more to say.
    pub fn new(
        outcome: Outcome,
        verdict: Verdict,
        live: LiveRecord,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            outcome,
            verdict,
            live,
            summary: summary.into(),
            not_attempted: None,
        }
    }
}

/// Why automatic rollback was not attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotAttempted {
    /// The policy has it disarmed.
    NotArmed,
    /// There is no earlier release to go back to.
    NoRollbackPoint,
    /// What failed was a rollback: the engine does not double back.
    WasARollback,
    /// Migrations were applied since, or may have been, and the policy blocks on them.
    Migrations,
    /// The history is behind what is live: an older copy of it was put back.
    HistoryBehind,
    /// It went live with its group: alone it does not go back unasked.
    WithItsGroup,
    /// Where to could not be looked up, and trying again will not help; the log says why.
    NotLookedUp,
}
