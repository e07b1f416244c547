//! [`InterceptedStore`]: forwards to a store, and lets somebody meddle with its durable writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::deployment::{Deployment, Opening, Settlement};
use rollback_core::error::StoreError;
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Abandonment, Amendment, Annotation, Begun, Exclusion, Fault, Finished, HistoryReader,
    HistoryStore, Holder, Identity, Lease, Page, Query, Renewal, Sequence, States, Stats,
    Summaries, Then, Trust, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, IdempotencyKey, WorkloadId};
use rollback_core::time::Timestamp;

/// A durable write of a deployment: a `begin`, an `append` or a `finish`.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Of which workload.
    pub workload: &'a WorkloadId,
    /// Whose record is written.
    pub deployment: &'a DeploymentId,
    /// What it says then: `begun`, an event's name, `settled`. What is written in one atomic step is
    /// asked for one by one, in order.
    pub what: &'a str,
}

/// Who is asked before and after each durable write.
pub trait Intercept: fmt::Debug + Send + Sync {
    /// What is known of a write before it, and needed after it.
    type Passed: Send;

    /// Before the write.
    ///
    /// # Errors
    ///
    /// What the caller gets in place of the write, which is not made.
    fn before(&self, write: Write<'_>) -> Result<Self::Passed, StoreError>;

    /// Of one atomic step what it writes, once it is made.
    fn made(&self, _: &[&str]) {}

    /// Before a lease or an exclusion is renewed, which is no durable write.
    ///
    /// # Errors
    ///
    /// What the caller gets in place of the renewal.
    fn renews(&self, _: &WorkloadId) -> Result<(), StoreError> {
        Ok(())
    }

    /// How long the answer to a renewal takes, once the store has renewed.
    fn renewal_takes(&self) -> Duration {
        Duration::ZERO
    }

    /// Before a record is read in full.
    ///
    /// # Errors
    ///
    /// What the caller gets in place of the record: that it is damaged, say.
    fn reads(&self, _: &DeploymentId) -> Result<(), StoreError> {
        Ok(())
    }

    /// After the write, if it was made.
    ///
    /// # Errors
    ///
    /// What the caller gets although the write was made.
    fn after(&self, write: Write<'_>, passed: Self::Passed) -> Result<(), StoreError>;
}

/// A store whose durable writes are intercepted. Everything else is forwarded as it is.
#[derive(Debug)]
pub struct InterceptedStore<I> {
    inner: Arc<dyn HistoryStore>,
    interceptor: I,
}

impl<I: Intercept> InterceptedStore<I> {
    /// Forwards to this store.
    pub fn new(inner: Arc<dyn HistoryStore>, interceptor: I) -> Self {
        Self { inner, interceptor }
    }

    async fn write<T>(
        &self,
        workload: &WorkloadId,
        deployment: &DeploymentId,
        what: Vec<&str>,
        made: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let write = |what| Write {
            workload,
            deployment,
            what,
        };
        let mut passed = Vec::new();
        for &what in &what {
            passed.push(self.interceptor.before(write(what))?);
        }
        let value = made.await?;
        self.interceptor.made(&what);
        for (&what, passed) in what.iter().zip(passed) {
            self.interceptor.after(write(what), passed)?;
        }
        Ok(value)
    }
}

fn names(events: &[TimedEvent]) -> Vec<&'static str> {
    events.iter().map(|timed| timed.event.name()).collect()
}

#[async_trait]
impl<I: Intercept> HistoryReader for InterceptedStore<I> {
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        self.inner.workload(workload).await
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        self.inner.workloads().await
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.inner.identity().await
    }

    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        self.inner.find_each(beginnings, limit).await
    }

    async fn keyed(
        &self,
        workload: &WorkloadId,
        key: &IdempotencyKey,
    ) -> Result<Option<DeploymentId>, StoreError> {
        self.inner.keyed(workload, key).await
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        self.interceptor.reads(id)?;
        self.inner.get(id).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn summaries(
        &self,
        workload: &WorkloadId,
        limit: usize,
    ) -> Result<Summaries, StoreError> {
        self.inner.summaries(workload, limit).await
    }

    async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
        self.inner.stats(query).await
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        self.inner.verify().await
    }
}

#[async_trait]
impl<I: Intercept> HistoryStore for InterceptedStore<I> {
    async fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let made = self.inner.begin(new, holder, expected);
        self.write(&new.workload, &new.id, vec!["begun"], made)
            .await
    }

    async fn append(&self, lease: &Lease, events: &[TimedEvent]) -> Result<Renewal, StoreError> {
        let made = self.inner.append(lease, events);
        self.write(lease.workload(), lease.deployment(), names(events), made)
            .await
    }

    async fn finish(
        &self,
        lease: &Lease,
        last: &[TimedEvent],
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, StoreError> {
        let mut what = names(last);
        what.push("settled");
        let made = self.inner.finish(lease, last, settlement, at, then);
        self.write(lease.workload(), lease.deployment(), what, made)
            .await
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        self.interceptor.renews(lease.workload())?;
        let renewal = self.inner.renew(lease).await;
        tokio::time::sleep(self.interceptor.renewal_takes()).await;
        renewal
    }

    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
        self.inner.take_over(workload, holder).await
    }

    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError> {
        self.inner.request_cancel(id, by).await
    }

    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError> {
        self.inner.amend(workload, expected, amendment).await
    }

    async fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        self.inner.abandon(workload, abandonment).await
    }

    async fn advance(&self, past: Sequence) -> Result<(), StoreError> {
        self.inner.advance(past).await
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

    async fn renew_exclusion(&self, exclusion: &Exclusion) -> Result<Trust, StoreError> {
        self.interceptor.renews(exclusion.workload())?;
        self.inner.renew_exclusion(exclusion).await
    }

    async fn readmit(&self, exclusion: Exclusion) -> Result<(), StoreError> {
        self.inner.readmit(exclusion).await
    }
}
