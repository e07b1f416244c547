//! Rollback points: which deployments a rollback can go to, and why not the others. By the
//! records alone, and pure; whether a release can still be had, the platform says when a plan is
//! made.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::deployment::Deployment;
use crate::history::Summarized;
use crate::lineage::{Lineage, Standing};
use crate::policy::{Retention, RollbackMode};
use crate::release::ReleaseDigest;
use crate::retention::within_reach;
use crate::time::Timestamp;

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

/// What rules a deployment out as the target of a rollback, whatever is live and whatever has
/// been let go since.
pub fn ruled_out(d: &impl Summarized) -> Option<NoPoint> {
    let d = d.summary();
    if d.settled.is_none() {
        return Some(NoPoint::InFlight);
    }
    if !d.placed {
        return Some(NoPoint::NeverPlaced);
    }
    if let Some(why) = &d.bad {
        return Some(NoPoint::MarkedBad {
            why: why.to_string(),
        });
    }
    if d.rollback == RollbackMode::Off {
        return Some(NoPoint::NotCaptured);
    }
    None
}

/// The rollback points of one workload.
#[derive(Debug)]
pub struct Points<'l, 'a, R = Deployment> {
    lineage: &'l Lineage<'a, R>,
    within_reach: HashSet<&'l ReleaseDigest>,
}

impl<'l, 'a, R: Summarized> Points<'l, 'a, R> {
    /// By these records and rules, now.
    pub fn new(lineage: &'l Lineage<'a, R>, rules: &Retention, now: Timestamp) -> Self {
        Self {
            within_reach: within_reach(lineage, rules, now),
            lineage,
        }
    }

    /// Whether a rollback can go to this deployment, which is one of the records; `Err` says why
    /// not.
    pub fn check(&self, d: &R) -> Result<(), NoPoint> {
        if self.lineage.standing(d) == Standing::Live {
            return Err(NoPoint::Live);
        }
        if let Some(why) = ruled_out(d) {
            return Err(why);
        }
        let facts = self.lineage.facts();
        let digest = |i: usize| facts[i].digest();
        let own = self.lineage.at(d.id()).and_then(digest);
        let live = self.lineage.live_at().and_then(digest);
        if own.is_some() && live == own {
            return Err(NoPoint::Live);
        }
        let withheld = self
            .lineage
            .at(d.id())
            .and_then(|i| self.lineage.withheld_at(i));
        if let Some(why) = withheld {
            return Err(why);
        }
        match own {
            Some(own) if self.within_reach.contains(own) => Ok(()),
            _ => Err(NoPoint::LetGo),
        }
    }
}
