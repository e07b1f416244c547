//! What an embedder hangs on the run path: guards, remediations, release tasks, observers.

use std::fmt;

use async_trait::async_trait;

use crate::backend::Operation;
use crate::context::Context;
use crate::deployment::TriggerKind;
use crate::event::TimedEvent;
use crate::history::Sequence;
use crate::id::{DeploymentId, GuardName, WorkloadId};
use crate::plan::{Plan, Warning};

/// What a guard says of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ruling {
    /// Go ahead.
    Allow,
    /// Go ahead, and tell the person this.
    Warn(Vec<Warning>),
    /// Do not, for this reason. The request may force the guard by name.
    Refuse(String),
}

/// May this go ahead? Asked when the plan is made, and again once the deployment is open.
#[async_trait]
pub trait Guard: fmt::Debug + Send + Sync {
    /// The name by which it is forced.
    fn name(&self) -> GuardName;

    /// Looks at a plan. A guard that cannot tell warns or refuses; it does not fail.
    async fn check(&self, cx: &Context, plan: &Plan) -> Ruling;
}

/// Something that may heal a failed gate. Tried in order, each once, before automatic rollback.
#[async_trait]
pub trait Remediation: fmt::Debug + Send + Sync {
    /// Its name in the record.
    fn name(&self) -> String;

    /// Tries. `Ok` says in a few words what was done; the gate then judges again. `Err` says why
    /// nothing was done.
    async fn attempt(
        &self,
        cx: &Context,
        op: &Operation,
        diagnostic: &str,
    ) -> Result<String, String>;
}

/// Something that must run once between `prepare` and `switch`: a migration, an upload.
///
/// At most once per deployment: after a crash without evidence of its end it is not run again;
/// the deployment goes back and its record says which task is in doubt.
#[async_trait]
pub trait ReleaseTask: fmt::Debug + Send + Sync {
    /// Its name in the record.
    fn name(&self) -> String;

    /// Whether it runs for deployments set off by this.
    fn runs_on(&self, trigger: TriggerKind) -> bool;

    /// Runs it. `Err` says, without secrets, what went wrong; the deployment then goes back.
    async fn run(&self, cx: &Context, op: &Operation) -> Result<(), String>;
}

/// What subscribers and observers are told.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The workload.
    pub workload: WorkloadId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// Its place in the order.
    pub sequence: Sequence,
    /// What happened; durable already. `None`: the deployment was opened.
    pub event: Option<TimedEvent>,
}

/// Is told what happened, after the fact and at best effort. Never blocks a run.
#[async_trait]
pub trait Observer: fmt::Debug + Send + Sync {
    /// Takes a notice.
    async fn notice(&self, notice: &Notice);
}
