//! [`Disk`]: what a machine's store keeps, and [`DiskStore`]: one process's way to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rollback_core::deployment::{Deployment, Opening, Settlement};
use rollback_core::error::StoreError;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    Abandonment, Amendment, Annotation, Begun, Exclusion, Fault, Finished, HistoryReader,
    HistoryStore, Holder, Identity, Lease, Page, Query, Renewal, Sequence, States, Stats,
    Summaries, Then, Trust, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::memory::MemoryStore;
use rollback_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::life::Life;
use super::trouble::{Age, How};

/// What outlives every process: a store, and each write that it has acknowledged. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    store: MemoryStore,
    written: Vec<Written>,
}

/// A write that was acknowledged.
#[derive(Debug, Clone)]
pub(super) enum Written {
    Begun(Box<Opening>, Holder, Version),
    Appended(WorkloadId, DeploymentId, Vec<TimedEvent>),
    Finished(
        WorkloadId,
        DeploymentId,
        Vec<TimedEvent>,
        Settlement,
        Timestamp,
        Then,
    ),
    TakenOver(WorkloadId, Holder),
    CancelRequested(DeploymentId, Actor),
    Annotated(DeploymentId, Annotation),
    Amended(WorkloadId, Version, Amendment),
    Abandoned(WorkloadId, Abandonment),
    Advanced(Sequence),
    Forgotten(Vec<DeploymentId>),
}

impl Disk {
    /// The store as a process opens it.
    pub(super) fn open(&self, life: Life) -> DiskStore {
        DiskStore {
            inner: self.lock().store.clone(),
            disk: self.clone(),
            life,
        }
    }

    /// The store, to look at it.
    pub(super) fn store(&self) -> MemoryStore {
        self.lock().store.clone()
    }

    /// How many writes were acknowledged.
    pub(super) fn len(&self) -> usize {
        self.lock().written.len()
    }

    /// What was acknowledged, in order.
    pub(super) fn written(&self) -> Vec<Written> {
        self.lock().written.clone()
    }

    /// Puts another store in its place: the same history in this life of it, in which only the
    /// first so many writes were made, each as `read` reads it.
    pub(super) async fn restore(&self, writes: usize, how: How, read: impl Fn(Written) -> Written) {
        let identity = self.store().identity().await.expect("an identity");
        let store = MemoryStore::of(match how {
            How::Copied => identity,
            How::Restored => identity.restored().expect("random bytes"),
        });
        let mut leases: BTreeMap<WorkloadId, Lease> = BTreeMap::new();
        let written: Vec<Written> = self.written().into_iter().take(writes).map(read).collect();
        for write in &written {
            write.replay(&store, &mut leases).await;
        }
        let mut content = self.lock();
        content.store = store;
        content.written = written;
    }

    fn note(&self, write: Written) {
        self.lock().written.push(write);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// Its name, for people.
    fn name(&self) -> String {
        match self {
            Self::Begun(new, ..) => format!("begun ({})", new.trigger.kind()),
            Self::Appended(_, _, events) => names(events).join(", "),
            Self::Finished(_, _, last, ..) => {
                let mut names = names(last);
                names.push("settled");
                names.join(", ")
            }
            Self::TakenOver(..) => "taken over".to_owned(),
            Self::CancelRequested(..) => "cancel requested".to_owned(),
            Self::Annotated(..) => "annotated".to_owned(),
            Self::Amended(..) => "amended".to_owned(),
            Self::Abandoned(..) => "abandoned".to_owned(),
            Self::Advanced(..) => "advanced".to_owned(),
            Self::Forgotten(..) => "forgotten".to_owned(),
        }
    }

    async fn replay(&self, store: &MemoryStore, leases: &mut BTreeMap<WorkloadId, Lease>) {
        let done = match self {
            Self::Begun(new, holder, expected) => match store.begin(new, holder, *expected).await {
                Ok(begun) => {
                    leases.insert(new.workload.clone(), begun.lease);
                    Ok(())
                }
                Err(e) => Err(e),
            },
            Self::Appended(workload, _, events) => {
                store.append(&leases[workload], events).await.map(drop)
            }
            Self::Finished(workload, _, last, settlement, at, then) => {
                let lease = leases.remove(workload).expect("a lease");
                match store.finish(&lease, last, settlement, *at, then).await {
                    Ok(Finished::Opened(begun)) => {
                        leases.insert(workload.clone(), begun.lease);
                        Ok(())
                    }
                    Ok(Finished::Released) => Ok(()),
                    Err(e) => Err(e),
                }
            }
            Self::TakenOver(workload, holder) => {
                leases.remove(workload);
                match store.take_over(workload, holder).await {
                    Ok(lease) => {
                        leases.insert(workload.clone(), lease);
                        Ok(())
                    }
                    Err(e) => Err(e),
                }
            }
            Self::CancelRequested(id, by) => store.request_cancel(id, by).await,
            Self::Annotated(id, what) => store.annotate(id, what).await,
            Self::Amended(workload, expected, amendment) => {
                store.amend(workload, *expected, amendment).await.map(drop)
            }
            Self::Abandoned(workload, abandonment) => {
                leases.remove(workload);
                store.abandon(workload, abandonment).await.map(drop)
            }
            Self::Advanced(past) => store.advance(*past).await,
            Self::Forgotten(ids) => store.forget(ids).await.map(drop),
        };
        if let Err(e) = done {
            panic!(
                "what was written once is not written again: {}: {e}",
                self.name()
            );
        }
    }

    /// The same as a program of another age reads it: through JSON, with fields that nobody knows
    /// yet, or as the first records were written.
    pub(super) fn read_by(self, age: Age) -> Self {
        match self {
            Self::Begun(new, holder, version) => {
                Self::Begun(Box::new(age.reads(&*new)), holder, version)
            }
            Self::Appended(workload, id, events) => {
                Self::Appended(workload, id, events.iter().map(|e| age.reads(e)).collect())
            }
            Self::Finished(workload, id, last, settlement, at, then) => {
                let last = last.iter().map(|e| age.reads(e)).collect();
                Self::Finished(workload, id, last, age.reads(&settlement), at, then)
            }
            other => other,
        }
    }

    /// What it says of a deployment's timeline.
    pub(super) fn events(&self) -> Option<(&DeploymentId, Vec<Event>)> {
        let events = |of: &[TimedEvent]| of.iter().map(|timed| timed.event.clone()).collect();
        match self {
            Self::Appended(_, id, written) => Some((id, events(written))),
            Self::Finished(_, id, last, settlement, ..) => {
                let mut events: Vec<Event> = events(last);
                events.push(Event::Settled(settlement.clone()));
                Some((id, events))
            }
            _ => None,
        }
    }
}

fn names(events: &[TimedEvent]) -> Vec<&'static str> {
    events.iter().map(|timed| timed.event.name()).collect()
}

/// A store as one process sees it: each write is a point on either side.
#[derive(Debug)]
pub(super) struct DiskStore {
    inner: MemoryStore,
    disk: Disk,
    life: Life,
}

impl DiskStore {
    async fn write<T>(
        &self,
        write: Written,
        made: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let name = write.name();
        self.life.reach(|| format!("before {name}")).await;
        let value = made.await?;
        self.disk.note(write);
        self.life.reach(|| format!("after {name}")).await;
        Ok(value)
    }
}

#[async_trait]
impl HistoryReader for DiskStore {
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        self.life.goes_on().await;
        self.inner.workload(workload).await
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        self.life.goes_on().await;
        self.inner.workloads().await
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.life.goes_on().await;
        self.inner.identity().await
    }

    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        self.life.goes_on().await;
        self.inner.find_each(beginnings, limit).await
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        self.life.goes_on().await;
        self.inner.get(id).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.life.goes_on().await;
        self.inner.list(query).await
    }

    async fn summaries(
        &self,
        workload: &WorkloadId,
        limit: usize,
    ) -> Result<Summaries, StoreError> {
        self.life.goes_on().await;
        self.inner.summaries(workload, limit).await
    }

    async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
        self.life.goes_on().await;
        self.inner.stats(query).await
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        self.life.goes_on().await;
        self.inner.verify().await
    }
}

#[async_trait]
impl HistoryStore for DiskStore {
    async fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let write = Written::Begun(Box::new(new.clone()), holder.clone(), expected);
        self.write(write, self.inner.begin(new, holder, expected))
            .await
    }

    async fn append(&self, lease: &Lease, events: &[TimedEvent]) -> Result<Renewal, StoreError> {
        let (workload, id) = (lease.workload().clone(), lease.deployment().clone());
        let write = Written::Appended(workload, id, events.to_vec());
        self.write(write, self.inner.append(lease, events)).await
    }

    async fn finish(
        &self,
        lease: &Lease,
        last: &[TimedEvent],
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, StoreError> {
        let write = Written::Finished(
            lease.workload().clone(),
            lease.deployment().clone(),
            last.to_vec(),
            settlement.clone(),
            at,
            then.clone(),
        );
        self.write(write, self.inner.finish(lease, last, settlement, at, then))
            .await
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        self.life.goes_on().await;
        self.inner.renew(lease).await
    }

    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
        let write = Written::TakenOver(workload.clone(), holder.clone());
        self.write(write, self.inner.take_over(workload, holder))
            .await
    }

    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError> {
        let write = Written::CancelRequested(id.clone(), by.clone());
        self.write(write, self.inner.request_cancel(id, by)).await
    }

    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError> {
        let write = Written::Amended(workload.clone(), expected, amendment.clone());
        self.write(write, self.inner.amend(workload, expected, amendment))
            .await
    }

    async fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        let write = Written::Abandoned(workload.clone(), abandonment.clone());
        self.write(write, self.inner.abandon(workload, abandonment))
            .await
    }

    async fn advance(&self, past: Sequence) -> Result<(), StoreError> {
        let write = Written::Advanced(past);
        self.write(write, self.inner.advance(past)).await
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let write = Written::Annotated(id.clone(), what.clone());
        self.write(write, self.inner.annotate(id, what)).await
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let write = Written::Forgotten(ids.to_vec());
        self.write(write, self.inner.forget(ids)).await
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        self.life.goes_on().await;
        self.inner.exclude(workload).await
    }

    async fn renew_exclusion(&self, exclusion: &Exclusion) -> Result<Trust, StoreError> {
        self.life.goes_on().await;
        self.inner.renew_exclusion(exclusion).await
    }

    async fn readmit(&self, exclusion: Exclusion) -> Result<(), StoreError> {
        self.life.goes_on().await;
        self.inner.readmit(exclusion).await
    }
}

impl Age {
    fn reads<T: Serialize + DeserializeOwned>(self, value: &T) -> T {
        let mut json = serde_json::to_value(value).expect("it can be written");
        self.change(&mut json);
        serde_json::from_value(json).expect("a program of another age reads it")
    }

    fn change(self, json: &mut serde_json::Value) {
        match json {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    // The embedder's own names and values are nobody else's to add to.
                    if !matches!(name.as_str(), "labels" | "evidence" | "facets") {
                        self.change(value);
                    }
                }
                match self {
                    Self::Newer if fields.len() > 1 => {
                        fields.insert("of_the_future".into(), serde_json::Value::Bool(true));
                    }
                    Self::Older if fields.contains_key("retention") => {
                        let rollback = fields.remove("rollback").expect("a policy");
                        let rollback = if rollback == "auto" {
                            "armed"
                        } else {
                            "disarmed"
                        };
                        fields.insert("auto_rollback".into(), rollback.into());
                        fields.remove("after_rollback");
                        fields.remove("breaker");
                    }
                    _ => {}
                }
            }
            serde_json::Value::Array(all) => all.iter_mut().for_each(|v| self.change(v)),
            _ => {}
        }
    }
}
