//! [`MemoryStore`]: history in memory, for tests and for trying things out. Clones share the
//! data, as two processes share a file; it dies with the last clone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;

use crate::deployment::{Deployment, LiveRecord, NewDeployment, Phase, Settlement};
use crate::error::{StoreError, StoreErrorKind as Kind};
use crate::event::{Event, TimedEvent};
use crate::history::{
    Annotation, Begun, Conflict, Epoch, Exclusion, Fault, Finished, HistoryStore, Hold, Holder,
    InFlight, Lease, Liveness, Page, Query, Renewal, Sequence, Stats, Then, Version, WorkloadState,
};
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::policy::Policy;
use crate::time::{Clock, SystemClock, Timestamp};

pub use crate::deployment::MAX_NOTES;

/// Largest record header or event, in bytes of JSON: 1 MiB.
pub const MAX_RECORD: usize = 1024 * 1024;

/// A history store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    sequence: u64,
    deployments: BTreeMap<Sequence, Deployment>,
    by_id: BTreeMap<DeploymentId, Sequence>,
    workloads: BTreeMap<WorkloadId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    version: u64,
    epoch: u64,
    live: LiveRecord,
    held: Option<Held>,
    hold: Option<Hold>,
    policy: Option<Policy>,
    excluded: Weak<()>,
    /// The last `finish`, so that repeating it is recognised.
    finished: Option<(DeploymentId, u64)>,
}

#[derive(Debug)]
struct Held {
    deployment: DeploymentId,
    holder: Holder,
    alive: Weak<()>,
    cancel_requested_by: Option<Actor>,
}

impl Held {
    fn liveness(&self) -> Liveness {
        if self.alive.strong_count() == 0 {
            Liveness::Dead
        } else {
            Liveness::Alive
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is made in one piece, so a poisoned state is still a whole one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn conflict(&self, workload: &WorkloadId, held: &Held) -> StoreError {
        let phase = self
            .deployment(&held.deployment)
            .map_or(Phase::Opened, Deployment::phase);
        StoreError::held(Conflict {
            workload: workload.clone(),
            deployment: held.deployment.clone(),
            holder: held.holder.clone(),
            liveness: held.liveness(),
            phase,
            age: SystemClock.now().since(held.holder.since),
        })
    }

    fn deployment(&self, id: &DeploymentId) -> Option<&Deployment> {
        self.deployments.get(self.by_id.get(id)?)
    }

    fn deployment_mut(&mut self, id: &DeploymentId) -> Result<&mut Deployment, StoreError> {
        let sequence = self.by_id.get(id).ok_or_else(|| unknown(id))?;
        self.deployments
            .get_mut(sequence)
            .ok_or_else(|| unknown(id))
    }

    fn open(&mut self, new: &NewDeployment) -> Result<Sequence, StoreError> {
        check_size(new)?;
        if self.by_id.contains_key(&new.id) {
            return Err(
                StoreError::new(Kind::IllegalEvent, "this deployment exists already")
                    .on(&new.id)
                    .advice("begin with a new id"),
            );
        }
        self.sequence += 1;
        let sequence = Sequence(self.sequence);
        self.by_id.insert(new.id.clone(), sequence);
        self.deployments
            .insert(sequence, Deployment::open(new.clone(), sequence));
        Ok(sequence)
    }

    fn entry(&mut self, workload: &WorkloadId) -> &mut Entry {
        self.workloads.entry(workload.clone()).or_default()
    }

    fn not_excluded(&mut self, workload: &WorkloadId) -> Result<(), StoreError> {
        if self.entry(workload).excluded.strong_count() == 0 {
            return Ok(());
        }
        Err(StoreError::new(
            Kind::Busy,
            "upkeep keeps deployments from beginning just now",
        )
        .on(workload)
        .advice("try again in a moment"))
    }

    fn fence(&mut self, lease: &Lease) -> Result<(), StoreError> {
        let entry = self.entry(lease.workload());
        let ours = entry.epoch == lease.epoch().0
            && entry
                .held
                .as_ref()
                .is_some_and(|h| h.deployment == *lease.deployment());
        if ours { Ok(()) } else { Err(fenced(lease)) }
    }

    /// Whether this very `finish` was made before, with the successor's sequence if it opened one.
    fn repeated(
        &self,
        lease: &Lease,
        settlement: &Settlement,
        then: &Then,
    ) -> Option<Option<Sequence>> {
        let entry = self.workloads.get(lease.workload())?;
        let same = entry.finished == Some((lease.deployment().clone(), lease.epoch().0))
            && entry.epoch == lease.epoch().0
            && self.deployment(lease.deployment())?.settlement() == Some(settlement);
        match then {
            _ if !same => None,
            Then::Open(new) => Some(Some(*self.by_id.get(&new.id)?)),
            _ => Some(None),
        }
    }

    fn state(&self, workload: &WorkloadId) -> WorkloadState {
        let Some(entry) = self.workloads.get(workload) else {
            return WorkloadState::unseen(workload.clone());
        };
        WorkloadState {
            workload: workload.clone(),
            version: Version(entry.version),
            live: entry.live.clone(),
            in_flight: entry.held.as_ref().map(|h| InFlight {
                deployment: h.deployment.clone(),
                holder: h.holder.clone(),
                liveness: h.liveness(),
                epoch: Epoch(entry.epoch),
            }),
            hold: entry.hold.clone(),
            policy: entry.policy.clone(),
        }
    }
}

fn unknown(id: &DeploymentId) -> StoreError {
    StoreError::new(Kind::NotFound, "no such deployment").on(id)
}

fn fenced(lease: &Lease) -> StoreError {
    StoreError::new(
        Kind::Fenced,
        "the lease is over: another process has taken the workload",
    )
    .on(lease.deployment())
    .advice("stop; the process that holds it now will settle it")
}

fn check_size(value: &impl serde::Serialize) -> Result<(), StoreError> {
    let size = serde_json::to_vec(value).map(|v| v.len());
    match size {
        Ok(size) if size <= MAX_RECORD => Ok(()),
        Ok(size) => Err(StoreError::new(
            Kind::TooLarge,
            format!("a record has {size} bytes, at most {MAX_RECORD} are kept"),
        )
        .advice("shorten its facets, labels or diagnostic")),
        Err(e) => Err(StoreError::new(Kind::Io, "a record cannot be written as JSON").because(e)),
    }
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn begin(
        &self,
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let mut inner = self.lock();
        let state = inner.state(&new.workload);
        if let Some(held) = inner
            .workloads
            .get(&new.workload)
            .and_then(|e| e.held.as_ref())
        {
            return Err(inner.conflict(&new.workload, held));
        }
        inner.not_excluded(&new.workload)?;
        if state.version != expected {
            return Err(
                StoreError::new(Kind::Stale, "the workload changed since the plan")
                    .on(&new.workload)
                    .advice("preview again"),
            );
        }
        let sequence = inner.open(new)?;
        let alive = Arc::new(());
        let entry = inner.entry(&new.workload);
        entry.version += 1;
        entry.epoch += 1;
        entry.held = Some(Held {
            deployment: new.id.clone(),
            holder: holder.clone(),
            alive: Arc::downgrade(&alive),
            cancel_requested_by: None,
        });
        let lease = Lease::new(
            new.workload.clone(),
            new.id.clone(),
            Epoch(entry.epoch),
            alive,
        );
        Ok(Begun { lease, sequence })
    }

    async fn append(&self, lease: &Lease, event: &TimedEvent) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.fence(lease)?;
        check_size(event)?;
        if matches!(event.event, Event::Settled(_) | Event::RolledBackBy { .. }) {
            return Err(
                StoreError::new(Kind::IllegalEvent, "finish writes this event")
                    .on(event.event.name()),
            );
        }
        let deployment = inner.deployment_mut(lease.deployment())?;
        if deployment.events().last() == Some(event) {
            return Ok(());
        }
        deployment.apply(event.clone()).map_err(|e| {
            StoreError::new(Kind::IllegalEvent, e.to_string())
                .on(lease.deployment())
                .because(e)
        })
    }

    async fn finish(
        &self,
        lease: Lease,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, (Lease, StoreError)> {
        let mut inner = self.lock();
        if let Some(sequence) = inner.repeated(&lease, settlement, then) {
            return Ok(match (then, sequence) {
                (Then::Open(new), Some(sequence)) => {
                    let lease = lease.pass_on(new.id.clone());
                    Finished::Opened(Begun { lease, sequence })
                }
                _ => Finished::Released,
            });
        }
        let settled = Event::Settled(settlement.clone());
        let prepared = inner
            .fence(&lease)
            .and_then(|()| check_size(&settled))
            .and_then(|()| {
                // All checks before the first change: the step is done whole or not at all.
                let deployment = inner.deployment_mut(lease.deployment())?;
                deployment.allows(&settled).map_err(|e| {
                    StoreError::new(Kind::IllegalEvent, e.to_string()).on(lease.deployment())
                })?;
                if let Then::ReleaseAndAmend(failed) = then {
                    let amendment = Event::RolledBackBy {
                        deployment: lease.deployment().clone(),
                    };
                    inner
                        .deployment_mut(failed)?
                        .allows(&amendment)
                        .map_err(|e| {
                            StoreError::new(Kind::IllegalEvent, e.to_string()).on(failed)
                        })?;
                }
                if let Then::Open(new) = then {
                    inner.open(new).map(Some)
                } else {
                    Ok(None)
                }
            });
        let opened = match prepared {
            Ok(opened) => opened,
            Err(e) => return Err((lease, e)),
        };
        let settle = || {
            inner
                .deployment_mut(lease.deployment())?
                .apply(TimedEvent { at, event: settled })
                .map_err(|e| StoreError::new(Kind::IllegalEvent, e.to_string()))?;
            if let Then::ReleaseAndAmend(failed) = then {
                let event = Event::RolledBackBy {
                    deployment: lease.deployment().clone(),
                };
                inner
                    .deployment_mut(failed)?
                    .apply(TimedEvent { at, event })
                    .map_err(|e| StoreError::new(Kind::IllegalEvent, e.to_string()))?;
            }
            Ok(())
        };
        if let Err(e) = settle() {
            return Err((lease, e));
        }
        let entry = inner.entry(lease.workload());
        entry.version += 1;
        entry.live = settlement.live.clone();
        entry.finished = Some((lease.deployment().clone(), lease.epoch().0));
        match (then, opened) {
            (Then::Open(new), Some(sequence)) => {
                if let Some(held) = &mut entry.held {
                    held.deployment = new.id.clone();
                    held.cancel_requested_by = None;
                }
                let lease = lease.pass_on(new.id.clone());
                Ok(Finished::Opened(Begun { lease, sequence }))
            }
            _ => {
                entry.held = None;
                Ok(Finished::Released)
            }
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let mut inner = self.lock();
        inner.fence(lease)?;
        let held = inner.entry(lease.workload()).held.as_ref();
        Ok(Renewal {
            cancel_requested_by: held.and_then(|h| h.cancel_requested_by.clone()),
        })
    }

    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
        let mut inner = self.lock();
        match inner.workloads.get(workload).and_then(|e| e.held.as_ref()) {
            None => {
                return Err(
                    StoreError::new(Kind::NotFound, "no deployment is in flight").on(workload),
                );
            }
            Some(held) if held.liveness() == Liveness::Alive => {
                return Err(inner.conflict(workload, held));
            }
            Some(_) => {}
        }
        let alive = Arc::new(());
        let entry = inner.entry(workload);
        entry.epoch += 1;
        let epoch = Epoch(entry.epoch);
        let Some(held) = &mut entry.held else {
            return Err(StoreError::new(Kind::NotFound, "no deployment is in flight").on(workload));
        };
        held.holder = holder.clone();
        held.alive = Arc::downgrade(&alive);
        Ok(Lease::new(
            workload.clone(),
            held.deployment.clone(),
            epoch,
            alive,
        ))
    }

    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let held = inner
            .workloads
            .values_mut()
            .filter_map(|e| e.held.as_mut())
            .find(|h| h.deployment == *id)
            .ok_or_else(|| {
                StoreError::new(Kind::NotFound, "this deployment is not in flight").on(id)
            })?;
        held.cancel_requested_by.get_or_insert_with(|| by.clone());
        Ok(())
    }

    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        Ok(self.lock().state(workload))
    }

    async fn workloads(&self) -> Result<Vec<WorkloadState>, StoreError> {
        let inner = self.lock();
        Ok(inner.workloads.keys().map(|w| inner.state(w)).collect())
    }

    async fn set_hold(&self, workload: &WorkloadId, hold: Option<&Hold>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let entry = inner.entry(workload);
        entry.version += 1;
        entry.hold = hold.cloned();
        Ok(())
    }

    async fn set_policy(
        &self,
        workload: &WorkloadId,
        policy: Option<&Policy>,
    ) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let entry = inner.entry(workload);
        entry.version += 1;
        entry.policy = policy.cloned();
        Ok(())
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

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let deployment = inner.deployment_mut(id)?;
        let annotations = deployment
            .annotations()
            .clone()
            .annotated(what)
            .ok_or_else(|| {
                StoreError::new(Kind::TooLarge, format!("a record takes {MAX_NOTES} notes")).on(id)
            })?;
        *deployment = deployment.clone().with_annotations(annotations);
        Ok(())
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let mut inner = self.lock();
        for id in ids {
            let Some(deployment) = inner.deployment(id) else {
                continue;
            };
            let entry = inner.workloads.get(deployment.workload());
            let live = entry.is_some_and(|e| e.live.known() == Some(id));
            let in_flight = entry
                .and_then(|e| e.held.as_ref())
                .is_some_and(|h| h.deployment == *id);
            if live || in_flight || deployment.annotations().pinned {
                return Err(StoreError::new(
                    Kind::Conflict,
                    "this deployment is live, in flight or pinned; nothing was forgotten",
                )
                .on(id)
                .advice("leave it out, or unpin it"));
            }
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
        if let Some(held) = inner.workloads.get(workload).and_then(|e| e.held.as_ref()) {
            return Err(inner.conflict(workload, held));
        }
        inner.not_excluded(workload)?;
        let alive = Arc::new(());
        inner.entry(workload).excluded = Arc::downgrade(&alive);
        Ok(Exclusion::new(alive))
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        Ok(Vec::new())
    }
}
