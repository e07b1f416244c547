//! [`Trigger`]: what set a deployment off.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, InvalidId, one_of};

/// What set a deployment off.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "trigger", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// A reference was deployed.
    Deploy,
    /// An earlier deployment's release was deployed anew, with today's configuration.
    Redeploy {
        /// The deployment whose artifact is placed anew.
        of: DeploymentId,
    },
    /// Somebody rolled back.
    Rollback {
        /// The deployment whose release comes back.
        // Flattened into a record, it must not share the record's own `to`.
        #[serde(rename = "restores")]
        to: DeploymentId,
    },
    /// The engine rolled back a deployment that failed its gate.
    AutomaticRollback {
        /// The deployment whose release comes back.
        #[serde(rename = "restores")]
        to: DeploymentId,
        /// The deployment that failed.
        failed: DeploymentId,
    },
    /// What was live already was put on record.
    Adopt,
}

impl Trigger {
    /// The kind alone, for columns and filters.
    pub fn kind(&self) -> TriggerKind {
        match self {
            Self::Deploy => TriggerKind::Deploy,
            Self::Redeploy { .. } => TriggerKind::Redeploy,
            Self::Rollback { .. } => TriggerKind::Rollback,
            Self::AutomaticRollback { .. } => TriggerKind::AutomaticRollback,
            Self::Adopt => TriggerKind::Adopt,
        }
    }

    /// The deployment whose release a rollback, by hand or automatic, brings back.
    pub fn restores(&self) -> Option<&DeploymentId> {
        match self {
            Self::Rollback { to } | Self::AutomaticRollback { to, .. } => Some(to),
            _ => None,
        }
    }
}

/// A [`Trigger`] without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TriggerKind {
    /// See [`Trigger::Deploy`].
    Deploy,
    /// See [`Trigger::Redeploy`].
    Redeploy,
    /// See [`Trigger::Rollback`].
    Rollback,
    /// See [`Trigger::AutomaticRollback`].
    AutomaticRollback,
    /// See [`Trigger::Adopt`].
    Adopt,
}

impl TriggerKind {
    /// All that there are.
    pub const ALL: &'static [Self] = &[
        Self::Deploy,
        Self::Redeploy,
        Self::Rollback,
        Self::AutomaticRollback,
        Self::Adopt,
    ];

    /// The kind as stores and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Redeploy => "redeploy",
            Self::Rollback => "rollback",
            Self::AutomaticRollback => "automatic_rollback",
            Self::Adopt => "adopt",
        }
    }
}

/// From the word that [`TriggerKind::as_str`] gives.
impl FromStr for TriggerKind {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        one_of(
            "trigger",
            s,
            Self::ALL.iter().map(|kind| (kind.as_str(), *kind)),
        )
    }
}

impl fmt::Display for TriggerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_str().replace('_', " "))
    }
}
