//! The catalog: how each workload is deployed, judged and guarded.

use std::sync::Arc;

use crate::backend::{Backend, Reuse, Tasks};
use crate::deployment::{Trigger, TriggerKind};
use crate::guard::{Guard, MigrationLog, ReleaseTask, Remediation, Restart};
use crate::health::{Gate, HealthCheck};
use crate::id::WorkloadId;
use crate::policy::Policy;

/// One workload's entry in the catalog.
#[derive(Debug, Clone)]
pub struct Workload {
    pub(crate) id: WorkloadId,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) checks: Vec<Arc<dyn HealthCheck>>,
    pub(crate) gate: Gate,
    pub(crate) policy: Policy,
    pub(crate) guards: Vec<Arc<dyn Guard>>,
    pub(crate) remediations: Vec<Arc<dyn Remediation>>,
    pub(crate) tasks: Vec<Arc<dyn ReleaseTask>>,
    pub(crate) restarts: Vec<Arc<dyn Restart>>,
    pub(crate) migrations: Option<Arc<dyn MigrationLog>>,
    pub(crate) needs: Vec<WorkloadId>,
}

impl Workload {
    /// What a deployment that is set off by this may take of what is there.
    pub(super) fn reuse(&self, trigger: &Trigger) -> Reuse {
        let kind = trigger.kind();
        match trigger {
            Trigger::Redeploy { .. } => Reuse::Never,
            // What a task breaks is then this deployment's own. A rollback takes what stands by all
            // the same: to build it anew may need what is not there any more.
            Trigger::Deploy if self.tasks_on(kind) == Tasks::Possible => Reuse::Never,
            _ => Reuse::Kept,
        }
    }

    /// Whether release tasks work in what a deployment prepares that is set off by this.
    pub(super) fn tasks_on(&self, trigger: TriggerKind) -> Tasks {
        match self.tasks.iter().any(|task| task.runs_on(trigger)) {
            true => Tasks::Possible,
            false => Tasks::None,
        }
    }

    /// The workload that a backend serves, judged by the platform's own view alone until checks are
    /// added. A backend that is used elsewhere too is shared as an `Arc`.
    pub fn new(backend: impl Backend + 'static) -> Self {
        Self {
            id: backend.workload().clone(),
            backend: Arc::new(backend),
            checks: Vec::new(),
            gate: Gate::default(),
            policy: Policy::default(),
            guards: Vec::new(),
            remediations: Vec::new(),
            tasks: Vec::new(),
            restarts: Vec::new(),
            migrations: None,
            needs: Vec::new(),
        }
    }

    /// The workload's id, by which requests name it.
    pub fn id(&self) -> &WorkloadId {
        &self.id
    }

    /// Adds a health check: one edge of the workload. It is unhealthy only when all edges fail.
    #[must_use]
    pub fn check(mut self, check: impl HealthCheck + 'static) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    /// Sets the gate's patience.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// Sets the policy; one that the store holds for the workload takes its place.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Arms automatic rollback.
    #[must_use]
    pub fn auto_rollback(mut self) -> Self {
        self.policy.rollback = crate::policy::RollbackMode::Auto;
        self
    }

    /// Adds a guard.
    #[must_use]
    pub fn guard(mut self, guard: impl Guard + 'static) -> Self {
        self.guards.push(Arc::new(guard));
        self
    }

    /// Adds a remediation; they are tried in order.
    #[must_use]
    pub fn remediation(mut self, remediation: impl Remediation + 'static) -> Self {
        self.remediations.push(Arc::new(remediation));
        self
    }

    /// Adds a release task; they run in order.
    #[must_use]
    pub fn task(mut self, task: impl ReleaseTask + 'static) -> Self {
        self.tasks.push(Arc::new(task));
        self
    }

    /// Adds a restart hook; they run in order, as the last part of every switch.
    #[must_use]
    pub fn restart(mut self, restart: impl Restart + 'static) -> Self {
        self.restarts.push(Arc::new(restart));
        self
    }

    /// Says where to read which migrations were applied.
    #[must_use]
    pub fn migrations(mut self, log: impl MigrationLog + 'static) -> Self {
        self.migrations = Some(Arc::new(log));
        self
    }

    /// Declares that this workload needs another one, which may be in the catalog or not. The
    /// guard `dependencies` then looks at both before either changes.
    #[must_use]
    pub fn depends_on(mut self, other: WorkloadId) -> Self {
        self.needs.push(other);
        self
    }
}
