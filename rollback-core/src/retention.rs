//! Retention: which records stay in the history, and which releases within reach. Pure.
//!
//! Records and releases are told from the same records at the same instant, so that one never
//! promises what the other has dropped: a record is forgotten first, then what only it needed.
//! Either half can be repeated; a crash in between leaves at most something to drop next time.

use std::collections::HashSet;
use std::time::Duration;

use crate::deployment::{Deployment, TriggerKind};
use crate::event::Event;
use crate::id::DeploymentId;
use crate::lineage::Lineage;
use crate::policy::{Keep, Retention, RollbackMode};
use crate::time::Timestamp;

/// What retention decides for one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained<'a> {
    /// Records that go, newest first.
    pub forget: Vec<&'a Deployment>,
    /// Deployments whose releases stay within reach, newest first: the window.
    pub window: Vec<&'a Deployment>,
}

/// Applies the rules. `in_flight` is the deployment in flight, if its own step applies them.
pub fn retained<'a>(
    lineage: &Lineage<'a>,
    in_flight: Option<&DeploymentId>,
    rules: &Retention,
    now: Timestamp,
) -> Retained<'a> {
    let protected = protected(lineage, in_flight);
    let kept = kept_records(lineage, &protected, rules.records, now);
    let (stay, forget): (Vec<_>, Vec<_>) = lineage
        .records()
        .iter()
        .partition(|d| kept.contains(d.id()));
    Retained {
        window: window(&stay, &protected, rules.artifacts, now),
        forget,
    }
}

/// What goes under no rule: what is live, in flight, last healthy or pinned, and what the
/// deployment in flight may still have to go back to.
fn protected<'a>(
    lineage: &Lineage<'a>,
    in_flight: Option<&DeploymentId>,
) -> HashSet<&'a DeploymentId> {
    let mut protected: HashSet<&DeploymentId> = HashSet::new();
    protected.extend(lineage.live().map(Deployment::id));
    protected.extend(lineage.last_healthy_ones().map(Deployment::id));
    for d in lineage.records() {
        if d.annotations().pinned || d.settlement().is_none() {
            protected.insert(d.id());
        }
    }
    if let Some(own) = in_flight.and_then(|id| lineage.get(id)) {
        let new = own.new_deployment();
        let failed = match own.trigger() {
            crate::deployment::Trigger::AutomaticRollback { failed, .. } => Some(failed),
            _ => None,
        };
        let needed = [
            Some(&new.id),
            new.replaces.known(),
            new.fallback.known(),
            failed,
        ];
        protected.extend(needed.into_iter().flatten());
    }
    protected
}

fn kept_records<'a>(
    lineage: &Lineage<'a>,
    protected: &HashSet<&'a DeploymentId>,
    keep: Keep,
    now: Timestamp,
) -> HashSet<&'a DeploymentId> {
    let mut kept = protected.clone();
    // The proof that health is judged here at all: without it, *last healthy* would fall back to
    // a release that nobody has judged.
    kept.extend(lineage.newest_judged().map(Deployment::id));
    for (i, d) in lineage.records().iter().enumerate() {
        if i < keep.newest || younger(d, keep, now) || counts_for_the_breaker(d, now) {
            kept.insert(d.id());
        }
    }
    // What leads from the live release to the one before it.
    if let Some(live) = lineage.live() {
        kept.extend(lineage.way_to_previous(live).iter().map(|d| d.id()));
    }
    // A rollback without the record it goes back to would have another provenance, and `previous`
    // would lead to what was abandoned; a record without the rollback that went past it would
    // seem to have been superseded.
    let mut unseen: Vec<&DeploymentId> = kept.iter().copied().collect();
    while let Some(d) = unseen.pop().and_then(|id| lineage.get(id)) {
        let target = d.trigger().restores().and_then(|id| lineage.get(id));
        let abandoned_by = lineage.abandoned_by(d).filter(|_| d.went_live());
        for needed in target.into_iter().chain(abandoned_by) {
            if kept.insert(needed.id()) {
                unseen.push(needed.id());
            }
        }
    }
    kept
}

/// The newest deployment of each release that stays within reach, and every protected one.
fn window<'a>(
    records: &[&'a Deployment],
    protected: &HashSet<&'a DeploymentId>,
    keep: Keep,
    now: Timestamp,
) -> Vec<&'a Deployment> {
    // Failures are counted apart: they stay for a look at them, and evict nothing good.
    let (mut good, mut failed) = (HashSet::new(), HashSet::new());
    let mut window = Vec::new();
    for d in records {
        if !was_placed(d) {
            continue;
        }
        if protected.contains(d.id()) {
            window.push(*d);
        }
        if d.new_deployment().policy.rollback == RollbackMode::Off {
            continue;
        }
        let Some(release) = d.release() else {
            continue;
        };
        // The one whose own step this is has not been settled yet.
        let passed = (d.went_live() || d.settlement().is_none()) && !d.verdict().is_failed();
        let seen = if passed { &mut good } else { &mut failed };
        let fits = seen.len() < keep.newest || younger(d, keep, now);
        if fits && seen.insert(release.digest()) && !protected.contains(d.id()) {
            window.push(*d);
        }
    }
    window
}

/// Whether a remediation of this deployment still counts: forgetting it would close the breaker.
fn counts_for_the_breaker(d: &Deployment, now: Timestamp) -> bool {
    let per = d.new_deployment().policy.breaker.per;
    d.events()
        .iter()
        .any(|e| matches!(e.event, Event::RemediationIntended { .. }) && now.since(e.at) < per)
}

/// Whether a deployment's release was ever put where it can be reached.
fn was_placed(d: &Deployment) -> bool {
    d.instance().is_some() && (d.switch_began() || d.trigger().kind() == TriggerKind::Adopt)
}

fn younger(d: &Deployment, keep: Keep, now: Timestamp) -> bool {
    let span = Duration::from_secs(u64::from(keep.days) * 24 * 60 * 60);
    now.since(d.new_deployment().opened_at) < span
}
