//! Lineage: what followed what, derived from the records. Pure.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::deployment::{Deployment, LiveRecord};
use crate::history::Sequence;
use crate::id::DeploymentId;
use crate::plan::PassedOver;
use crate::policy::RollbackMode;
use crate::release::{Release, Restore};
use crate::time::Timestamp;

/// What has become of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// Its release is live.
    Live,
    /// A later deployment took its place.
    Superseded,
    /// A rollback went past it: abandoned.
    RolledBack,
    /// It never settled as live.
    NeverLive,
}

/// Deployments that answer a goal, best first, availability not yet considered.
#[derive(Debug, Default)]
pub struct Candidates<'a> {
    /// Best first.
    pub candidates: Vec<&'a Deployment>,
    /// What was looked at and ruled out.
    pub passed_over: Vec<PassedOver>,
}

/// One workload's records and what is live, newest first.
#[derive(Debug)]
pub struct Lineage<'a> {
    records: &'a [Deployment],
    index: HashMap<&'a DeploymentId, usize>,
    live: &'a LiveRecord,
    restore: Restore,
}

impl<'a> Lineage<'a> {
    /// `records`: all of one workload, newest first.
    pub fn new(records: &'a [Deployment], live: &'a LiveRecord) -> Self {
        let index = records
            .iter()
            .enumerate()
            .map(|(i, d)| (d.id(), i))
            .collect();
        Self {
            records,
            index,
            live,
            restore: Restore::Everything,
        }
    }

    /// What a bare rollback of this workload restores; everything, unless set.
    #[must_use]
    pub fn restoring(self, restore: Restore) -> Self {
        Self { restore, ..self }
    }

    /// The records, newest first.
    pub fn records(&self) -> &'a [Deployment] {
        self.records
    }

    /// One record.
    pub fn get(&self, id: &DeploymentId) -> Option<&'a Deployment> {
        self.index.get(id).map(|i| &self.records[*i])
    }

    /// The live record, where it is known.
    pub fn live(&self) -> Option<&'a Deployment> {
        self.live.known().and_then(|id| self.get(id))
    }

    /// The deployment that first brought this one's release: a rollback leads back to its
    /// target, and so on.
    pub fn origin(&self, deployment: &'a Deployment) -> &'a Deployment {
        let mut d = deployment;
        while let Some(target) = d.trigger().restores().and_then(|id| self.get(id)) {
            if target.sequence() >= d.sequence() {
                break;
            }
            d = target;
        }
        d
    }

    /// From where `LastHealthy` looks back: before the live release's origin.
    pub fn anchor(&self) -> Sequence {
        self.live()
            .map_or(Sequence(u64::MAX), |live| self.origin(live).sequence())
    }

    /// The last release that was live before this deployment's and differs from it, following
    /// provenance: after `D1 D2 rollback→D1`, what D1 followed, not D2.
    pub fn previous(&self, deployment: &'a Deployment) -> Option<&'a Deployment> {
        let release = deployment.release()?.digest();
        let last = self.way_to_previous(deployment).pop()?;
        let differs = last.release().is_some_and(|r| r.digest() != release);
        (last.went_live() && differs).then_some(last)
    }

    /// The deployments that lead from this one to its previous, which is the last of them if the
    /// way is whole.
    pub(crate) fn way_to_previous(&self, deployment: &'a Deployment) -> Vec<&'a Deployment> {
        let mut way = Vec::new();
        let Some(release) = deployment.release().map(Release::digest) else {
            return way;
        };
        let mut at = self.origin(deployment);
        while let Some(before) = at
            .new_deployment()
            .replaces
            .known()
            .and_then(|id| self.get(id))
        {
            if before.sequence() >= at.sequence() {
                break;
            }
            way.push(before);
            if before.went_live() && before.release().is_some_and(|r| r.digest() != release) {
                break;
            }
            at = self.origin(before);
        }
        way
    }

    /// Where a bare rollback goes, by the records alone: whether that release can still be had, the
    /// platform says.
    pub fn last_healthy(&self, or_unjudged: bool) -> Option<&'a Deployment> {
        self.last_healthy_restoring(&self.restore, or_unjudged)
    }

    /// The last healthy ones that retention keeps within reach: for what a bare rollback
    /// restores, and for the automatic one's default.
    pub(crate) fn last_healthy_ones(&self) -> impl Iterator<Item = &'a Deployment> {
        [&self.restore, &Restore::Everything]
            .into_iter()
            .filter_map(|restore| self.last_healthy_restoring(restore, true))
    }

    fn last_healthy_restoring(
        &self,
        restore: &Restore,
        or_unjudged: bool,
    ) -> Option<&'a Deployment> {
        let today = self.live().and_then(Deployment::release);
        let is_live = |d: &Deployment| {
            let brought = d.release().map(|r| r.brought_back(today, restore).digest());
            brought.is_some() && brought == today.map(Release::digest)
        };
        self.healthy(is_live, or_unjudged)
            .candidates
            .first()
            .copied()
    }

    /// The deployments that *last healthy* may mean, newest first: those before what is live that
    /// passed their health gate, are not marked bad, and would not bring back what is live as it
    /// is. With `or_unjudged`, and if no earlier one has any verdict, the earlier ones.
    pub fn healthy(
        &self,
        is_live: impl Fn(&Deployment) -> bool,
        or_unjudged: bool,
    ) -> Candidates<'a> {
        let anchor = self.anchor();
        let (mut healthy, mut unjudged, mut passed_over) = (Vec::new(), Vec::new(), Vec::new());
        let mut any_verdict = false;
        for d in self.records.iter().filter(|d| d.sequence() < anchor) {
            let mut pass = |why: &str| {
                passed_over.push(PassedOver {
                    deployment: d.id().clone(),
                    why: why.into(),
                });
            };
            if !d.went_live() {
                pass("never settled as live");
                continue;
            }
            any_verdict |= d.verdict().is_good() || d.verdict().is_failed();
            if let Some(why) = &d.annotations().bad {
                pass(&format!("is marked bad: {why}"));
            } else if d.new_deployment().policy.rollback == RollbackMode::Off {
                pass("was deployed with rollback off");
            } else if is_live(d) {
                pass("is what is live");
            } else if d.verdict().is_failed() {
                pass("failed its health gate");
            } else if d.verdict().is_good() {
                healthy.push(d);
            } else {
                unjudged.push(d);
            }
        }
        let candidates = if or_unjudged && !any_verdict {
            unjudged
        } else {
            passed_over.extend(unjudged.into_iter().map(|d| PassedOver {
                deployment: d.id().clone(),
                why: "has no health verdict; name it to go there".into(),
            }));
            healthy
        };
        Candidates {
            candidates,
            passed_over,
        }
    }

    /// The newest deployment before what is live that any health gate has judged.
    pub fn newest_judged(&self) -> Option<&'a Deployment> {
        let anchor = self.anchor();
        self.records
            .iter()
            .filter(|d| d.sequence() < anchor && d.went_live())
            .find(|d| d.verdict().is_good() || d.verdict().is_failed())
    }

    /// The deployment that was live at a time.
    ///
    /// `None` also where the records of that time are no longer all there: what came next on
    /// record must have found live what this one left.
    pub fn as_of(&self, time: Timestamp) -> Option<&'a Deployment> {
        let at = self
            .records
            .iter()
            .position(|d| d.settled_at().is_some_and(|at| at <= time))?;
        let live = &self.records[at].settlement()?.live;
        let found_by_next = match at.checked_sub(1).and_then(|next| self.records.get(next)) {
            Some(next) => &next.new_deployment().replaces,
            None => self.live,
        };
        let known = live.known().filter(|_| live == found_by_next)?;
        self.get(known)
    }

    /// The deployment that took this one's place: the next one that went live after it.
    pub fn replaced_by(&self, deployment: &Deployment) -> Option<&'a Deployment> {
        if !deployment.went_live() {
            return deployment.rolled_back_by().and_then(|id| self.get(id));
        }
        self.records
            .iter()
            .rev()
            .find(|d| d.went_live() && d.new_deployment().replaces.known() == Some(deployment.id()))
    }

    /// What has become of a deployment.
    pub fn standing(&self, deployment: &Deployment) -> Standing {
        if self.live.known() == Some(deployment.id()) {
            return Standing::Live;
        }
        if !deployment.went_live() {
            return match deployment.rolled_back_by() {
                Some(_) => Standing::RolledBack,
                None => Standing::NeverLive,
            };
        }
        match self.abandoned_by(deployment) {
            Some(_) => Standing::RolledBack,
            None => Standing::Superseded,
        }
    }

    /// The newest rollback that went past a deployment that had been live.
    pub fn abandoned_by(&self, deployment: &Deployment) -> Option<&'a Deployment> {
        self.records.iter().find(|r| {
            r.went_live()
                && r.sequence() > deployment.sequence()
                && r.trigger()
                    .restores()
                    .and_then(|id| self.get(id))
                    .is_some_and(|target| {
                        self.origin(target).sequence() < deployment.sequence()
                            && target.sequence() < deployment.sequence()
                    })
        })
    }
}
