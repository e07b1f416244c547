//! The planner: which deployment a rollback goes to, and why not another one. Pure.

use crate::backend::End;
use crate::deployment::Deployment;
use crate::id::WorkloadId;
use crate::lineage::Lineage;
use crate::plan::{PassedOver, Refusal};
use crate::points::{NoPoint, ruled_out};
use crate::policy::{Policy, RollbackMode};
use crate::release::{Release, Restore};
use crate::request::{Goal, Reapply};

/// Deployments that answer a goal, best first, availability not yet considered.
#[derive(Debug)]
pub struct Candidates<'a> {
    /// Best first; never empty.
    pub candidates: Vec<&'a Deployment>,
    /// What was looked at and ruled out.
    pub passed_over: Vec<PassedOver>,
}

/// The release a rollback to `target` makes live, given what it restores.
pub fn effective_release(
    target: &Deployment,
    today: Option<&Release>,
    restore: &Restore,
) -> Option<Release> {
    let release = target.release()?;
    Some(match today {
        // Another backend's configuration means nothing to this release.
        Some(today) if today.backend() == release.backend() => release.restored(today, restore),
        _ => release.clone(),
    })
}

/// The end of an operation that brings `target` back: the instance on record where the release
/// is exactly its own, else a release to be prepared.
pub fn end_for(target: &Deployment, release: Release) -> End {
    match target.instance() {
        Some(instance) if instance.release.digest() == release.digest() => {
            End::Placed(instance.clone())
        }
        _ => End::Planned(release),
    }
}

/// What a rollback is chosen by.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The workload.
    pub workload: &'a WorkloadId,
    /// Where to.
    pub goal: &'a Goal,
    /// Its records.
    pub lineage: &'a Lineage<'a>,
    /// What is live at the platform.
    pub today: Option<&'a Release>,
    /// What is restored.
    pub restore: &'a Restore,
    /// The workload's policy.
    pub policy: &'a Policy,
    /// Whether the live release may be put in place anew.
    pub reapply: Reapply,
}

impl<'a> Selection<'a> {
    /// Deployments that answer the goal.
    pub fn candidates(&self) -> Result<Candidates<'a>, Refusal> {
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
                let target = self.lineage.get(id).ok_or_else(|| self.not_found(id))?;
                self.one(Some(target))
            }
            Goal::Before(id) => {
                let undone = self.lineage.get(id).ok_or_else(|| self.not_found(id))?;
                let before = undone.new_deployment().replaces.known();
                self.one(before.and_then(|id| self.lineage.get(id)))
            }
            Goal::AsOf(time) => self.one(self.lineage.as_of(*time)),
        }
    }

    fn one(&self, target: Option<&'a Deployment>) -> Result<Candidates<'a>, Refusal> {
        let target = target.ok_or_else(|| self.none(Vec::new()))?;
        match ruled_out(target) {
            // Reapplying what is live needs nothing that was captured.
            Some(NoPoint::NotCaptured) if self.is_live(target) => {}
            Some(why) => {
                return Err(Refusal::InvalidTarget {
                    deployment: target.id().clone(),
                    why: why.to_string(),
                });
            }
            None => {}
        }
        if self.is_live(target) && self.reapply == Reapply::No {
            return Err(Refusal::AlreadyLive {
                deployment: self.lineage.live().unwrap_or(target).id().clone(),
                release: target
                    .release()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            });
        }
        Ok(Candidates {
            candidates: vec![target],
            passed_over: Vec::new(),
        })
    }

    fn last_healthy(&self) -> Result<Candidates<'a>, Refusal> {
        let anchor = self.lineage.anchor();
        let mut passed_over = Vec::new();
        let (mut healthy, mut unjudged) = (Vec::new(), Vec::new());
        let mut any_verdict = false;
        for d in self
            .lineage
            .records()
            .iter()
            .filter(|d| d.sequence() < anchor)
        {
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
            } else if self.is_live(d) {
                pass("is what is live");
            } else if d.verdict().is_failed() {
                pass("failed its health gate");
            } else if d.verdict().is_good() {
                healthy.push(d);
            } else {
                unjudged.push(d);
            }
        }
        let fall_back = !any_verdict && self.policy.fall_back_to_unjudged;
        let candidates = if fall_back {
            unjudged
        } else {
            passed_over.extend(unjudged.into_iter().map(|d| PassedOver {
                deployment: d.id().clone(),
                why: "has no health verdict; name it to go there".into(),
            }));
            healthy
        };
        if candidates.is_empty() {
            return Err(self.none(passed_over));
        }
        Ok(Candidates {
            candidates,
            passed_over,
        })
    }

    fn is_live(&self, d: &Deployment) -> bool {
        let effective = effective_release(d, self.today, self.restore);
        match (effective, self.today) {
            (Some(effective), Some(today)) => effective.digest() == today.digest(),
            _ => false,
        }
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
