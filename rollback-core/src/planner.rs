//! The planner: which deployment a rollback goes to, and why not another one. Pure.

use crate::backend::End;
use crate::deployment::Deployment;
use crate::history::{ReleaseSummary, Summary};
use crate::id::WorkloadId;
use crate::lineage::{Candidates, Lineage};
use crate::plan::{PassedOver, Refusal};
use crate::points::{NoPoint, ruled_out};
use crate::policy::Policy;
use crate::release::{Release, Restore};
use crate::request::{Goal, Reapply};

/// The end of an operation that brings `point` back: the instance on record where the release
/// is exactly its own, else a release to be prepared.
pub fn end_for(point: &Deployment, release: Release) -> End {
    match point.instance() {
        Some(instance) if instance.release.digest() == release.digest() => {
            End::Placed(instance.clone())
        }
        _ => End::Planned(release),
    }
}

/// What a rollback is chosen by.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The workload that goes back.
    pub workload: &'a WorkloadId,
    /// What was asked for: last healthy, previous, or one in particular.
    pub goal: &'a Goal,
    /// Its records, or summaries of them: where it can go.
    pub lineage: &'a Lineage<'a, Summary>,
    /// What is live at the platform.
    pub live: Option<&'a ReleaseSummary>,
    /// The same with today's configuration, which need not be what is live.
    pub today: Option<&'a ReleaseSummary>,
    /// What is restored.
    pub restore: &'a Restore,
    /// The workload's policy.
    pub policy: &'a Policy,
    /// Whether the live release may be put in place anew.
    pub reapply: Reapply,
}

impl<'a> Selection<'a> {
    /// Deployments that answer the goal, the best first: never none.
    ///
    /// # Errors
    ///
    /// - [`NoRollbackPoint`](Refusal::NoRollbackPoint): nothing answers the goal.
    /// - [`NotFound`](Refusal::NotFound): the goal names a deployment that is not among the
    ///   records.
    /// - [`NotARollbackPoint`](Refusal::NotARollbackPoint): what answers it is ruled out, and why.
    /// - [`AlreadyLive`](Refusal::AlreadyLive): it is live, and is not to be put in place anew.
    pub fn candidates(&self) -> Result<Candidates<'a, Summary>, Refusal> {
        match self.goal {
            Goal::LastHealthy => self.last_healthy(),
            Goal::Previous => {
                let previous = self
                    .lineage
                    .live()
                    .and_then(|live| self.lineage.previous(live));
                self.one(previous)
            }
            Goal::To(id) => {
                let point = self.lineage.get(id).ok_or_else(|| self.not_found(id))?;
                self.one(Some(point))
            }
            Goal::Before(id) => {
                let undone = self.lineage.get(id).ok_or_else(|| self.not_found(id))?;
                let before = undone.replaces.known();
                self.one(before.and_then(|id| self.lineage.get(id)))
            }
            Goal::AsOf(time) => self.one(self.lineage.as_of(*time)),
            // What they come to is known before one is selected.
            Goal::Undo | Goal::Redo => Err(self.none(Vec::new())),
        }
    }

    fn one(&self, point: Option<&'a Summary>) -> Result<Candidates<'a, Summary>, Refusal> {
        let point = point.ok_or_else(|| self.none(Vec::new()))?;
        match ruled_out(point) {
            // Reapplying what is live needs nothing that was captured.
            Some(NoPoint::NotCaptured) if self.is_live(point) => {}
            Some(why) => {
                return Err(Refusal::NotARollbackPoint {
                    deployment: point.id.clone(),
                    why: why.to_string(),
                });
            }
            None => {}
        }
        if self.is_live(point) && self.reapply == Reapply::No {
            return Err(Refusal::AlreadyLive {
                deployment: self.that_is_live(point).id.clone(),
                release: point
                    .release
                    .as_ref()
                    .map(|release| release.name.clone())
                    .unwrap_or_default(),
            });
        }
        Ok(Candidates {
            candidates: vec![point],
            passed_over: Vec::new(),
        })
    }

    fn last_healthy(&self) -> Result<Candidates<'a, Summary>, Refusal> {
        let or_unjudged = self.policy.fall_back_to_unjudged;
        let found = self.lineage.healthy(|d| self.is_live(d), or_unjudged);
        if found.candidates.is_empty() {
            return Err(self.none(found.passed_over));
        }
        Ok(found)
    }

    fn is_live(&self, d: &Summary) -> bool {
        let own = d.release.as_ref().zip(self.live);
        own.is_some_and(|(own, live)| own.brings_back(live, self.today, self.restore))
    }

    /// The deployment whose release is live: the one on record, unless something else was put in its
    /// place.
    fn that_is_live(&self, point: &'a Summary) -> &'a Summary {
        let shown = self.live.map(|live| &live.digest);
        let on_record = self.lineage.live();
        on_record.filter(|d| d.digest() == shown).unwrap_or(point)
    }

    /// The refusal when nothing answers the goal.
    pub fn none(&self, passed_over: Vec<PassedOver>) -> Refusal {
        Refusal::NoRollbackPoint {
            workload: self.workload.clone(),
            goal: self.goal.clone(),
            passed_over,
        }
    }

    fn not_found(&self, id: &crate::id::DeploymentId) -> Refusal {
        Refusal::NotFound {
            workload: self.workload.clone(),
            deployment: id.clone(),
        }
    }
}
