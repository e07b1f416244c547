//! Retention of groups: a group is kept, or let go, whole.

use std::collections::{BTreeMap, BTreeSet};

use super::inner::Inner;
use crate::error::{Chain, Error};
use crate::history::Summary;
use crate::id::{DeploymentId, GroupId, WorkloadId};
use crate::lineage::Lineage;
use crate::retention::retained;
use crate::withheld::Withheld;

/// What of these records of a workload is let go: a member of a group only if the rules of every other
/// member's workload let that one go, or have. So what has become of a group can be told as long as any of
/// it is in flight.
pub(super) async fn goes(
    inner: &Inner,
    workload: &WorkloadId,
    forget: &[&Summary],
) -> Result<Vec<DeploymentId>, Error> {
    let mut others = Others::default();
    let mut goes = Vec::with_capacity(forget.len());
    for d in forget {
        let kept = match &d.group {
            Some(group) => others.keep(inner, workload, group).await?,
            None => false,
        };
        if !kept {
            goes.push(d.id.clone());
        }
    }
    Ok(goes)
}

/// What the rules of other workloads keep, each asked once.
#[derive(Default)]
struct Others {
    kept: BTreeMap<WorkloadId, Kept>,
}

enum Kept {
    These(BTreeSet<DeploymentId>),
    /// It cannot be told.
    All,
}

impl Others {
    /// Whether a member of this group is kept that is not of this workload.
    async fn keep(
        &mut self,
        inner: &Inner,
        workload: &WorkloadId,
        group: &GroupId,
    ) -> Result<bool, Error> {
        let coordinator = match inner.store.get(group.coordinator()).await {
            Ok(Some(coordinator)) => coordinator,
            // The others went before.
            Ok(None) => return Ok(false),
            Err(e) if e.is_unreadable() => return Ok(true),
            Err(e) => return Err(e.into()),
        };
        let roll = coordinator.coordinates().and_then(|g| g.roll.as_ref());
        for (other, member) in roll.into_iter().flat_map(|roll| roll.moves()) {
            if other == workload {
                continue;
            }
            if !self.kept.contains_key(other) {
                let kept = kept(inner, other).await;
                self.kept.insert(other.clone(), kept);
            }
            match self.kept.get(other) {
                Some(Kept::These(ids)) if !ids.contains(member) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }
}

async fn kept(inner: &Inner, workload: &WorkloadId) -> Kept {
    match by_its_rules(inner, workload).await {
        Ok(kept) => Kept::These(kept),
        Err(e) => {
            tracing::warn!(%workload, error = %Chain::of(&e), "its groups are kept: what its rules keep cannot be told");
            Kept::All
        }
    }
}

async fn by_its_rules(
    inner: &Inner,
    workload: &WorkloadId,
) -> Result<BTreeSet<DeploymentId>, Error> {
    let records = inner.whole_history(workload).await?;
    let in_flight = |d: &&Summary| d.settled.is_none();
    let Ok(entry) = inner.workload(workload) else {
        // How long this program would keep it nobody says.
        let in_flight = records.iter().filter(in_flight);
        return Ok(in_flight.map(|d| d.id.clone()).collect());
    };
    let state = inner.store.workload(workload).await?;
    let rules = entry.rules(&state);
    let lineage = Lineage::new(&records, &state.live)
        .restoring(rules.restore)
        .withholding(Withheld::of(&state));
    let now = inner.clock.now();
    let retained = retained(&lineage, None, &rules.policy.retention, now);
    let gone: BTreeSet<&DeploymentId> = retained.forget.iter().map(|d| &d.id).collect();
    let stay = records.iter().filter(|d| !gone.contains(&d.id));
    Ok(stay.map(|d| d.id.clone()).collect())
}
