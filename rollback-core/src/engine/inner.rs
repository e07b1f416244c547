//! What all parts of an engine share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::awaiting::Awaiting;
use super::observing::Observing;
use super::run::Channels;
use crate::backend::{Instance, Observation};
use crate::dependencies::Graph;
use crate::deployment::{Deployment, LiveRecord};
use crate::engine::Workload;
use crate::error::{Error, ErrorKind, StoreErrorKind};
use crate::guard::{Action, Authorizer, Verb};
use crate::history::{HistoryStore, Identity, Published, Sequence, Summaries, Summary};
use crate::id::{Actor, DeploymentId, StackName, WorkloadId};
use crate::plan::Refusal;
use crate::stack::Stack;
use crate::time::Clock;

/// How many of the newest records are read at first, by plans and by whom they are enough for; where they do not answer, by twice as many.
/// Whether a deploy goes back without saying so is told by these alone.
pub(super) const NEWEST: usize = 64;

/// The farthest that a history advances.
const FARTHEST: u64 = u64::MAX / 4;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<dyn HistoryStore>,
    pub(super) identity: OnceCell<Identity>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) catalog: BTreeMap<WorkloadId, Workload>,
    pub(super) graph: Graph,
    pub(super) stacks: BTreeMap<StackName, Stack>,
    pub(super) authorizer: Option<Arc<dyn Authorizer>>,
    pub(super) observing: Observing,
    pub(super) running: Mutex<HashMap<DeploymentId, Channels>>,
    pub(super) owing: Awaiting,
    /// Waits for what was just settled, if it is live only for now.
    pub(super) on_settled: fn(&Arc<Inner>, &Deployment),
}

impl Inner {
    pub(super) fn workload(&self, id: &WorkloadId) -> Result<&Workload, Error> {
        self.catalog.get(id).ok_or_else(|| {
            Error::new(
                ErrorKind::NotRegistered,
                "this workload is not in the engine's catalog",
            )
            .on(id)
            .advice("add it to the builder with its backend")
        })
    }

    /// Which history this is: asked once, since a store that is open is not exchanged.
    pub(super) async fn identity(&self) -> Result<Identity, Error> {
        let asked = || async { self.store.identity().await };
        Ok(self.identity.get_or_try_init(asked).await?.clone())
    }

    /// What this history makes of the token at a target.
    pub(super) async fn published<'a>(
        &self,
        observed: &'a Observation,
        workload: &WorkloadId,
        records: &Summaries,
    ) -> Result<Published<'a>, Error> {
        let identity = self.identity().await?;
        let Some(fence) = observed.published.as_ref() else {
            return Ok(Published::Nothing);
        };
        let oldest = records.summaries.last();
        let reaches = records.is_whole || oldest.is_some_and(|d| d.sequence <= fence.sequence);
        let judged = Published::judge(Some(fence), &identity, &records.summaries);
        if let Published::Elsewhere(_) = judged {
            return Ok(judged);
        }
        if reaches && matches!(judged, Published::Known) {
            return Ok(judged);
        }
        // A record that is there, and damaged, is not one that never was.
        match self.store.get(&fence.deployment).await {
            Ok(None) => {}
            Err(e) if e.is_transient() => return Err(e.into()),
            Ok(Some(_)) | Err(_) => return Ok(Published::Known),
        }
        if reaches {
            return Ok(judged);
        }
        let all = self.summaries(workload, usize::MAX).await?;
        Ok(Published::judge(Some(fence), &identity, &all.summaries))
    }

    /// Gets this history past what it once published.
    pub(super) async fn advance(&self, past: Sequence) -> Result<(), Error> {
        // A garbled token must not use up the numbers of every workload.
        if past.0 > FARTHEST {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!(
                    "the token at the target has the number {past}, which nothing has ever given"
                ),
            )
            .advice("it is damaged: remove it at the target, then adopt"));
        }
        Ok(self.store.advance(past).await?)
    }

    /// Refuses what the authorizer does not allow.
    pub(super) async fn authorize(&self, action: &Action<'_>) -> Result<(), Refusal> {
        let Some(authorizer) = &self.authorizer else {
            return Ok(());
        };
        authorizer
            .authorize(action)
            .await
            .map_err(|why| Refusal::Unauthorized {
                actor: action.actor.to_string(),
                verb: action.verb.to_string(),
                workload: action.workload.clone(),
                why,
            })
    }

    /// Refuses what the authorizer does not allow this person to do.
    pub(super) async fn allow(
        &self,
        actor: &Actor,
        workload: &WorkloadId,
        verb: Verb,
        deployment: Option<&DeploymentId>,
    ) -> Result<(), Error> {
        let action = Action {
            actor,
            workload,
            verb,
            deployment,
            forced: &[],
        };
        Ok(self.authorize(&action).await?)
    }

    /// One record that must be there.
    pub(super) async fn record(&self, id: &DeploymentId) -> Result<Deployment, Error> {
        self.store.get(id).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no such deployment")
                .on(id)
                .advice("list the history for the ids it has")
        })
    }

    /// What is known of a workload's newest records, at most `limit`. What cannot be read is passed
    /// over, and said in the log.
    pub(super) async fn summaries(
        &self,
        workload: &WorkloadId,
        limit: usize,
    ) -> Result<Summaries, Error> {
        let found = self.store.summaries(workload, limit).await?;
        for unreadable in &found.unreadable {
            tracing::warn!(%workload, record = %unreadable, "unreadable record passed over");
        }
        Ok(found)
    }

    /// What is known of all records of a workload; an error if one of them cannot be read: what is
    /// let go must be known.
    pub(super) async fn whole_history(&self, workload: &WorkloadId) -> Result<Vec<Summary>, Error> {
        let all = self.summaries(workload, usize::MAX).await?;
        match all.unreadable.first() {
            None => Ok(all.summaries),
            Some(first) => Err(Error::new(
                ErrorKind::Store(StoreErrorKind::Corrupt),
                format!(
                    "{} of the records cannot be read: {first}",
                    all.unreadable.len()
                ),
            )
            .on(workload)
            .advice("nothing was let go; restore them, or forget them first")),
        }
    }

    /// The place of the deployment that a rollback goes back to in the end, as far as the records tell; its
    /// own, if it is none.
    pub(super) async fn deployed(&self, of: &Deployment) -> Result<Sequence, Error> {
        let (mut deployed, mut next) = (of.sequence(), of.trigger().restores().cloned());
        while let Some(id) = next {
            let point = match self.store.get(&id).await {
                Ok(Some(point)) if point.sequence() < deployed => point,
                Ok(_) => break,
                Err(e) if e.is_unreadable() => break,
                Err(e) => return Err(e.into()),
            };
            deployed = point.sequence();
            next = point.trigger().restores().cloned();
        }
        Ok(deployed)
    }

    /// The record of what is live, where it is known and not damaged. One of a newer version is an error:
    /// over what a newer program has put live an older one plans nothing.
    pub(super) async fn live(&self, live: &LiveRecord) -> Result<Option<Deployment>, Error> {
        match live.known() {
            None => Ok(None),
            Some(id) => match self.store.get(id).await {
                Ok(record) => Ok(record),
                Err(e) if e.is_damage() => Ok(None),
                Err(e) => Err(e.into()),
            },
        }
    }

    /// The instances of these deployments; those whose records are gone meanwhile have none.
    pub(super) async fn instances(&self, of: &[&Summary]) -> Result<Vec<Instance>, Error> {
        let mut all = Vec::with_capacity(of.len());
        for d in of {
            let record = self.store.get(&d.id).await?;
            all.extend(record.and_then(|d| d.instance().cloned()));
        }
        Ok(all)
    }

    pub(super) fn running(&self, id: &DeploymentId) -> Option<Channels> {
        let running = self.lock_running().get(id).cloned();
        running.filter(Channels::are_open)
    }

    pub(super) fn note_running(&self, id: &DeploymentId, channels: Channels) {
        let mut running = self.lock_running();
        // Also a run that panicked is not among the running.
        running.retain(|_, channels| channels.are_open());
        running.insert(id.clone(), channels);
    }

    pub(super) fn forget_running(&self, id: &DeploymentId) {
        self.lock_running().remove(id);
    }

    fn lock_running(&self) -> std::sync::MutexGuard<'_, HashMap<DeploymentId, Channels>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
