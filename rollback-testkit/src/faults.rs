//! Faults on purpose: stores, backends, checks and clocks that fail when told to.

mod backend;

pub use backend::{FaultyBackend, Verb, VerbFault, VerbTrap};

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::deployment::{Deployment, NewDeployment, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind};
use rollback_core::event::TimedEvent;
use rollback_core::health::{HealthCheck, Healthy, Probe, Unhealthy};
use rollback_core::history::{
    Annotation, Begun, Exclusion, Fault, Finished, HistoryStore, Hold, Holder, Lease, Page, Query,
    Renewal, Stats, Then, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::policy::Policy;
use rollback_core::time::{Clock, Timestamp};

/// On which side of its effect a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The effect does not happen.
    Before,
    /// It happens, and the caller is told that it did not.
    After,
}

/// When the store fails next. Shared with the test, which sets it.
#[derive(Debug, Clone, Default)]
pub struct Trap(Arc<Mutex<Option<(usize, Side, StoreErrorKind)>>>);

impl Trap {
    /// The `nth` durable write from now (1: the next) fails.
    pub fn set(&self, nth: usize, side: Side, kind: StoreErrorKind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((nth, side, kind));
    }

    /// No write fails.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is still to spring.
    pub fn is_set(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn spring(&self) -> Option<(Side, StoreError)> {
        let mut trap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (nth, side, kind) = (*trap)?;
        if nth > 1 {
            *trap = Some((nth - 1, side, kind));
            return None;
        }
        *trap = None;
        Some((side, StoreError::new(kind, "a fault was injected")))
    }
}

/// A store whose durable writes (`begin`, `append`, `finish`) fail as a [`Trap`] says. A kind that
/// is not transient makes the engine stop at once, as a crash would.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn HistoryStore>,
    trap: Trap,
}

impl FaultyStore {
    /// Fails as the trap says.
    pub fn new(inner: Arc<dyn HistoryStore>, trap: Trap) -> Self {
        Self { inner, trap }
    }
}

#[async_trait]
impl HistoryStore for FaultyStore {
    async fn begin(
        &self,
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        match self.trap.spring() {
            Some((Side::Before, e)) => Err(e),
            Some((Side::After, e)) => {
                drop(self.inner.begin(new, holder, expected).await?);
                Err(e)
            }
            None => self.inner.begin(new, holder, expected).await,
        }
    }

    async fn append(&self, lease: &Lease, event: &TimedEvent) -> Result<(), StoreError> {
        match self.trap.spring() {
            Some((Side::Before, e)) => Err(e),
            Some((Side::After, e)) => self.inner.append(lease, event).await.and(Err(e)),
            None => self.inner.append(lease, event).await,
        }
    }

    async fn finish(
        &self,
        lease: Lease,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, (Lease, StoreError)> {
        match self.trap.spring() {
            Some((Side::Before, e)) => Err((lease, e)),
            Some((Side::After, e)) => {
                // The caller keeps a lease of the same epoch, as it does when a commit's answer
                // is lost. Its liveness is gone with the inner one; it is about to stop anyway.
                let same = Lease::new(
                    lease.workload().clone(),
                    lease.deployment().clone(),
                    lease.epoch(),
                    (),
                );
                match self.inner.finish(lease, settlement, at, then).await {
                    Ok(_) => Err((same, e)),
                    Err(failed) => Err(failed),
                }
            }
            None => self.inner.finish(lease, settlement, at, then).await,
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        self.inner.renew(lease).await
    }

    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
        self.inner.take_over(workload, holder).await
    }

    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError> {
        self.inner.request_cancel(id, by).await
    }

    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        self.inner.workload(workload).await
    }

    async fn workloads(&self) -> Result<Vec<WorkloadState>, StoreError> {
        self.inner.workloads().await
    }

    async fn set_hold(&self, workload: &WorkloadId, hold: Option<&Hold>) -> Result<(), StoreError> {
        self.inner.set_hold(workload, hold).await
    }

    async fn set_policy(
        &self,
        workload: &WorkloadId,
        policy: Option<&Policy>,
    ) -> Result<(), StoreError> {
        self.inner.set_policy(workload, policy).await
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        self.inner.get(id).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
        self.inner.stats(query).await
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        self.inner.annotate(id, what).await
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        self.inner.forget(ids).await
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        self.inner.exclude(workload).await
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        self.inner.verify().await
    }
}

/// A check that answers from a script, then always yes.
#[derive(Debug, Default)]
pub struct ScriptedCheck {
    script: Vec<bool>,
    asked: AtomicUsize,
}

impl ScriptedCheck {
    /// Answers these, in order.
    pub fn new(script: impl IntoIterator<Item = bool>) -> Self {
        Self {
            script: script.into_iter().collect(),
            asked: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl HealthCheck for ScriptedCheck {
    fn name(&self) -> String {
        "scripted".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst);
        match self.script.get(nth) {
            Some(false) => Err(Unhealthy::new(format!("answer {nth} of the script is no"))),
            _ => Ok(Healthy::yes()),
        }
    }
}

/// A clock that goes where it is told, backwards too.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Sets it, in microseconds since the epoch.
    pub fn set(&self, microseconds: i64) {
        self.0.store(microseconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
