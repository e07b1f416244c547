//! [`HistoryStore`]: where deployments and workload states are kept.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Begun, Exclusion, Finished, Hold, Holder, Lease, Page, Query, Renewal, Stats, StoredPolicy,
    Then, Version, WorkloadState,
};
use crate::deployment::{Annotation, Deployment, NewDeployment, Settlement};
use crate::error::StoreError;
use crate::event::TimedEvent;
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::time::Timestamp;

/// Largest record header or event that a store takes, in bytes of JSON: 1 MiB.
pub const MAX_RECORD: usize = 1024 * 1024;

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
/// - **Durable before it returns**: once `begin`, `append`, `finish`, `set_hold`, `set_policy`,
///   `annotate` or `request_cancel` has said `Ok`, no crash or power cut takes it back.
/// - **Atomic**: each is done or not done. After an error, nothing was changed, except that a
///   failed commit may turn out to be durable after all; repeating `append` or `finish` of the
///   *same* value with the same lease then succeeds and stores nothing twice.
/// - **Fenced**: `append`, `renew` and `finish` refuse a lease whose epoch is over
///   ([`StoreErrorKind::Fenced`](crate::error::StoreErrorKind::Fenced)).
/// - **Checked**: an event that [`Deployment::allows`] refuses is refused.
/// - A holder's death is judged by proof, never by age alone (embedded stores: a kernel lock).
/// - One unreadable record hides no other.
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
    /// On error the lease comes back, so that the caller can try again.
    async fn finish(
        &self,
        lease: Lease,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, (Lease, StoreError)>;

    /// Confirms that the lease still holds, and says whether somebody asked to stop.
    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError>;

    /// Takes the lease of a dead holder. `Conflict` if it lives (or another process was
    /// quicker), `NotFound` if nothing is in flight.
    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError>;

    /// Asks for a deployment to stop. `NotFound` if it is not in flight.
    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError>;

    /// The state of one workload; [`WorkloadState::unseen`] if the store does not know it.
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError>;

    /// The states of all workloads, by id.
    async fn workloads(&self) -> Result<Vec<WorkloadState>, StoreError>;

    /// Sets or lifts a hold.
    async fn set_hold(&self, workload: &WorkloadId, hold: Option<&Hold>) -> Result<(), StoreError>;

    /// Sets or clears the durable policy.
    async fn set_policy(
        &self,
        workload: &WorkloadId,
        policy: Option<&StoredPolicy>,
    ) -> Result<(), StoreError>;

    /// One record; `None` if there is none of that id.
    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError>;

    /// Records, newest first by sequence.
    async fn list(&self, query: &Query) -> Result<Page, StoreError>;

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
