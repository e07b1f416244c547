//! Applying retention on demand: what goes, and letting it go.

use serde::Serialize;
use tokio::time::Instant;

use super::effect::{Told, to_its_end};
use super::inner::NEWEST;
use super::tenure::{Over, Tenure};
use super::{Workload, ask, keeping, recovery};
use crate::backend::Instance;
use crate::context::{Cancellation, Context};
use crate::engine::RollbackEngine;
use crate::error::{BackendErrorKind, Chain, Error, ErrorKind};
use crate::guard::Verb;
use crate::history::{Epoch, Exclusion, Fence, Liveness, Published, Summary};
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::lineage::Lineage;
use crate::plan::Refusal;
use crate::policy::Retention;
use crate::retention::retained;
use crate::withheld::Withheld;

/// What a clean-up lets go, or has let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CleanedUp {
    /// The workload that was cleaned up.
    pub workload: WorkloadId,
    /// Records forgotten, newest first.
    pub forgotten: Vec<DeploymentId>,
    /// How many records are left.
    pub kept: usize,
    /// Deployments whose releases stay within reach.
    pub window: Vec<DeploymentId>,
}

impl RollbackEngine {
    /// What [`clean_up`](Self::clean_up) would let go; changes nothing.
    ///
    /// # Errors
    ///
    /// [`NotRegistered`](ErrorKind::NotRegistered) and [`Store`](ErrorKind::Store), as of [all
    /// verbs](RollbackEngine#errors-of-all-verbs): with
    /// [`Corrupt`](crate::error::StoreErrorKind::Corrupt) if one of the workload's records cannot
    /// be read, for what is let go must be known.
    pub async fn preview_clean_up(
        &self,
        workload: &WorkloadId,
        rules: Option<Retention>,
    ) -> Result<CleanedUp, Error> {
        Ok(self.what_goes(workload, rules).await?.0)
    }

    /// Applies retention now: by these rules, or by the policy's. Every deployment does so too,
    /// by the policy's.
    ///
    /// Records go first, then what only they needed: a crash in between leaves nothing but
    /// something to let go next time.
    ///
    /// # Errors
    ///
    /// As [all verbs](RollbackEngine#errors-of-all-verbs), and as
    /// [`preview_clean_up`](Self::preview_clean_up). And:
    ///
    /// - [`Conflict`](ErrorKind::Conflict): a deployment is in flight. What a dead process left is
    ///   recovered first, and may fail as [`recover_forcing`](Self::recover_forcing) says.
    /// - [`Store`](ErrorKind::Store) with [`Busy`](crate::error::StoreErrorKind::Busy): somebody
    ///   else cleans it up.
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): the history is behind what is live.
    /// - [`Backend`](ErrorKind::Backend): the platform could not be looked at; or it did not let go
    ///   what it should, and then the records are forgotten.
    /// - [`Interrupted`](ErrorKind::Interrupted): it stopped half-way, for deployments may begin
    ///   again. What was done is done, and cleaning up again does the rest.
    pub async fn clean_up(
        &self,
        workload: &WorkloadId,
        rules: Option<Retention>,
        actor: &Actor,
    ) -> Result<CleanedUp, Error> {
        self.inner().workload(workload)?;
        self.inner()
            .allow(actor, workload, Verb::CleanUp, None)
            .await?;
        // Not in the caller's future: dropping that must not let deployments begin while the
        // backend still lets go.
        let (engine, workload) = (self.clone(), workload.clone());
        let task = tokio::spawn(async move { engine.let_go(&workload, rules).await });
        task.await.unwrap_or_else(|e| {
            Err(
                Error::new(ErrorKind::Interrupted, "the clean-up did not end")
                    .advice("clean up again; what was done is done")
                    .because(e),
            )
        })
    }

    async fn let_go(
        &self,
        workload: &WorkloadId,
        rules: Option<Retention>,
    ) -> Result<CleanedUp, Error> {
        let entry = self.inner().workload(workload)?;
        let tenure = self.exclude(workload).await?;
        let done = self.let_go_under(&tenure, entry, workload, rules).await;
        // Where it is not said, the exclusion ends by itself.
        if let Err(error) = self.inner().store.readmit(tenure.into_held()).await {
            tracing::warn!(%workload, error = %Chain::of(&error), "the clean-up's exclusion was not ended");
        }
        done
    }

    async fn let_go_under(
        &self,
        tenure: &Tenure<Exclusion>,
        entry: &Workload,
        workload: &WorkloadId,
        rules: Option<Retention>,
    ) -> Result<CleanedUp, Error> {
        let over = |over| stopped(over).on(workload);
        let fence = self.fence_to_let_go(workload).await?;
        let (cleaned_up, window) = self.what_goes(workload, rules).await?;
        let policy = self.rules(workload).await?.policy;
        tenure.holds().map_err(over)?;
        if !cleaned_up.forgotten.is_empty() {
            let forgotten = self.inner().store.forget(&cleaned_up.forgotten);
            tenure.in_time(forgotten).await.map_err(over)??;
        }
        tenure.holds().map_err(over)?;
        let stop = Cancellation::new();
        let cx = Context::new(policy.deadlines.retire)
            .with_cancellation(stop.clone())
            .keeping(tenure.keep());
        let cx = match fence {
            Some(fence) => cx.fenced(fence),
            None => cx,
        };
        let (backend, window) = (&entry.backend, &window);
        let retain = |cx| async move { backend.retain(&cx, window).await };
        let told = async {
            tenure.over().await;
            Told::Over
        };
        let (retained, _) = to_its_end(cx, stop, retain, told).await;
        tenure.holds().map_err(over)?;
        retained?;
        Ok(cleaned_up)
    }

    /// By whose token what is no more needed is let go: that of the newest deployment. `None`: there
    /// was none. Refused where this history is behind what is live: what it does not know of is not
    /// its own to let go.
    async fn fence_to_let_go(&self, workload: &WorkloadId) -> Result<Option<Fence>, Error> {
        let (inner, entry) = (self.inner(), self.inner().workload(workload)?);
        let limit = self.rules(workload).await?.policy.deadlines.observe;
        let observed = match ask::observe(limit, entry.backend.as_ref()).await {
            Ok(observed) => Some(observed),
            // Nothing can be asked there, so nothing is known to have been published.
            Err(e) if e.kind() == BackendErrorKind::Unsupported => None,
            Err(e) => return Err(e.into()),
        };
        let past = inner.summaries(workload, NEWEST).await?;
        let published = match &observed {
            Some(observed) => inner.published(observed, workload, &past).await?,
            None => Published::Nothing,
        };
        match published {
            Published::Ahead(fence) => Err(Refusal::HistoryBehind {
                workload: workload.clone(),
                published: Box::new(fence.clone()),
            }
            .into()),
            Published::Known => Ok(observed.as_ref().and_then(|o| o.published.clone())),
            Published::Nothing | Published::Elsewhere(_) => {
                let identity = inner.identity().await?;
                Ok(past.summaries.first().map(|newest| Fence {
                    history: identity.history,
                    incarnation: identity.incarnation,
                    sequence: newest.sequence,
                    epoch: Epoch(0),
                    deployment: newest.id.clone(),
                }))
            }
        }
    }

    /// Keeps deployments from beginning; what a dead process left is recovered first.
    async fn exclude(&self, workload: &WorkloadId) -> Result<Tenure<Exclusion>, Error> {
        let store = &self.inner().store;
        let mut asked = Instant::now();
        let exclusion = match store.exclude(workload).await {
            Err(e) if e.conflict().is_some_and(|c| c.liveness == Liveness::Dead) => {
                recovery::first(self.inner(), workload).await?;
                asked = Instant::now();
                store.exclude(workload).await?
            }
            excluded => excluded?,
        };
        Ok(Tenure::of(store, exclusion, asked))
    }

    async fn what_goes(
        &self,
        workload: &WorkloadId,
        rules: Option<Retention>,
    ) -> Result<(CleanedUp, Vec<Instance>), Error> {
        let entry = self.inner().workload(workload)?;
        let state = self.inner().store.workload(workload).await?;
        let in_force = entry.rules(&state);
        let records = self.inner().whole_history(workload).await?;
        let lineage = Lineage::new(&records, &state.live)
            .restoring(in_force.restore)
            .withholding(Withheld::of(&state));
        let now = self.inner().clock.now();
        let rules = rules.unwrap_or(in_force.policy.retention);
        let retained = retained(&lineage, None, &rules, now);
        let id = |d: &&Summary| d.id.clone();
        let forgotten = keeping::goes(self.inner(), workload, &retained.forget).await?;
        let cleaned_up = CleanedUp {
            workload: workload.clone(),
            kept: records.len() - forgotten.len(),
            forgotten,
            window: retained.window.iter().map(id).collect(),
        };
        let window = self.inner().instances(&retained.window).await?;
        Ok((cleaned_up, window))
    }
}

/// A clean-up whose exclusion is over stops: a deployment may have begun since.
fn stopped(over: Over) -> Error {
    let what = match over {
        Over::Fenced => "its exclusion was over, and a deployment may have begun",
        Over::Expired => "its exclusion could not be renewed in time",
    };
    Error::new(
        ErrorKind::Interrupted,
        format!("the clean-up stopped: {what}"),
    )
    .advice("clean up again; what was done is done")
}
