//! [`HistoryStore`]: where deployments and workload states are kept.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Abandonment, Amendment, Begun, Exclusion, Finished, Holder, Identity, Lease, Page, Query,
    Renewal, Sequence, States, Stats, Summaries, Summary, Then, Version, WorkloadState,
};
use crate::deployment::{Annotation, Deployment, NewDeployment, Settlement};
use crate::error::StoreError;
use crate::event::TimedEvent;
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::time::Timestamp;

/// Largest record header or event that a store takes, in bytes of JSON: 1 MiB.
pub const MAX_RECORD: usize = 1024 * 1024;

/// The largest page that a store gives.
const MAX_PAGE: usize = 1_000;

/// Something wrong with what a store has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where: a record's id, a file, a table.
    pub place: String,
    /// What is wrong, and what it means.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Where deployments and workload states are kept.
///
/// # What an implementor promises
///
/// - **Durable before it returns**: once `begin`, `append`, `finish`, `amend`, `abandon`, `advance`,
///   `annotate` or `request_cancel` has said `Ok`, no crash or power cut takes it back.
/// - **Atomic**: each is done or not done. After an error, nothing was changed, except that a
///   failed commit may turn out to be durable after all; repeating `append` or `finish` of the
///   *same* value with the same lease then succeeds and stores nothing twice.
/// - **Fenced**: `append`, `renew` and `finish` refuse a lease whose epoch is over
///   ([`StoreErrorKind::Fenced`](crate::error::StoreErrorKind::Fenced)).
/// - **Checked**: an event that [`Deployment::allows`] refuses is refused.
/// - A holder's death is judged by proof, never by age alone (embedded stores: a kernel lock).
/// - One unreadable record hides no other, and one damaged workload no other.
/// - **What has begun can be ended**: room for the rest of a deployment is reserved at `begin`, so
///   that a disk that fills up meanwhile keeps it neither from going back nor from being settled;
///   `forget` needs no more room than is there.
/// - **What is not surely its own and surely dead is left** as it is, and said by `verify`.
///
/// The conformance suite in `rollback-testkit` holds an implementation to this.
#[async_trait]
pub trait HistoryStore: fmt::Debug + Send + Sync {
    /// Opens a deployment and takes the lease, if the workload's state still has this version.
    /// Fails with `Conflict` while another deployment is in flight, its holder dead or alive;
    /// with `Stale` if the version moved.
    async fn begin(
        &self,
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError>;

    /// Adds an event. Not for `Settled` and `RolledBackBy`, which `finish` writes.
    async fn append(&self, lease: &Lease, event: &TimedEvent) -> Result<(), StoreError>;

    /// Settles the deployment, states what is live, and frees the lease or opens the successor.
    /// The successor's timeline begins at the settlement's instant.
    ///
    /// The lease is over then, and free when this returns ([`Lease::end`]), unless something
    /// [keeps](Lease::keep) it: nobody has to wait until the caller drops it. Only the same `finish`
    /// again succeeds with it, and gives the same successor; everything else is `Fenced`. After an
    /// error it is what it was, and the caller can try again.
    async fn finish(
        &self,
        lease: &Lease,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, StoreError>;

    /// Confirms that the lease still holds, and says whether somebody asked to stop.
    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError>;

    /// Takes the lease of a dead holder. `Conflict` if it lives (or another process was
    /// quicker), `NotFound` if nothing is in flight.
    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError>;

    /// Asks for a deployment to stop. `NotFound` if it is not in flight.
    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError>;

    /// The state of one workload; [`WorkloadState::unseen`] if the store does not know it.
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError>;

    /// The states of all workloads, and which of them cannot be read. Fails only if the store as a
    /// whole cannot be.
    async fn workloads(&self) -> Result<States, StoreError>;

    /// Changes what holds for a workload, by the rules of [`Settings`](super::Settings), if its
    /// state still has this version (0: it was never seen); `Stale` if not. Gives the new version.
    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError>;

    /// Gives up the deployment in flight, whose holder is dead, whatever its record and the
    /// workload's state look like: nothing is in flight afterwards, live is `Unknown`, and the
    /// state remembers who did it. A record that can still be read is settled as
    /// [`Abandonment::settlement`] says; one that cannot be is left as it is. `Conflict` if the
    /// holder lives, `NotFound` if nothing is in flight.
    async fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError>;

    /// Which history this is.
    async fn identity(&self) -> Result<Identity, StoreError>;

    /// Gives no deployment a sequence up to this one from now on: for a history that is behind what
    /// it once published.
    async fn advance(&self, past: Sequence) -> Result<(), StoreError>;

    /// For each text the ids that begin with it, or whose last, random part does: newest first, at
    /// most `limit`. An id that is the text comes first.
    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError>;

    /// [`find_each`](Self::find_each) for one text.
    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<DeploymentId>, StoreError> {
        let mut found = self.find_each(&[beginning], limit).await?;
        Ok(found.pop().unwrap_or_default())
    }

    /// One record; `None` if there is none of that id.
    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError>;

    /// Records, newest first by sequence.
    async fn list(&self, query: &Query) -> Result<Page, StoreError>;

    /// What the rules go by of a workload's records, newest first, at most `limit`: [`Summary::of`]
    /// each record that [`list`](Self::list) gives of it. Lists ask for it, so a store that knows
    /// it without reading whole records is faster; unless implemented, they are read.
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
    async fn stats(&self, query: &Query) -> Result<Stats, StoreError>;

    /// Adds to a record.
    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError>;

    /// Removes records for good; unknown ids are passed over. Refuses (`Conflict`, nothing
    /// removed) if one of them is live, in flight or pinned.
    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError>;

    /// Keeps deployments of a workload from beginning until the exclusion is dropped (or its
    /// process dies): for upkeep that must not meet one. `Conflict` while one is in flight, its
    /// holder dead or alive; `Busy` while somebody else excludes, which is also what `begin` and
    /// a second `exclude` say after a few seconds' patience.
    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError>;

    /// Reads everything and says what is wrong with it; empty when all is well. Changes nothing.
    /// Fails only if the store as a whole cannot be read.
    async fn verify(&self) -> Result<Vec<Fault>, StoreError>;
}
