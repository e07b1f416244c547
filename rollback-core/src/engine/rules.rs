//! [`Rules`]: what holds for a workload. The one place that says where a policy, a gate and what a
//! rollback restores come from.

use serde::Serialize;

use super::Workload;
use crate::deployment::{Composition, Opening, Trigger, TriggerKind};
use crate::health::Gate;
use crate::history::{PolicySet, WorkloadState};
use crate::id::{Actor, DeploymentId};
use crate::policy::Policy;
use crate::release::Restore;
use crate::time::Timestamp;

/// The rules that hold for a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rules {
    /// The policy. Its `rollback` says whether automatic rollback is armed.
    pub policy: Policy,
    /// The health gate that a deployment is judged by: the policy's, or else the catalog's.
    pub gate: Gate,
    /// What a bare rollback restores: what the policy says, or else the backend's default.
    pub restore: Restore,
    /// Where the policy comes from.
    pub source: PolicySource,
    /// Who set it, and when, where it comes from the store.
    pub set: Option<PolicySet>,
}

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PolicySource {
    /// The program that composed the engine.
    Catalog,
    /// [`RollbackEngine::configure`](super::RollbackEngine::configure): it lasts in the store.
    Store,
}

impl Rules {
    /// What holds for a workload that this program does not run: what the store has of it.
    pub(super) fn of_stranger(state: &WorkloadState) -> Self {
        let stored = state.policy.clone();
        let (policy, source, set) = match stored {
            Some(stored) => (stored.policy, PolicySource::Store, stored.set),
            None => (Policy::default(), PolicySource::Catalog, None),
        };
        Self {
            gate: policy.gate.clone().unwrap_or_default(),
            restore: policy.restore.clone().unwrap_or(Restore::Everything),
            policy,
            source,
            set,
        }
    }
}

impl Workload {
    /// The rules in force: the store's policy, or else the catalog's.
    pub(super) fn rules(&self, state: &WorkloadState) -> Rules {
        match &state.policy {
            Some(stored) => Rules {
                set: stored.set.clone(),
                ..self.rules_by(stored.policy.clone(), PolicySource::Store)
            },
            None => self.rules_by(self.policy.clone(), PolicySource::Catalog),
        }
    }

    /// The rules that this policy makes here.
    pub(super) fn rules_by(&self, policy: Policy, source: PolicySource) -> Rules {
        Rules {
            gate: policy.gate.clone().unwrap_or_else(|| self.gate.clone()),
            restore: policy
                .restore
                .clone()
                .unwrap_or_else(|| self.backend.default_restore()),
            policy,
            source,
            set: None,
        }
    }

    /// A deployment of this workload by these rules; what it comes from and goes to is yet to be said.
    pub(super) fn opening(
        &self,
        trigger: Trigger,
        actor: Actor,
        now: Timestamp,
        rules: &Rules,
    ) -> Opening {
        let id = DeploymentId::generate(now);
        let reuse = self.reuse(&trigger);
        let composition = self.composition(trigger.kind());
        let mut new = Opening::new(id, self.id.clone(), trigger, actor, now);
        new.reuse = reuse;
        new.gate = rules.gate.clone();
        new.policy = rules.policy.clone();
        new.composition = Some(composition);
        new
    }

    /// Of what this workload is composed, for deployments that are set off by this.
    pub(super) fn composition(&self, trigger: TriggerKind) -> Composition {
        let mut all = Composition::new(self.backend.kind(), self.backend.place());
        all.checks = self.checks.iter().map(|c| c.name()).collect();
        let restarts = self.restarts.iter().filter(|r| r.runs_on(trigger));
        all.restarts = restarts.map(|r| r.name()).collect();
        let tasks = self.tasks.iter().filter(|t| t.runs_on(trigger));
        all.tasks = tasks.map(|t| t.name()).collect();
        all
    }
}
