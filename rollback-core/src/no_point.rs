//! [`NoPoint`]: why a rollback cannot go to a deployment.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a deployment is no rollback point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoPoint {
    /// It, or its release by a later deployment, is what is live.
    Live,
    /// It is in flight.
    InFlight,
    /// It never put a release in place: refused, cancelled, or failed before.
    NeverPlaced,
    /// A person marked it bad.
    MarkedBad {
        /// Who and why.
        why: String,
    },
    /// Its artifact was recalled; a rollback that names it needs the guard `recall` forced.
    Recalled {
        /// Why, and by whom.
        why: String,
    },
    /// It lies below the workload's floor; a rollback that names it needs the guard `floor` forced.
    BelowFloor {
        /// Why, and by whom.
        why: String,
    },
    /// Rollback was off when it was deployed: nothing was captured.
    NotCaptured,
    /// Retention has let its release go.
    LetGo,
}

impl fmt::Display for NoPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("it is live"),
            Self::InFlight => f.write_str("it is in flight"),
            Self::NeverPlaced => f.write_str("it never placed a release at the target"),
            Self::MarkedBad { why } => write!(f, "it is marked bad: {why}"),
            Self::Recalled { why } => write!(f, "its artifact is recalled: {why}"),
            Self::BelowFloor { why } => write!(f, "it is below the floor: {why}"),
            Self::NotCaptured => f.write_str("rollback was off when it was deployed"),
            Self::LetGo => f.write_str("retention has let its release go"),
        }
    }
}
