//! Rollback points: which deployments a rollback can go to, and why not the others. By the
//! records alone, and pure; whether a release can still be had, the platform says when a plan is
//! made.

use std::collections::HashSet;

use crate::deployment::Deployment;
use crate::history::Summarized;
use crate::lineage::{Lineage, Standing};
use crate::policy::{Retention, RollbackMode};
use crate::release::ReleaseDigest;
use crate::retention::within_reach;
use crate::time::Timestamp;

pub use crate::no_point::NoPoint;

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

    /// Whether a rollback can go to this deployment, which is one of the records.
    ///
    /// # Errors
    ///
    /// Why it cannot, by the first reason that there is.
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
