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
    /// What was live before the last change that is not undone: undoing again goes back further. It is a
    /// state that is gone back to, all of it, unless the request says how much.
    Undo,
    /// What the change that was undone last had left. There is none once something new was done.
    Redo,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastHealthy => f.write_str("the last healthy release"),
            Self::Previous => f.write_str("the previous release"),
            Self::To(id) => write!(f, "the release of {id}"),
            Self::Before(id) => write!(f, "what was live before {id}"),
            Self::AsOf(t) => write!(f, "what was live at {t}"),
            Self::Undo => f.write_str("what was live before the last change"),
            Self::Redo => f.write_str("what was undone last"),
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
