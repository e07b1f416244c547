//! The engine as embedders see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::cancel::cancel;
use super::inner::Inner;
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
pub(super) const REPLANS: usize = 5;

/// How often one is tried again that upkeep keeps from beginning: for a second and a half.
pub(super) const BUSY: u32 = 6;

/// Records every deployment, and reverses any of them. Cheap to clone; clones share everything.
///
/// Its methods are called inside a tokio runtime of either kind, with its time driver enabled
/// (`enable_time`); runs are tasks of that runtime, and a run whose runtime is shut down is left to
/// recovery.
///
/// # Errors of all verbs
///
/// - [`NotRegistered`](ErrorKind::NotRegistered): the workload is not in the catalog. What only
///   reads records, annotates, cancels or abandons asks for no entry there.
/// - [`Refused`](ErrorKind::Refused): the authorizer does not allow it
///   ([`Unauthorized`](crate::plan::Refusal::Unauthorized)). It is asked before anything is
///   changed, and before a plan is made.
/// - [`Store`](ErrorKind::Store): the history cannot be read, or not be written to. A store's own
///   conflict, stale version and missing record are [`Conflict`](ErrorKind::Conflict),
///   [`Stale`](ErrorKind::Stale) and [`NotFound`](ErrorKind::NotFound) here.
/// - [`Backend`](ErrorKind::Backend): the platform could not be looked at. What fails once a deployment
///   is open is in its report.
///
/// After an error nothing was changed, where a verb does not say otherwise. The one exception is a
/// write that the store failed in: it may turn out to be durable all the same, so look again.
/// [`Error::is_transient`] says whether the same request may succeed later.
///
/// What **amends** what people have set on a workload (a hold, a policy) fails besides with
/// [`Stale`](ErrorKind::Stale) where the workload's state moved between the look and the write.
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
    ///
    /// # Errors
    ///
    /// As [all verbs](RollbackEngine#errors-of-all-verbs), and:
    ///
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): the platform cannot understand the
    ///   reference, or a refusal: no rollback point, none by that name, a guard that is not there,
    ///   a live state that cannot be told, a history that is behind.
    /// - [`NotFound`](ErrorKind::NotFound): the reference names nothing, or the workload has no
    ///   such deployment.
    /// - [`AlreadyLive`](ErrorKind::AlreadyLive): what a rollback would go to is live.
    /// - [`Refused`](ErrorKind::Refused): a guard or a hold refuses, and is not forced.
    /// - [`Conflict`](ErrorKind::Conflict): a deployment is in flight, its process alive or dead.
    pub async fn preview(&self, request: &Request) -> Result<Plan, Error> {
        planning::plan(&self.inner, request).await
    }

    /// Carries a plan out. Returns as soon as the intent is durable; the run goes on by itself.
    ///
    /// A deployment whose process died is recovered first; the plan is stale then.
    ///
    /// # Errors
    ///
    /// As [all verbs](RollbackEngine#errors-of-all-verbs); no deployment was opened. And:
    ///
    /// - [`Stale`](ErrorKind::Stale): the workload changed since the plan was made, if only by a
    ///   recovery.
    /// - [`Conflict`](ErrorKind::Conflict): another deployment runs.
    /// - [`KeyTaken`](ErrorKind::KeyTaken): something else was asked for under its idempotency key.
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): the token at the target, past which the
    ///   history is to get, is damaged.
    /// - [`Store`](ErrorKind::Store) with [`Busy`](StoreErrorKind::Busy): upkeep keeps deployments
    ///   from beginning for a moment.
    /// - [`Interrupted`](ErrorKind::Interrupted): what a dead process left could not be recovered,
    ///   or the task that opens the deployment ended half-way. What it opened all the same,
    ///   [`recover`](Self::recover) settles.
    pub async fn execute(&self, plan: Plan) -> Result<Run, Error> {
        // On the heap: whoever carries a plan out does not carry what that takes.
        Box::pin(self.carry_out(plan)).await
    }

    async fn carry_out(&self, mut plan: Plan) -> Result<Run, Error> {
        // Alone, also if it was planned as a part of something.
        plan.moves_with.clear();
        self.authorize(&plan).await?;
        let before = attach::asked_before(
            &self.inner,
            &plan.new.workload,
            plan.new.asked.as_ref(),
            &plan.new.actor,
        );
        if let Some(run) = before.await? {
            return Ok(run);
        }
        let new = start::opening(&self.inner, &plan)?;
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

    /// Whether what this plan says may be done.
    pub(super) async fn authorize(&self, plan: &Plan) -> Result<(), Error> {
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
        Ok(self.inner.authorize(&action).await?)
    }

    /// Previews and executes a request. Plans anew if the workload moves in between; recovers
    /// first what a dead process left.
    ///
    /// # Errors
    ///
    /// As [`preview`](Self::preview) and [`execute`](Self::execute). [`Stale`](ErrorKind::Stale)
    /// only if the workload moved under plan after plan, and [`Busy`](StoreErrorKind::Busy) only if
    /// upkeep lasts for longer than it is waited for.
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
                Ok(plan) => self.execute(plan).await,
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
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run): [`NotFound`](ErrorKind::NotFound) if the reference names nothing,
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) if it cannot be one.
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
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run): [`InvalidRequest`](ErrorKind::InvalidRequest) where no rollback point
    /// answers the goal, [`NotFound`](ErrorKind::NotFound) where it names a deployment that the
    /// workload does not have, [`AlreadyLive`](ErrorKind::AlreadyLive) where it is live.
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
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run): [`NotFound`](ErrorKind::NotFound) without such a record,
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) for one that is marked bad or has no release.
    pub async fn redeploy(&self, of: &DeploymentId, actor: Actor) -> Result<Run, Error> {
        let workload = self.inner.record(of).await?.workload().clone();
        self.run(Request::redeploy(workload, of.clone(), actor))
            .await
    }

    /// Puts on record what is live already, so that there is something to go back to.
    ///
    /// # Errors
    ///
    /// As [all verbs](RollbackEngine#errors-of-all-verbs), and:
    ///
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): nothing is live, or what is live cannot be
    ///   told or is being rolled out, or the token at the target is damaged.
    /// - [`AlreadyLive`](ErrorKind::AlreadyLive): it is on record as live, and succeeded.
    /// - [`Conflict`](ErrorKind::Conflict): a deployment is in flight, its process alive or dead;
    ///   [`recover`](Self::recover) settles that of a dead one.
    /// - [`Stale`](ErrorKind::Stale): the workload changed meanwhile.
    /// - [`Interrupted`](ErrorKind::Interrupted): as of [`execute`](Self::execute).
    ///
    /// A history that is behind what it once published may have advanced past that all the same.
    pub async fn adopt(&self, workload: &WorkloadId, actor: Actor) -> Result<Run, Error> {
        adopt::adopt(&self.inner, workload, actor).await
    }

    /// A handle on a deployment, whoever set it going: in this process, in another one, or long
    /// ago. Awaited, it gives the deployment's report. One whose process has died is recovered
    /// first. What is cancelled through the handle, `actor` cancels: as with
    /// [`cancel`](Self::cancel), who may not is not heard, and an automatic rollback goes on.
    /// Dropping it ends only the waiting.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without such a record; [`Store`](ErrorKind::Store) if it
    /// cannot be read. What the handle fails with, [`Run`] says.
    pub async fn attach(&self, id: &DeploymentId, actor: Actor) -> Result<Run, Error> {
        let record = self.inner.record(id).await?;
        Ok(attach::attach(&self.inner, record, actor))
    }

    /// Settles whatever dead processes left unfinished. Call it when the program starts; it is
    /// also done inline when a request meets a dead holder, and again and again by
    /// [`supervise`](Self::supervise). A workload that cannot be recovered is reported among the
    /// others and stops none of them; [`abandon`](Self::abandon) is the way out.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if the history as a whole cannot be read, and then nothing was
    /// recovered. What one workload fails with is its [`Recovered::result`].
    pub async fn recover(&self) -> Result<Vec<Recovered>, Error> {
        recovery::all(&self.inner).await
    }

    /// Settles what a dead process left unfinished on one workload, forcing these guards: with
    /// `composition`, also what was begun by a program that was composed otherwise. `None`: there is
    /// nothing to settle.
    ///
    /// # Errors
    ///
    /// The record stays unfinished:
    ///
    /// - [`Conflict`](ErrorKind::Conflict): its process lives, or another one was quicker to take
    ///   it over.
    /// - [`Refused`](ErrorKind::Refused): this program lacks what it was begun with, and
    ///   `composition` is not forced.
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): another guard than `composition` is to be
    ///   forced.
    /// - [`NotRegistered`](ErrorKind::NotRegistered): the workload is not in the catalog.
    /// - [`Interrupted`](ErrorKind::Interrupted): the platform could not be looked at, or what the
    ///   dead process began may run on, so that nothing was done; its record is gone or cannot be
    ///   read; or the run stopped again, as [`Run`] says.
    /// - [`Store`](ErrorKind::Store): the history cannot be read or written to.
    pub async fn recover_forcing(
        &self,
        workload: &WorkloadId,
        guards: &[GuardName],
    ) -> Result<Option<Report>, Error> {
        recovery::forced(&self.inner, workload, guards).await
    }

    /// Asks a deployment to stop, in whichever process it runs. An automatic rollback is not
    /// cancelled: [`Refusal::NotCancellable`](crate::plan::Refusal::NotCancellable).
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound): no such record, or it has ended.
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): it is an automatic rollback.
    /// - [`Refused`](ErrorKind::Refused): the authorizer does not allow it.
    /// - [`Store`](ErrorKind::Store): it was not asked to stop.
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
    ///
    /// # Errors
    ///
    /// [`Untold`] when `within` is over, with how many observers have not been told of everything.
    /// They go on being told.
    pub async fn flush(&self, within: Duration) -> Result<(), Untold> {
        self.inner.observing.flush(within).await
    }

    /// The state of every workload in the catalog, in order, deployed or not. One that cannot be
    /// read hides no other.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store), unless it is the one workload's state that is damaged
    /// ([`Corrupt`](StoreErrorKind::Corrupt)).
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

    /// The record of a deployment as it is now, settled or not.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without such a record; [`Store`](ErrorKind::Store) with
    /// [`Corrupt`](StoreErrorKind::Corrupt) if it is damaged, with
    /// [`NewerSchema`](StoreErrorKind::NewerSchema) if a newer version wrote it.
    pub async fn get(&self, id: &DeploymentId) -> Result<Deployment, Error> {
        self.inner.record(id).await
    }

    /// Records, newest first.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store). A record that cannot be read is no error: the page names it.
    pub async fn list(&self, query: &Query) -> Result<Page, Error> {
        Ok(self.inner.store.list(query).await?)
    }

    /// Where a bare rollback would go, without asking the platform.
    ///
    /// # Errors
    ///
    /// [`NotRegistered`](ErrorKind::NotRegistered) and [`Store`](ErrorKind::Store), as of [all
    /// verbs](RollbackEngine#errors-of-all-verbs). Records that cannot be read are passed over.
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
