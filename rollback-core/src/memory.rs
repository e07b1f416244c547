//! [`MemoryStore`]: history in memory, for tests and for trying things out. Clones share the
//! data, as two processes share a file; it dies with the last clone.

mod data;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::deployment::{Deployment, LiveRecord, Opening, Settlement};
use crate::error::StoreError;
use crate::event::TimedEvent;
use crate::history::{
    Abandonment, Amendment, Annotation, Begun, Epoch, Exclusion, Fault, Finish, Finished,
    HistoryReader, HistoryStore, Holder, Identity, Lease, Page, Query, Renewal, Sequence, States,
    Stats, Then, Trust, Version, WorkloadState, check_version, may_be_forgotten,
};
use crate::id::{Actor, DeploymentId, IdempotencyKey, WorkloadId};
use crate::time::Timestamp;
use data::{Held, Inner};

pub use crate::deployment::MAX_NOTES;
pub use crate::history::MAX_RECORD;

/// A history store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose leases and exclusions hold for `span` unless they are renewed, whatever
    /// becomes of their values: as those of a server do, which sees no process die. Time is tokio's, so
    /// that a test may [pause](https://docs.rs/tokio/latest/tokio/time/fn.pause.html) it.
    pub fn with_ttl(span: Duration) -> Self {
        let store = Self::new();
        store.lock().ttl = Some(span);
        store
    }

    /// An empty store of this history: what a copy of it is put back into.
    pub fn of(identity: Identity) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner::of(identity))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is made in one piece, so a poisoned state is still a whole one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HistoryReader for MemoryStore {
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        Ok(self.lock().state(workload))
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        let inner = self.lock();
        let states = inner.workloads.keys().map(|w| inner.state(w));
        Ok(States {
            // One that was only ever excluded, or refused, is not known.
            states: states.filter(|s| s.version.0 > 0).collect(),
            damaged: Vec::new(),
        })
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.lock().identity()
    }

    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        let inner = self.lock();
        let find = |beginning: &&str| {
            let newest_first = inner.deployments.values().rev().map(Deployment::id);
            let mut found: Vec<_> = newest_first.filter(|id| id.begins(beginning)).collect();
            found.sort_by_key(|id| id.as_str() != *beginning);
            found.into_iter().take(limit).cloned().collect()
        };
        Ok(beginnings.iter().map(find).collect())
    }

    async fn keyed(
        &self,
        workload: &WorkloadId,
        key: &IdempotencyKey,
    ) -> Result<Option<DeploymentId>, StoreError> {
        Ok(self.lock().keyed(workload, key).cloned())
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        Ok(self.lock().deployment(id).cloned())
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let inner = self.lock();
        let limit = query.limit.clamp(1, 1_000);
        let before = query.before.unwrap_or(Sequence(u64::MAX));
        let mut found = inner
            .deployments
            .range(..before)
            .rev()
            .map(|(_, d)| d)
            .filter(|d| query.matches(d));
        let deployments: Vec<Deployment> = found.by_ref().take(limit).cloned().collect();
        let next = found
            .next()
            .and(deployments.last())
            .map(Deployment::sequence);
        Ok(Page {
            deployments,
            next,
            unreadable: Vec::new(),
        })
    }

    async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
        let inner = self.lock();
        Ok(Stats::of(
            inner
                .deployments
                .values()
                .rev()
                .filter(|d| query.matches(d)),
        ))
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let mut inner = self.lock();
        let state = inner.state(&new.workload);
        state.check_idle(|id| inner.phase(id))?;
        inner.not_excluded(&new.workload)?;
        if let Some(asked) = &new.asked
            && let Some(by) = inner.keyed(&new.workload, &asked.key)
        {
            return Err(StoreError::key_taken(&asked.key, by));
        }
        check_version(&new.workload, state.version, expected)?;
        let sequence = inner.open(new)?;
        let entry = inner.entry(&new.workload);
        entry.version += 1;
        entry.epoch += 1;
        entry.excluded = None;
        let epoch = Epoch(entry.epoch);
        let (life, lease) = inner.lease(&new.workload, &new.id, epoch);
        inner.entry(&new.workload).held = Some(Held {
            deployment: new.id.clone(),
            holder: holder.clone(),
            life,
            cancel_requested_by: None,
        });
        Ok(Begun::new(lease, sequence))
    }

    async fn append(&self, lease: &Lease, events: &[TimedEvent]) -> Result<Renewal, StoreError> {
        let mut inner = self.lock();
        inner.fence(lease.claim())?;
        let record = inner.deployment_mut(lease.deployment())?;
        let unwritten = lease.claim().unwritten(record, events)?;
        *record = record.clone().with(unwritten)?;
        Ok(inner.confirm(lease.workload()))
    }

    async fn finish(
        &self,
        lease: &Lease,
        last: &[TimedEvent],
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, StoreError> {
        let finish = Finish::new(lease, last, settlement, at, then)?;
        let mut inner = self.lock();
        let opened = match inner.finished_before(&finish)? {
            Some(opened) => opened,
            None => inner.finish(&finish)?,
        };
        if opened.is_some() {
            inner.renew(lease.workload());
        }
        Ok(finish.done(lease, opened))
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let mut inner = self.lock();
        inner.fence(lease.claim())?;
        Ok(inner.confirm(lease.workload()))
    }

    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
        let mut inner = self.lock();
        let deployment = inner.left_by_the_dead(workload)?;
        let entry = inner.entry(workload);
        entry.epoch += 1;
        let epoch = Epoch(entry.epoch);
        let (life, lease) = inner.lease(workload, &deployment, epoch);
        if let Some(held) = &mut inner.entry(workload).held {
            held.holder = holder.clone();
            held.life = life;
        }
        Ok(lease)
    }

    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let held = inner
            .workloads
            .values_mut()
            .filter_map(|e| e.held.as_mut())
            .find(|h| h.deployment == *id)
            .ok_or_else(|| StoreError::not_in_flight(id))?;
        held.cancel_requested_by.get_or_insert_with(|| by.clone());
        Ok(())
    }

    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError> {
        let mut inner = self.lock();
        check_version(workload, inner.state(workload).version, expected)?;
        let entry = inner.entry(workload);
        entry.version += 1;
        entry.settings.amend(amendment);
        Ok(Version(entry.version))
    }

    async fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        let mut inner = self.lock();
        let id = inner.left_by_the_dead(workload)?;
        let deployment = inner.deployment_mut(&id)?;
        deployment.apply(abandonment.settled(deployment))?;
        let entry = inner.entry(workload);
        entry.version += 1;
        entry.epoch += 1;
        entry.live = LiveRecord::Unknown;
        entry.held = None;
        entry.settings.abandoned(&id, abandonment);
        Ok(id)
    }

    async fn advance(&self, past: Sequence) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.sequence = inner.sequence.max(past.0);
        Ok(())
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let deployment = inner.deployment_mut(id)?;
        *deployment = deployment.clone().annotated(what)?;
        Ok(())
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let mut inner = self.lock();
        for id in ids {
            let Some(deployment) = inner.deployment(id) else {
                continue;
            };
            let state = inner.state(deployment.workload());
            let in_flight = state.in_flight.as_ref().map(|f| &f.deployment);
            let added = Some(deployment.annotations());
            may_be_forgotten(id, added, &state.live, in_flight)?;
        }
        let mut forgotten = 0;
        for id in ids {
            if let Some(sequence) = inner.by_id.remove(id) {
                inner.deployments.remove(&sequence);
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let mut inner = self.lock();
        inner.state(workload).check_idle(|id| inner.phase(id))?;
        inner.not_excluded(workload)?;
        let (excluded, exclusion) = inner.exclusion(workload);
        inner.entry(workload).excluded = Some(excluded);
        Ok(exclusion)
    }

    async fn renew_exclusion(&self, exclusion: &Exclusion) -> Result<Trust, StoreError> {
        self.lock().renew_exclusion(exclusion)
    }

    async fn readmit(&self, exclusion: Exclusion) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.renew_exclusion(&exclusion).is_ok() {
            inner.entry(exclusion.workload()).excluded = None;
        }
        Ok(())
    }
}
