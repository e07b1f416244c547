//! [`KillingStore`]: a store that ends its own process at a chosen write.

use std::io::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::deployment::{Deployment, NewDeployment, Settlement};
use rollback_core::error::StoreError;
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Annotation, Begun, Exclusion, Fault, Finished, HistoryStore, Hold, Holder, Lease, Page, Query,
    Renewal, Stats, Then, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::policy::Policy;
use rollback_core::time::Timestamp;

use super::{Point, Side, Writes};

/// Forwards to a store; sends SIGKILL to its own process before or after the chosen `begin`,
/// `append` or `finish`. Prints `ack <deployment> <event>` for every write that was made.
#[derive(Debug)]
pub struct KillingStore {
    inner: Arc<dyn HistoryStore>,
    point: Point,
    writes: Writes,
}

impl KillingStore {
    /// Dies at this point.
    pub fn new(inner: Arc<dyn HistoryStore>, point: Point) -> Self {
        Self {
            inner,
            point,
            writes: Writes::default(),
        }
    }

    fn die_if(&self, side: Side, nth: usize) {
        if self.point == (Point { side, nth }) {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            // The signal is delivered before the call returns, or at the latest now.
            loop {
                std::thread::park();
            }
        }
    }

    fn acknowledge(line: &str) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {line}").unwrap();
        out.flush().unwrap();
    }
}

#[async_trait]
impl HistoryStore for KillingStore {
    async fn begin(
        &self,
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let nth = self.writes.next();
        self.die_if(Side::Before, nth);
        let begun = self.inner.begin(new, holder, expected).await?;
        Self::acknowledge(&format!("{} begun", new.id));
        self.die_if(Side::After, nth);
        Ok(begun)
    }

    async fn append(&self, lease: &Lease, event: &TimedEvent) -> Result<(), StoreError> {
        let nth = self.writes.next();
        self.die_if(Side::Before, nth);
        self.inner.append(lease, event).await?;
        Self::acknowledge(&format!("{} {}", lease.deployment(), event.event.name()));
        self.die_if(Side::After, nth);
        Ok(())
    }

    async fn finish(
        &self,
        lease: Lease,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, (Lease, StoreError)> {
        let nth = self.writes.next();
        self.die_if(Side::Before, nth);
        let id = lease.deployment().clone();
        let finished = self.inner.finish(lease, settlement, at, then).await?;
        Self::acknowledge(&format!("{id} settled"));
        self.die_if(Side::After, nth);
        Ok(finished)
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
