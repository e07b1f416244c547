//! [`HistoryReader`]: what can be asked of a history.

use std::fmt;

use async_trait::async_trait;

use super::{Fault, Identity, Page, Query, States, Stats, Summaries, Summary, WorkloadState};
use crate::deployment::Deployment;
use crate::error::StoreError;
use crate::id::{DeploymentId, IdempotencyKey, WorkloadId};

/// The largest page that a store gives.
const MAX_PAGE: usize = 1_000;

/// What can be asked of a history: for a dashboard, say, which is given no more than it needs.
///
/// Every `Arc<dyn HistoryStore>` can be handed out as an `Arc<dyn HistoryReader>`:
///
/// ```
/// use std::sync::Arc;
/// use rollback_core::history::{HistoryReader, HistoryStore, Query};
/// use rollback_core::memory::MemoryStore;
///
/// async fn dashboard(history: Arc<dyn HistoryReader>) -> usize {
///     history.list(&Query::default()).await.map_or(0, |page| page.deployments.len())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store: Arc<dyn HistoryStore> = Arc::new(MemoryStore::new());
/// assert_eq!(dashboard(store).await, 0);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Asking changes nothing. One unreadable record hides no
/// other, and one damaged workload no other.
///
/// # Errors of all questions
///
/// By its kind the engine tells whether to ask again, to pass over one record, or to give up:
///
/// - [`Busy`](crate::error::StoreErrorKind::Busy), [`Io`](crate::error::StoreErrorKind::Io): the store
///   cannot be read just now. Transient.
/// - [`Unusable`](crate::error::StoreErrorKind::Unusable): it is not there, or may not be read; a
///   person has to put that right.
/// - [`Corrupt`](crate::error::StoreErrorKind::Corrupt): what was asked for is damaged: the one record,
///   the one workload's state, or the store as a whole.
/// - [`NewerSchema`](crate::error::StoreErrorKind::NewerSchema): a newer version of this library
///   wrote it. It is not damaged, and is left as it is.
///
/// What is not there is no error, but `None`, or empty.
#[async_trait]
pub trait HistoryReader: fmt::Debug + Send + Sync {
    /// Which history this is.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions).
    async fn identity(&self) -> Result<Identity, StoreError>;

    /// The state of one workload; [`WorkloadState::unseen`] if the store does not know it.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions):
    /// [`Corrupt`](crate::error::StoreErrorKind::Corrupt) and
    /// [`NewerSchema`](crate::error::StoreErrorKind::NewerSchema) if its state cannot be read.
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError>;

    /// The states of all workloads, and which of them cannot be read.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions), and only if the store as a
    /// whole cannot be read.
    async fn workloads(&self) -> Result<States, StoreError>;

    /// One record; `None` if there is none of that id.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions):
    /// [`Corrupt`](crate::error::StoreErrorKind::Corrupt) and
    /// [`NewerSchema`](crate::error::StoreErrorKind::NewerSchema) if the record cannot be read.
    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError>;

    /// Records, newest first by sequence.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions). A record that cannot be read
    /// is no error: it is in [`Page::unreadable`].
    async fn list(&self, query: &Query) -> Result<Page, StoreError>;

    /// What the rules go by of a workload's records, newest first, at most `limit`: [`Summary::of`]
    /// each record that [`list`](Self::list) gives of it. Lists ask for it, so a store that knows
    /// it without reading whole records is faster; unless implemented, they are read.
    ///
    /// # Errors
    ///
    /// As of [`list`](Self::list); what cannot be read is in [`Summaries::unreadable`].
    async fn summaries(
        &self,
        workload: &WorkloadId,
        limit: usize,
    ) -> Result<Summaries, StoreError> {
        let mut query = Query::workload(workload);
        let mut all = Summaries::default();
        loop {
            query.limit = limit.saturating_sub(all.summaries.len()).min(MAX_PAGE);
            if query.limit == 0 {
                return Ok(all);
            }
            let page = self.list(&query).await?;
            all.summaries
                .extend(page.deployments.iter().map(Summary::of));
            all.unreadable.extend(page.unreadable);
            match page.next {
                Some(next) => query.before = Some(next),
                None => {
                    all.is_whole = true;
                    return Ok(all);
                }
            }
        }
    }

    /// Counts over what the query means (its page and limit do not matter), as [`Stats::of`]
    /// would count.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions). A record that cannot be read
    /// is not counted.
    async fn stats(&self, query: &Query) -> Result<Stats, StoreError>;

    /// For each text the ids that begin with it, or whose last, random part does: newest first, at
    /// most `limit`. An id that is the text comes first.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions).
    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError>;

    /// [`find_each`](Self::find_each) for one text.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions).
    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<DeploymentId>, StoreError> {
        let mut found = self.find_each(&[beginning], limit).await?;
        Ok(found.pop().unwrap_or_default())
    }

    /// The deployment of a workload that was opened under this idempotency key; `None` if no record
    /// that is kept was. Unless implemented, all summaries are read.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions).
    async fn keyed(
        &self,
        workload: &WorkloadId,
        key: &IdempotencyKey,
    ) -> Result<Option<DeploymentId>, StoreError> {
        let all = self.summaries(workload, usize::MAX).await?.summaries;
        let mut all = all.into_iter();
        Ok(all.find(|s| s.key.as_ref() == Some(key)).map(|s| s.id))
    }

    /// Reads everything and says what is wrong with it; empty when all is well. Changes nothing.
    ///
    /// # Errors
    ///
    /// As of [all questions](HistoryReader#errors-of-all-questions), and only if the store as a
    /// whole cannot be read.
    async fn verify(&self) -> Result<Vec<Fault>, StoreError>;
}
