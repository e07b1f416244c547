//! What all parts of an engine share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::observing::Observing;
use super::run::Channels;
use crate::backend::Observation;
use crate::dependencies::Graph;
use crate::deployment::Deployment;
use crate::engine::Workload;
use crate::error::{Error, ErrorKind, StoreErrorKind};
use crate::guard::{Action, Authorizer};
use crate::history::{Fault, HistoryStore, Identity, Published, Query, Sequence};
use crate::id::{DeploymentId, WorkloadId};
use crate::plan::Refusal;
use crate::time::Clock;

/// The farthest that a history advances.
const FARTHEST: u64 = u64::MAX / 4;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<dyn HistoryStore>,
    pub(super) identity: OnceCell<Identity>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) catalog: BTreeMap<WorkloadId, Workload>,
    pub(super) graph: Graph,
    pub(super) authorizer: Option<Arc<dyn Authorizer>>,
    pub(super) observing: Observing,
    pub(super) running: Mutex<HashMap<DeploymentId, Channels>>,
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
        records: &[Deployment],
    ) -> Result<Published<'a>, Error> {
        let identity = self.identity().await?;
        match Published::judge(observed.published.as_ref(), &identity, records) {
            // A record that is there, and damaged, is not one that never was.
            Published::Ahead(fence) => match self.store.get(&fence.deployment).await {
                Ok(None) => Ok(Published::Ahead(fence)),
                Err(e) if e.is_transient() => Err(e.into()),
                Ok(Some(_)) | Err(_) => Ok(Published::Known),
            },
            published => Ok(published),
        }
    }

    /// Gets this history past what it once published.
    pub(super) async fn advance(&self, past: Sequence) -> Result<(), Error> {
        // A garbled token must not use up the numbers of every workload.
        if past.0 > FARTHEST {
            return Err(Error::new(
                ErrorKind::InvalidTarget,
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

    /// One record that must be there.
    pub(super) async fn record(&self, id: &DeploymentId) -> Result<Deployment, Error> {
        self.store.get(id).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no such deployment")
                .on(id)
                .advice("list the history for the ids it has")
        })
    }

    /// All records of a workload that can be read, newest first.
    pub(super) async fn records(&self, workload: &WorkloadId) -> Result<Vec<Deployment>, Error> {
        Ok(self.records_and_unreadable(workload).await?.0)
    }

    /// The same, or an error if one of them cannot be read: what is let go must be known.
    pub(super) async fn whole_records(
        &self,
        workload: &WorkloadId,
    ) -> Result<Vec<Deployment>, Error> {
        let (records, unreadable) = self.records_and_unreadable(workload).await?;
        match unreadable.first() {
            None => Ok(records),
            Some(first) => Err(Error::new(
                ErrorKind::Store(StoreErrorKind::Corrupt),
                format!(
                    "{} of the records cannot be read: {first}",
                    unreadable.len()
                ),
            )
            .on(workload)
            .advice("nothing was let go; restore them, or forget them first")),
        }
    }

    /// All records of a workload, newest first, and what could not be read.
    pub(super) async fn records_and_unreadable(
        &self,
        workload: &WorkloadId,
    ) -> Result<(Vec<Deployment>, Vec<Fault>), Error> {
        let mut query = Query::workload(workload).limit(1_000);
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        loop {
            let page = self.store.list(&query).await?;
            for unreadable in &page.unreadable {
                tracing::warn!(%workload, record = %unreadable, "unreadable record passed over");
            }
            bad.extend(page.unreadable);
            all.extend(page.deployments);
            match page.next {
                Some(next) => query.before = Some(next),
                None => return Ok((all, bad)),
            }
        }
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
