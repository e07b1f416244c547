//! What an embedder hangs on the run path: guards, remediations, release tasks, observers.

use std::fmt;

use async_trait::async_trait;

use crate::backend::Operation;
use crate::context::Context;
use crate::deployment::TriggerKind;
use crate::error::HookError;
use crate::event::TimedEvent;
use crate::history::Sequence;
use crate::id::{Actor, DeploymentId, GuardName, WorkloadId};
use crate::plan::{Plan, Warning};
use crate::time::Timestamp;

/// What a guard says of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ruling {
    /// The plan may be carried out, as far as this guard is concerned.
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

/// What migrations have been applied to a workload's data: by the embedder, from the migration
/// tool's own table.
#[async_trait]
pub trait MigrationLog: fmt::Debug + Send + Sync {
    /// Names of the migrations applied after an instant, oldest first.
    ///
    /// # Errors
    ///
    /// Why nobody can tell, of either kind; the plan then says that it is not known, and is refused
    /// where the policy blocks on migrations.
    async fn applied_since(
        &self,
        cx: &Context,
        workload: &WorkloadId,
        since: Timestamp,
    ) -> Result<Vec<String>, HookError>;
}

/// What somebody wants to do, for an [`Authorizer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Action<'a> {
    /// Who wants to do it.
    pub actor: &'a Actor,
    /// On which workload.
    pub workload: &'a WorkloadId,
    /// What they want to do.
    pub verb: Verb,
    /// Which deployment is meant: the target of a rollback, what is redeployed, cancelled or
    /// annotated.
    pub deployment: Option<&'a DeploymentId>,
    /// Guards that are to be skipped.
    pub forced: &'a [GuardName],
}

/// What can be done to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// Deploy a reference.
    Deploy,
    /// Deploy an earlier artifact anew.
    Redeploy,
    /// Make an older release live again.
    Rollback,
    /// Put on record what is live.
    Adopt,
    /// Stop a deployment.
    Cancel,
    /// Pin, note or mark a record.
    Annotate,
    /// Confirm a deployment that would go back by itself.
    Confirm,
    /// Hold deploys, or let them go.
    Hold,
    /// Recall an artifact, or take a recall back.
    Recall,
    /// Set or clear the floor of rollbacks.
    Floor,
    /// Set the policy.
    Configure,
    /// Forget records before retention would.
    CleanUp,
    /// Give up a deployment that recovery cannot end.
    Abandon,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Redeploy => "redeploy",
            Self::Rollback => "roll back",
            Self::Adopt => "adopt",
            Self::Cancel => "cancel",
            Self::Annotate => "annotate",
            Self::Confirm => "confirm",
            Self::Hold => "hold",
            Self::Recall => "recall an artifact of",
            Self::Floor => "set the floor of",
            Self::Configure => "configure",
            Self::CleanUp => "clean up",
            Self::Abandon => "abandon",
        })
    }
}

/// May this person do this? Asked before anything is planned, and again, with the target that was
/// found, before a plan is carried out; never skipped, and never forced. What the engine does by
/// itself (automatic rollback, recovery) is not asked for.
#[async_trait]
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether this action may be done.
    ///
    /// # Errors
    ///
    /// Why not, for the person who asked: they get it as a
    /// [`Refusal::Unauthorized`](crate::plan::Refusal::Unauthorized). Who cannot tell says no.
    async fn authorize(&self, action: &Action<'_>) -> Result<(), String>;
}

/// Something that may heal a failed gate. Tried in order, each once, before automatic rollback.
#[async_trait]
pub trait Remediation: fmt::Debug + Send + Sync {
    /// Its name in the record.
    fn name(&self) -> String;

    /// Tries, and says in a few words what was done; the gate then judges again.
    ///
    /// # Errors
    ///
    /// Why nothing was done. It is recorded; the gate judges again all the same, and the next
    /// remediation has its turn.
    async fn attempt(
        &self,
        cx: &Context,
        op: &Operation,
        diagnostic: &str,
    ) -> Result<String, HookError>;

    /// The process that tried it is dead, and how that ended is not known: makes sure that nothing
    /// of it goes on. Recovery asks before the deployment goes on. Nothing to do for what ends with
    /// its process.
    ///
    /// Several processes may ask at once, and one may while a successor runs already: it ends only what a
    /// dead process began.
    ///
    /// # Errors
    ///
    /// Why something of it may go on: recovery then does nothing, and asks again the next time. With
    /// the next deployment beside it, it would undo what that has done.
    async fn abandon(&self, cx: &Context, op: &Operation) -> Result<(), HookError>;
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

    /// Runs it.
    ///
    /// # Errors
    ///
    /// What went wrong; the deployment then goes back.
    /// [`Cancelled`](crate::error::HookErrorKind::Cancelled) if it stopped because it was told to, else
    /// [`Failed`](crate::error::HookErrorKind::Failed).
    async fn run(&self, cx: &Context, op: &Operation) -> Result<(), HookError>;

    /// The process that ran it is dead, and how it ended is not known: makes sure that nothing of
    /// it goes on. Recovery asks before the deployment goes on. Nothing to do for what ends with its
    /// process.
    ///
    /// Several processes may ask at once, and one may while a successor runs already: it ends only what a
    /// dead process began.
    ///
    /// # Errors
    ///
    /// Why something of it may go on: recovery then does nothing, and asks again the next time. With
    /// the next deployment beside it, it would undo what that has done.
    async fn abandon(&self, cx: &Context, op: &Operation) -> Result<(), HookError>;
}

/// Brings running processes to what a switch has put in place, where the backend does not
/// restart them itself.
///
/// Part of the switch, in either direction: it runs after the backend's `switch` and before the
/// health gate, and again if the switch is repeated after a crash. So it must bear repeating.
#[async_trait]
pub trait Restart: fmt::Debug + Send + Sync {
    /// Its name, for errors.
    fn name(&self) -> String;

    /// Whether it runs for deployments set off by this, and on their way back.
    fn runs_on(&self, trigger: TriggerKind) -> bool;

    /// Runs it.
    ///
    /// # Errors
    ///
    /// What went wrong; it counts as a failed switch that may have touched what is live, whatever the
    /// error says of that.
    async fn restart(&self, cx: &Context, op: &Operation) -> Result<(), HookError>;
}

/// What subscribers and observers are told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Notice {
    /// The workload that the deployment changes.
    pub workload: WorkloadId,
    /// The deployment that it happened to.
    pub deployment: DeploymentId,
    /// Its place in the order.
    pub sequence: Sequence,
    /// What set it off.
    pub trigger: TriggerKind,
    /// What happened; durable already. `None`: the deployment was opened.
    pub event: Option<TimedEvent>,
}

/// Is told what happened, after the fact and at best effort. Never blocks a run; a program that
/// exits waits for it with [`flush`](crate::engine::RollbackEngine::flush).
#[async_trait]
pub trait Observer: fmt::Debug + Send + Sync {
    /// Whether it is told of deployments set off by this.
    fn runs_on(&self, trigger: TriggerKind) -> bool;

    /// Takes a notice.
    async fn notice(&self, notice: &Notice);
}
