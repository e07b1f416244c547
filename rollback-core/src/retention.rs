//! Retention: which records stay in the history, and which releases within reach. Pure.
//!
//! Records and releases are told from the same records at the same instant, so that one never
//! promises what the other has dropped: a record is forgotten first, then what only it needed.
//! Either half can be repeated; a crash in between leaves at most something to drop next time.

use std::collections::HashSet;
use std::time::Duration;

use crate::deployment::{Deployment, Outcome, TriggerKind};
use crate::history::{Summarized, Summary};
use crate::id::DeploymentId;
use crate::lineage::Lineage;
use crate::policy::{Keep, Retention, RollbackMode};
use crate::release::ReleaseDigest;
use crate::time::Timestamp;

/// What retention decides for one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retained<'a, R = Deployment> {
    /// Records that go, newest first.
    pub forget: Vec<&'a R>,
    /// Deployments whose releases stay within reach, newest first: the window.
    pub window: Vec<&'a R>,
}

/// Applies the rules, in time linear in the records. `in_flight` is the deployment in flight, if
/// its own step applies them.
pub fn retained<'a, R: Summarized>(
    lineage: &Lineage<'a, R>,
    in_flight: Option<&DeploymentId>,
    rules: &Retention,
    now: Timestamp,
) -> Retained<'a, R> {
    let kept = Kept::of(lineage, in_flight, rules, now);
    let records = lineage.records();
    let forget = (0..records.len()).filter(|i| !kept.records[*i]);
    let window = kept.window(lineage, rules.artifacts, now);
    Retained {
        forget: forget.map(|i| &records[i]).collect(),
        window: window.into_iter().map(|i| &records[i]).collect(),
    }
}

/// The digests of the releases that stay within reach.
pub(crate) fn within_reach<'l, R: Summarized>(
    lineage: &'l Lineage<'_, R>,
    rules: &Retention,
    now: Timestamp,
) -> HashSet<&'l ReleaseDigest> {
    let kept = Kept::of(lineage, None, rules, now);
    let window = kept.window(lineage, rules.artifacts, now);
    window
        .into_iter()
        .filter_map(|i| lineage.facts()[i].digest())
        .collect()
}

/// Which records stay, by their place in the order.
struct Kept {
    /// Under no rule: what is live, in flight, last healthy or pinned, and what the deployment in
    /// flight may still have to go back to.
    protected: Vec<bool>,
    records: Vec<bool>,
}

impl Kept {
    fn of<R: Summarized>(
        lineage: &Lineage<'_, R>,
        in_flight: Option<&DeploymentId>,
        rules: &Retention,
        now: Timestamp,
    ) -> Self {
        let protected = protected(lineage, in_flight);
        let mut kept = Self {
            records: protected.clone(),
            protected,
        };
        kept.keep(lineage, rules.records, now);
        kept
    }

    fn keep<R: Summarized>(&mut self, lineage: &Lineage<'_, R>, keep: Keep, now: Timestamp) {
        for (i, d) in lineage.facts().iter().enumerate() {
            let counts_for_the_breaker = d.breaker_until.is_some_and(|until| now < until);
            self.records[i] |= i < keep.newest || keep.is_young(d, now) || counts_for_the_breaker;
        }
        // The proof that health is judged here at all: without it, *last healthy* would fall back to
        // a release that nobody has judged.
        let judged = lineage.newest_judged_at();
        // What was published last is on record, or the history would seem to be behind it; an
        // adoption that did not succeed has published nothing.
        let failed = |d: &Summary| {
            d.trigger == TriggerKind::Adopt && d.outcome() != Some(Outcome::Succeeded)
        };
        let published = lineage.facts().iter().position(|d| !failed(d));
        let newest = (!self.records.is_empty()).then_some(0);
        let newest = newest.into_iter().chain(published);
        // What leads from the live release to the one before it.
        let way = lineage.live_at().map(|live| lineage.way_to_previous(live));
        let way = way.into_iter().flatten();
        for i in judged.into_iter().chain(newest).chain(way) {
            self.records[i] = true;
        }
        // A rollback without the record it goes back to would seem to be a deploy, with another floor, and
        // in records of before origins were kept with another `previous`; a record without the rollback that went past it would
        // seem to have been superseded.
        let mut unseen: Vec<usize> = (0..self.records.len())
            .filter(|i| self.records[*i])
            .collect();
        while let Some(i) = unseen.pop() {
            let point = lineage.facts()[i].restores.as_ref();
            let point = point.and_then(|id| lineage.at(id));
            for needed in point.into_iter().chain(lineage.abandoned_at(i)) {
                if !std::mem::replace(&mut self.records[needed], true) {
                    unseen.push(needed);
                }
            }
        }
    }

    /// The newest deployment of each release that stays within reach, and every protected one.
    fn window<R: Summarized>(
        &self,
        lineage: &Lineage<'_, R>,
        keep: Keep,
        now: Timestamp,
    ) -> Vec<usize> {
        // Failures are counted apart: they stay for a look at them, and evict nothing good.
        let (mut good, mut failed) = (HashSet::new(), HashSet::new());
        let mut window = Vec::new();
        for (i, d) in lineage.facts().iter().enumerate() {
            if !self.records[i] || !d.placed {
                continue;
            }
            if self.protected[i] {
                window.push(i);
            }
            let Some(digest) = d.digest().filter(|_| d.rollback != RollbackMode::Off) else {
                continue;
            };
            // The one whose own step this is has not been settled yet.
            let passed = (d.went_live() || d.settled.is_none()) && !d.is_unhealthy();
            let seen = if passed { &mut good } else { &mut failed };
            let fits = seen.len() < keep.newest || keep.is_young(d, now);
            if fits && seen.insert(digest) && !self.protected[i] {
                window.push(i);
            }
        }
        window
    }
}

fn protected<R: Summarized>(
    lineage: &Lineage<'_, R>,
    in_flight: Option<&DeploymentId>,
) -> Vec<bool> {
    let facts = lineage.facts();
    let mut protected: Vec<bool> = facts
        .iter()
        .map(|d| d.pinned || d.settled.is_none())
        .collect();
    for i in lineage
        .live_at()
        .into_iter()
        .chain(lineage.last_healthy_ones())
    {
        protected[i] = true;
    }
    if let Some(own) = in_flight.and_then(|id| lineage.at(id)) {
        let d = &facts[own];
        let needed = [d.replaces.known(), d.fallback.known(), d.failed.as_ref()];
        let needed = needed.into_iter().flatten().filter_map(|id| lineage.at(id));
        for i in needed.chain([own]) {
            protected[i] = true;
        }
    }
    protected
}

impl Keep {
    /// Whether a record stays for its age alone.
    pub(crate) fn is_young(self, d: &Summary, now: Timestamp) -> bool {
        let span = Duration::from_secs(u64::from(self.days) * 24 * 60 * 60);
        now.since(d.opened_at) < span
    }
}
