//! A shared store, or one of a kind that is not known, is a store too.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Abandonment, Amendment, Begun, Exclusion, Fault, Finished, HistoryReader, HistoryStore, Holder,
    Identity, Lease, Page, Query, Renewal, Sequence, States, Stats, Summaries, Then, Trust,
    Version, WorkloadState,
};
use crate::deployment::{Annotation, Deployment, Opening, Settlement};
use crate::error::StoreError;
use crate::event::TimedEvent;
use crate::id::{Actor, DeploymentId, IdempotencyKey, WorkloadId};
use crate::time::Timestamp;

/// Every verb is forwarded, those with a body of their own too: what the store does better must not
/// get lost on the way.
macro_rules! forward {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<T: HistoryReader + ?Sized> HistoryReader for $pointer<T> {
            async fn identity(&self) -> Result<Identity, StoreError> {
                (**self).identity().await
            }

            async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
                (**self).workload(workload).await
            }

            async fn workloads(&self) -> Result<States, StoreError> {
                (**self).workloads().await
            }

            async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
                (**self).get(id).await
            }

            async fn list(&self, query: &Query) -> Result<Page, StoreError> {
                (**self).list(query).await
            }

            async fn summaries(
                &self,
                workload: &WorkloadId,
                limit: usize,
            ) -> Result<Summaries, StoreError> {
                (**self).summaries(workload, limit).await
            }

            async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
                (**self).stats(query).await
            }

            async fn find_each(
                &self,
                beginnings: &[&str],
                limit: usize,
            ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
                (**self).find_each(beginnings, limit).await
            }

            async fn find(
                &self,
                beginning: &str,
                limit: usize,
            ) -> Result<Vec<DeploymentId>, StoreError> {
                (**self).find(beginning, limit).await
            }

            async fn keyed(
                &self,
                workload: &WorkloadId,
                key: &IdempotencyKey,
            ) -> Result<Option<DeploymentId>, StoreError> {
                (**self).keyed(workload, key).await
            }

            async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
                (**self).verify().await
            }
        }

        #[async_trait]
        impl<T: HistoryStore + ?Sized> HistoryStore for $pointer<T> {
            async fn begin(
                &self,
                new: &Opening,
                holder: &Holder,
                expected: Version,
            ) -> Result<Begun, StoreError> {
                (**self).begin(new, holder, expected).await
            }

            async fn append(
                &self,
                lease: &Lease,
                events: &[TimedEvent],
            ) -> Result<Renewal, StoreError> {
                (**self).append(lease, events).await
            }

            async fn finish(
                &self,
                lease: &Lease,
                last: &[TimedEvent],
                settlement: &Settlement,
                at: Timestamp,
                then: &Then,
            ) -> Result<Finished, StoreError> {
                (**self).finish(lease, last, settlement, at, then).await
            }

            async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
                (**self).renew(lease).await
            }

            async fn take_over(
                &self,
                workload: &WorkloadId,
                holder: &Holder,
            ) -> Result<Lease, StoreError> {
                (**self).take_over(workload, holder).await
            }

            async fn request_cancel(
                &self,
                id: &DeploymentId,
                by: &Actor,
            ) -> Result<(), StoreError> {
                (**self).request_cancel(id, by).await
            }

            async fn amend(
                &self,
                workload: &WorkloadId,
                expected: Version,
                amendment: &Amendment,
            ) -> Result<Version, StoreError> {
                (**self).amend(workload, expected, amendment).await
            }

            async fn abandon(
                &self,
                workload: &WorkloadId,
                abandonment: &Abandonment,
            ) -> Result<DeploymentId, StoreError> {
                (**self).abandon(workload, abandonment).await
            }

            async fn advance(&self, past: Sequence) -> Result<(), StoreError> {
                (**self).advance(past).await
            }

            async fn annotate(
                &self,
                id: &DeploymentId,
                what: &Annotation,
            ) -> Result<(), StoreError> {
                (**self).annotate(id, what).await
            }

            async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
                (**self).forget(ids).await
            }

            async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
                (**self).exclude(workload).await
            }

            async fn renew_exclusion(&self, exclusion: &Exclusion) -> Result<Trust, StoreError> {
                (**self).renew_exclusion(exclusion).await
            }

            async fn readmit(&self, exclusion: Exclusion) -> Result<(), StoreError> {
                (**self).readmit(exclusion).await
            }
        }
    )*};
}

forward!(Arc, Box);
