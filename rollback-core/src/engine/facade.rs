//! The engine as embedders see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::inner::Inner;
use super::manage::cancel;
use super::retry::Retry;
use super::runner::Step;
use super::start;
use super::{
    EngineBuilder, Progress, Recovered, Report, Run, Untold, adopt, attach, planning, recovery,
};
use crate::deployment::{Deployment, Trigger, TriggerKind};
use crate::error::{Error, ErrorKind, StoreErrorKind};
use crate::guard::{Action, Notice, Verb};
use crate::history::{Damaged, HistoryStore, Liveness, Page, Query, States};
use crate::id::{Actor, DeploymentId, GuardName, WorkloadId};
use crate::lineage::Lineage;
use crate::plan::Plan;
use crate::request::{Goal, Request};
use crate::withheld::Withheld;

/// How often a request is planned anew when the workload moves under it.
const REPLANS: usize = 5;

/// How often one is tried again that upkeep keeps from beginning: for a second and a half.
const BUSY: u32 = 6;

/// Records every deployment, and reverses any of them. Cheap to clone; clones share everything.
///
/// Its methods are called inside a tokio runtime of either kind, with its time driver enabled
/// (`enable_time`); runs are tasks of that runtime, and a run whose runtime is shut down is left to
/// recovery.
#[derive(Debug, Clone)]
pub struct RollbackEngine {
    inner: Arc<Inner>,
}

impl RollbackEngine {
    /// Starts an engine on a store, which may be a shared one (`Arc<dyn HistoryStore>`). The catalog
    /// is added to the builder.
    pub fn builder(store: impl HistoryStore + 'static) -> EngineBuilder {
        EngineBuilder::new(Arc::new(store))
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(super) fn from_inner(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What a request would do, without doing it. Resolves references and asks the platform and
    /// the guards; changes nothing.
    pub async fn preview(&self, request: &Request) -> Result<Plan, Error> {
        planning::plan(&self.inner, request).await
    }

    /// Carries a plan out. Returns as soon as the intent is durable; the run goes on by itself.
    ///
    /// Fails with [`ErrorKind::Stale`] if the workload changed since the plan was made, and with
    /// [`ErrorKind::Conflict`] while another deployment runs. One whose process died is
    /// recovered first; the plan is stale then.
    pub async fn execute(&self, plan: Plan) -> Result<Run, Error> {
        let deployment = match &plan.new.trigger {
            Trigger::Redeploy { of } => Some(of),
            _ => plan.rollback_point.as_ref(),
        };
        let action = Action {
            actor: &plan.new.actor,
            workload: &plan.new.workload,
            verb: match plan.new.trigger.kind() {
                TriggerKind::Rollback => Verb::Rollback,
                TriggerKind::Redeploy => Verb::Redeploy,
                _ => Verb::Deploy,
            },
            deployment,
            forced: &plan.new.forced,
        };
        self.inner.authorize(&action).await?;
        let before = attach::asked_before(
            &self.inner,
            &plan.new.workload,
            plan.new.asked.as_ref(),
            &plan.new.actor,
        );
        if let Some(run) = before.await? {
            return Ok(run);
        }
        let mut new = plan.new.clone();
        new.opened_at = self.inner.clock.now();
        // What runs is this program's, whoever made the plan.
        let entry = self.inner.workload(&new.workload)?;
        new.reuse = entry.reuse(&new.trigger);
        new.composition = Some(entry.composition(Some(new.trigger.kind())));
        let (workload, version, asked) = (new.workload.clone(), plan.version, new.asked.clone());
        let actor = new.actor.clone();
        if let Some(past) = plan.past {
            self.inner.advance(past).await?;
        }
        let step = Step::Guard(Box::new(plan));
        match start::begin(&self.inner, new, version, step).await {
            Err(e) if is_left_by_the_dead(&e) => {
                recovery::first(&self.inner, &workload).await?;
                Err(Error::new(
                    ErrorKind::Stale,
                    "an interrupted deployment was recovered first",
                )
                .on(&workload)
                .advice("preview again"))
            }
            // Somebody may have been quicker with the same key.
            Err(e) => attach::asked_before(&self.inner, &workload, asked.as_ref(), &actor)
                .await?
                .ok_or(e),
            begun => begun,
        }
    }

    /// Previews and executes a request. Plans anew if the workload moves in between; recovers
    /// first what a dead process left.
    pub async fn run(&self, request: Request) -> Result<Run, Error> {
        let asked = request.asked();
        if asked.is_some() {
            self.inner.authorize(&request.action()).await?;
        }
        let before = || {
            let (workload, actor) = (&request.workload, &request.actor);
            attach::asked_before(&self.inner, workload, asked.as_ref(), actor)
        };
        let (mut tried, mut retry) = (0, Retry::times(BUSY));
        loop {
            if let Some(run) = before().await? {
                return Ok(run);
            }
            tried += 1;
            let result = match self.preview(&request).await {
                Ok(plan) => Box::pin(self.execute(plan)).await,
                Err(e) => Err(e),
            };
            match result {
                Err(e) if tried < REPLANS && e.kind() == ErrorKind::Stale => {}
                // Upkeep keeps deployments from beginning for a moment.
                Err(e)
                    if e.kind() == ErrorKind::Store(StoreErrorKind::Busy)
                        && retry.again().await => {}
                Err(e) if tried < REPLANS && is_left_by_the_dead(&e) => {
                    Box::pin(recovery::first(&self.inner, &request.workload)).await?;
                }
                Err(e) => {
                    return before().await?.ok_or(e);
                }
                begun => return begun,
            }
        }
    }

    /// Deploys a reference.
    pub async fn deploy(
        &self,
        workload: &WorkloadId,
        reference: impl Into<String>,
        actor: Actor,
    ) -> Result<Run, Error> {
        self.run(Request::deploy(workload.clone(), reference, actor))
            .await
    }

    /// Rolls back to a goal.
    pub async fn rollback(
        &self,
        workload: &WorkloadId,
        goal: Goal,
        actor: Actor,
    ) -> Result<Run, Error> {
        self.run(Request::rollback(workload.clone(), goal, actor))
            .await
    }

    /// Deploys an earlier deployment's artifact anew, with today's configuration.
    pub async fn redeploy(&self, of: &DeploymentId, actor: Actor) -> Result<Run, Error> {
        let workload = self.inner.record(of).await?.workload().clone();
        self.run(Request::redeploy(workload, of.clone(), actor))
            .await
    }

    /// Puts on record what is live already, so that there is something to go back to.
    pub async fn adopt(&self, workload: &WorkloadId, actor: Actor) -> Result<Run, Error> {
        adopt::adopt(&self.inner, workload, actor).await
    }

    /// A handle on a deployment, whoever set it going: in this process, in another one, or long ago.
    /// Awaited, it gives the deployment's report. One whose process has died is recovered first. What is
    /// cancelled through the handle, `actor` cancels: as with [`cancel`](Self::cancel), who may not
    /// is not heard, and an automatic rollback goes on. Dropping it ends only the waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] without such a record.
    pub async fn attach(&self, id: &DeploymentId, actor: Actor) -> Result<Run, Error> {
        let record = self.inner.record(id).await?;
        Ok(attach::attach(&self.inner, record, actor))
    }

    /// Settles whatever dead processes left unfinished. Call it when the program starts; it is
    /// also done inline when a request meets a dead holder, and again and again by
    /// [`supervise`](Self::supervise). A workload that cannot be recovered is reported among the
    /// others and stops none of them; [`abandon`](Self::abandon) is the way out.
    pub async fn recover(&self) -> Result<Vec<Recovered>, Error> {
        recovery::all(&self.inner).await
    }

    /// Settles what a dead process left unfinished on one workload, forcing these guards: with
    /// `composition`, also what was begun by a program that was composed otherwise. `None`: there is
    /// nothing to settle.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] while its process lives, [`ErrorKind::Refused`] where a guard is not
    /// forced; the record stays unfinished.
    pub async fn recover_forcing(
        &self,
        workload: &WorkloadId,
        guards: &[GuardName],
    ) -> Result<Option<Report>, Error> {
        recovery::forced(&self.inner, workload, guards).await
    }

    /// Asks a deployment to stop, in whichever process it runs. An automatic rollback is not
    /// cancelled: [`Refusal::NotCancellable`](crate::plan::Refusal::NotCancellable).
    pub async fn cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), Error> {
        cancel(&self.inner, id, by).await?;
        if let Some(channels) = self.inner.running(id) {
            channels.cancellation.cancel();
        }
        Ok(())
    }

    /// How far a deployment of this engine is; `None` if it does not run here.
    pub fn progress(&self, id: &DeploymentId) -> Option<Progress> {
        self.inner.running(id).map(|channels| channels.progress())
    }

    /// Events of all deployments of this engine from now on, each after it became durable.
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.inner.observing.subscribe()
    }

    /// Waits until every observer has been told of everything so far, or `within` is over. For a
    /// program that is about to exit: observers are told after the fact, and their tasks end with
    /// the runtime.
    pub async fn flush(&self, within: Duration) -> Result<(), Untold> {
        self.inner.observing.flush(within).await
    }

    /// The state of every workload in the catalog, in order, deployed or not. One that cannot be
    /// read hides no other.
    pub async fn workloads(&self) -> Result<States, Error> {
        let mut all = States::default();
        for id in self.inner.catalog.keys() {
            match self.inner.store.workload(id).await {
                Ok(state) => all.states.push(state),
                Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                    all.damaged.push(Damaged {
                        workload: id.clone(),
                        error,
                    })
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(all)
    }

    /// One record.
    pub async fn get(&self, id: &DeploymentId) -> Result<Deployment, Error> {
        self.inner.record(id).await
    }

    /// Records, newest first.
    pub async fn list(&self, query: &Query) -> Result<Page, Error> {
        Ok(self.inner.store.list(query).await?)
    }

    /// Where a bare rollback would go, without asking the platform.
    pub async fn last_healthy(&self, workload: &WorkloadId) -> Result<Option<DeploymentId>, Error> {
        let entry = self.inner.workload(workload)?;
        let state = self.inner.store.workload(workload).await?;
        let records = self.inner.summaries(workload, usize::MAX).await?;
        let rules = entry.rules(&state);
        let lineage = Lineage::new(&records.summaries, &state.live)
            .restoring(rules.restore)
            .withholding(Withheld::of(&state));
        let found = lineage.last_healthy(rules.policy.fall_back_to_unjudged);
        Ok(found.map(|d| d.id.clone()))
    }
}

/// Whether what is in the way has nobody who runs it.
pub(super) fn is_left_by_the_dead(e: &Error) -> bool {
    e.conflict().is_some_and(|c| c.liveness == Liveness::Dead)
}
