//! [`Purpose`]: what a deployment is for, where it is part of something longer.

use serde::{Deserialize, Serialize};

use crate::id::DeploymentId;
use crate::newer::{Newer, keeps_newer};

/// What a deployment is for, where it is part of something longer than itself. It changes nothing of how
/// it runs, but for a drill that [stops short of the switch](Purpose::DryDrill).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Purpose {
    /// It goes back to what was live before a change.
    Undo {
        /// The change.
        change: DeploymentId,
    },
    /// It goes to what a change that was undone had left.
    Redo {
        /// The change.
        change: DeploymentId,
    },
    /// It practises the rollback that it is: it runs as that would, up to where it would be switched, and
    /// then goes back.
    DryDrill,
    /// It practises the rollback that it is, for real: who comes next goes back to what it replaced.
    Drill,
    /// It goes back to what was live before a drill.
    DrillEnds {
        /// The drill.
        drill: DeploymentId,
    },
    /// It goes back, since nobody had confirmed what it replaces.
    Unconfirmed {
        /// What nobody had confirmed.
        deployment: DeploymentId,
    },
    /// It is tried, to find the first bad one between two.
    Bisect {
        /// The good one.
        good: DeploymentId,
        /// The bad one.
        bad: DeploymentId,
        /// The one that is tried; `None`: it ends the search, where that began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tried: Option<DeploymentId>,
    },
    /// One of a newer version of this library, kept as it is.
    #[serde(skip)]
    Newer(Newer),
}

keeps_newer!(Purpose, "for");

impl Purpose {
    /// Whether the engine owes it, and nobody asks for it.
    pub(crate) fn is_owed(&self) -> bool {
        matches!(self, Self::DrillEnds { .. } | Self::Unconfirmed { .. })
    }
}
