//! [`Hooks`]: everything that an embedder can hang on a run, each with effects that outlive its
//! process, and each able to panic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rollback_core::backend::{Handle, Operation};
use rollback_core::context::Context;
use rollback_core::deployment::TriggerKind;
use rollback_core::engine::Workload;
use rollback_core::error::HookError;
use rollback_core::guard::{
    Guard, MigrationLog, Notice, Observer, ReleaseTask, Remediation, Restart, Ruling,
};
use rollback_core::health::{HealthCheck, Healthy, Probe, Site, Unhealthy};
use rollback_core::id::{DeploymentId, GuardName, WorkloadId};
use rollback_core::plan::Plan;
use rollback_core::time::Timestamp;

use super::life::Life;
use crate::fake::FakeTarget;

/// A hook that hangs on the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    Guard,
    Migrations,
    Task,
    Restart,
    Remediation,
    Check,
    Observer,
}

impl Hook {
    pub(super) const ALL: [Self; 7] = [
        Self::Guard,
        Self::Migrations,
        Self::Task,
        Self::Restart,
        Self::Remediation,
        Self::Check,
        Self::Observer,
    ];
}

/// What hooks have done to the machine. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Traces(Arc<Mutex<Traced>>);

#[derive(Debug, Default)]
pub(super) struct Traced {
    /// How often a release task has run for each deployment.
    pub(super) tasks: BTreeMap<DeploymentId, usize>,
    /// To which instance the processes were restarted last.
    pub(super) restarted_to: Option<Handle>,
}

impl Traces {
    pub(super) fn lock(&self) -> MutexGuard<'_, Traced> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hooks of one process.
#[derive(Debug, Clone)]
pub(super) struct Hooks {
    pub(super) life: Life,
    pub(super) target: FakeTarget,
    pub(super) traces: Traces,
    /// The one that panics each time.
    pub(super) panics: Option<Hook>,
    /// What the remediation heals.
    pub(super) heals: Option<&'static str>,
}

impl Hooks {
    /// Hangs them on a workload.
    pub(super) fn hang_on(&self, workload: Workload) -> Workload {
        workload
            .guard(self.clone())
            .migrations(self.clone())
            .task(self.clone())
            .restart(self.clone())
            .remediation(self.clone())
            .check(self.clone())
    }

    async fn begin(&self, hook: Hook) {
        self.life.goes_on().await;
        if self.panics == Some(hook) {
            // Without the message that a test would have to explain.
            std::panic::resume_unwind(Box::new("a hook panicked on purpose"));
        }
    }

    async fn effect(&self, cx: &Context, hook: Hook) -> Result<(), HookError> {
        tokio::task::yield_now().await;
        cx.check()?;
        self.life.reach(|| format!("an effect of {hook:?}")).await;
        Ok(())
    }
}

#[async_trait]
impl Guard for Hooks {
    fn name(&self) -> GuardName {
        "simulated".parse().expect("a valid name")
    }

    async fn check(&self, _: &Context, _: &Plan) -> Ruling {
        self.begin(Hook::Guard).await;
        Ruling::Allow
    }
}

#[async_trait]
impl MigrationLog for Hooks {
    async fn applied_since(
        &self,
        _: &Context,
        _: &WorkloadId,
        _: Timestamp,
    ) -> Result<Vec<String>, HookError> {
        self.begin(Hook::Migrations).await;
        Ok(Vec::new())
    }
}

#[async_trait]
impl ReleaseTask for Hooks {
    fn name(&self) -> String {
        "migrate".into()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger == TriggerKind::Deploy
    }

    async fn run(&self, cx: &Context, op: &Operation) -> Result<(), HookError> {
        self.begin(Hook::Task).await;
        self.effect(cx, Hook::Task).await?;
        let id = op.deployment.clone();
        *self.traces.lock().tasks.entry(id).or_default() += 1;
        Ok(())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[async_trait]
impl Restart for Hooks {
    fn name(&self) -> String {
        "restart".into()
    }

    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn restart(&self, cx: &Context, op: &Operation) -> Result<(), HookError> {
        self.begin(Hook::Restart).await;
        self.effect(cx, Hook::Restart).await?;
        self.traces.lock().restarted_to = op.to.instance().map(|to| to.handle.clone());
        Ok(())
    }
}

#[async_trait]
impl Remediation for Hooks {
    fn name(&self) -> String {
        "kick".into()
    }

    async fn attempt(&self, cx: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        self.begin(Hook::Remediation).await;
        self.effect(cx, Hook::Remediation).await?;
        let Some(digest) = self.heals else {
            return Err("it does not help".into());
        };
        self.target.heal(digest);
        Ok("kicked it".into())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[async_trait]
impl HealthCheck for Hooks {
    fn name(&self) -> String {
        "answer".into()
    }

    async fn check(&self, _: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        self.begin(Hook::Check).await;
        if probe.site == Site::Beside {
            // It cannot be asked from outside yet.
            return Ok(Healthy::yes());
        }
        let expected = &probe.instance.release.artifact().digest;
        match self.target.serving() {
            Some(answer) if answer == *expected => Ok(Healthy::yes()),
            answer => Err(Unhealthy::new(format!(
                "{answer:?} answers, not {expected}"
            ))),
        }
    }
}

#[async_trait]
impl Observer for Hooks {
    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn notice(&self, _: &Notice) {
        self.begin(Hook::Observer).await;
    }
}
