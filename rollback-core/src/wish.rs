//! [`Wish`]: what is to be made live.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::DeploymentId;
use crate::time::Timestamp;

/// Where a rollback goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Goal {
    /// The newest earlier deployment with a good verdict: what bare `rollback` means.
    #[default]
    LastHealthy,
    /// The last distinct release that was live before.
    Previous,
    /// This deployment's release.
    To(DeploymentId),
    /// What was live before this deployment: undoes it.
    Before(DeploymentId),
    /// What was live at this time.
    AsOf(Timestamp),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastHealthy => f.write_str("the last healthy release"),
            Self::Previous => f.write_str("the previous release"),
            Self::To(id) => write!(f, "the release of {id}"),
            Self::Before(id) => write!(f, "what was live before {id}"),
            Self::AsOf(t) => write!(f, "what was live at {t}"),
        }
    }
}

/// What is to be made live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wish {
    /// A reference, resolved once when the plan is made.
    Deploy {
        /// A tag, branch, commit, image, unit source.
        reference: String,
    },
    /// An earlier deployment's artifact, placed anew with today's configuration.
    Redeploy {
        /// The deployment whose artifact is placed anew.
        of: DeploymentId,
    },
    /// An older release.
    Rollback {
        /// Which older release it is.
        goal: Goal,
    },
}

/// Whether a rollback to what is live already does anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reapply {
    /// It is a typed no-op.
    #[default]
    No,
    /// The release is put in place anew, which undoes drift.
    Yes,
}
