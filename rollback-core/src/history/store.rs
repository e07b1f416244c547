//! [`HistoryStore`]: where deployments and workload states are kept.

use async_trait::async_trait;

use super::{
    Abandonment, Amendment, Begun, Exclusion, Finished, HistoryReader, Holder, Lease, Renewal,
    Sequence, Then, Trust, Version,
};
use crate::deployment::{Annotation, Opening, Settlement};
use crate::error::StoreError;
use crate::event::TimedEvent;
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::time::Timestamp;

/// Where deployments and workload states are kept: a [`HistoryReader`] that is written to.
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
/// - **Checked**: an event that [`Deployment::allows`](crate::deployment::Deployment::allows)
///   refuses is refused.
/// - **A holder is dead when it can act no more**, and not before: by proof where the store sees it
///   die (embedded stores: a kernel lock, [`Trust::WhileHeld`]), else when what it was
///   [granted](Trust::For) is over without a renewal. `begin`, `append`, `renew`, `take_over` and a
///   `finish` that opens a successor grant it anew, and say for how long. Writing under a lease that is over, and
///   that nobody has taken, may be refused or done: the epoch alone decides.
/// - One unreadable record hides no other, and one damaged workload no other.
/// - **What has begun can be ended**: room for the rest of a deployment is reserved at `begin`, so
///   that a disk that fills up meanwhile keeps it neither from going back nor from being settled;
///   `forget` needs no more room than is there.
/// - **What is not surely its own and surely dead is left** as it is, and said by `verify`.
///
/// # Errors of all writes
///
/// Beside the [errors of all questions](HistoryReader#errors-of-all-questions), any write may fail
/// with:
///
/// - [`Full`](crate::error::StoreErrorKind::Full): no space is left. Transient.
/// - [`ReadOnly`](crate::error::StoreErrorKind::ReadOnly): it was opened for reading, or may not be
///   written to.
/// - [`TooLarge`](crate::error::StoreErrorKind::TooLarge): more than [`MAX_RECORD`](super::MAX_RECORD) bytes.
///
/// The kinds that a method names the engine acts upon, so they must be these. Any other says that
/// the step could not be done: a run then stops and its record stays unfinished.
///
/// The conformance suite in `rollback-testkit` holds an implementation to this.
///
/// # What an implementor need not write
///
/// What every store checks and refuses alike is here, in one wording: a lease's [`Claim`](super::Claim),
/// a [`Finish`](super::Finish), [`WorkloadState::check_idle`](super::WorkloadState::check_idle) and
/// [`left_by_the_dead`](super::WorkloadState::left_by_the_dead),
/// [`check_version`](super::check_version), [`capped_json`](super::capped_json),
/// [`may_be_forgotten`](super::may_be_forgotten), `Deployment::annotated`, `Abandonment::settled`, and
/// the constructors of [`StoreError`]. `examples/custom_store` shows their use.
#[async_trait]
pub trait HistoryStore: HistoryReader {
    /// Opens a deployment and takes the lease, if the workload's state still has this version.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and:
    ///
    /// - [`Conflict`](crate::error::StoreErrorKind::Conflict), with [`StoreError::held`]: another
    ///   deployment is in flight, its holder dead or alive.
    /// - [`Busy`](crate::error::StoreErrorKind::Busy): somebody [excludes](Self::exclude), after a
    ///   few seconds' patience.
    /// - [`KeyTaken`](crate::error::StoreErrorKind::KeyTaken): a record of the workload has its
    ///   idempotency key.
    /// - [`Stale`](crate::error::StoreErrorKind::Stale): the version moved.
    /// - [`IllegalEvent`](crate::error::StoreErrorKind::IllegalEvent): there is a deployment of
    ///   this id.
    async fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError>;

    /// Adds events to the end of the record: all of them in one atomic step, or none. Not for `Settled`
    /// and `RolledBackBy`, which `finish` writes. What the record ends with already is not added again,
    /// so that a caller who did not hear the answer can ask again.
    ///
    /// It confirms the lease as [`renew`](Self::renew) does, and answers like it.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and:
    ///
    /// - [`Fenced`](crate::error::StoreErrorKind::Fenced): the lease's epoch is over.
    /// - [`IllegalEvent`](crate::error::StoreErrorKind::IllegalEvent): one of them cannot follow, or
    ///   is one that `finish` writes.
    async fn append(&self, lease: &Lease, events: &[TimedEvent]) -> Result<Renewal, StoreError>;

    /// Settles the deployment, states what is live, and frees the lease or opens the successor.
    /// `last` are the events before the settlement that are not on record yet; they are added in the
    /// same atomic step. The successor's timeline begins at the settlement's instant.
    ///
    /// The lease is over then, and free when this returns ([`Lease::end`]), unless something
    /// [keeps](Lease::keep) it: nobody has to wait until the caller drops it. Only the same `finish`
    /// again succeeds with it, and gives the same successor; everything else is `Fenced`. After an
    /// error it is what it was, and the caller can try again.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and:
    ///
    /// - [`Fenced`](crate::error::StoreErrorKind::Fenced): the lease's epoch is over, or it has
    ///   been finished in another way.
    /// - [`IllegalEvent`](crate::error::StoreErrorKind::IllegalEvent): the settlement cannot
    ///   follow; the successor exists already; the record that is to be amended is the settled one
    ///   itself; or that record, or the successor, is of another workload.
    /// - [`NotFound`](crate::error::StoreErrorKind::NotFound): the record that is to be amended is
    ///   not there.
    async fn finish(
        &self,
        lease: &Lease,
        last: &[TimedEvent],
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, StoreError>;

    /// Confirms that the lease still holds, for how long it does from now on, and whether somebody
    /// asked to stop. The engine asks again and again while a deployment runs.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`Fenced`](crate::error::StoreErrorKind::Fenced) if the lease's epoch is over. After any
    /// other error the lease is what it was.
    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError>;

    /// Takes the lease of a dead holder.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`Conflict`](crate::error::StoreErrorKind::Conflict) if the holder lives or another process
    /// was quicker, [`NotFound`](crate::error::StoreErrorKind::NotFound) if nothing is in flight.
    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError>;

    /// Asks for a deployment to stop: [`renew`](Self::renew) tells its holder.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`NotFound`](crate::error::StoreErrorKind::NotFound) if it is not in flight.
    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError>;

    /// Changes what holds for a workload, by the rules of [`Settings`](super::Settings), if its
    /// state still has this version (0: it was never seen). Gives the new version.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`Stale`](crate::error::StoreErrorKind::Stale) if it has not
    /// ([`check_version`](super::check_version)).
    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError>;

    /// Gives up the deployment in flight, whose holder is dead, whatever its record and the
    /// workload's state look like: nothing is in flight afterwards, live is `Unknown`, and the
    /// state remembers who did it. A record that can still be read is settled as
    /// [`Abandonment::settlement`] says; one that cannot be is left as it is.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`Conflict`](crate::error::StoreErrorKind::Conflict) if the holder lives,
    /// [`NotFound`](crate::error::StoreErrorKind::NotFound) if nothing is in flight.
    async fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError>;

    /// Gives no deployment a sequence up to this one from now on: for a history that is behind what
    /// it once published.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes).
    async fn advance(&self, past: Sequence) -> Result<(), StoreError>;

    /// Adds to a record. It needs no version to compare with: each annotation is a fact of its own, a
    /// note is added to those there are, and of two who pin and unpin, or mark and clear, the later one
    /// has the last word, as they would have said one after the other.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`NotFound`](crate::error::StoreErrorKind::NotFound) without such a record,
    /// [`TooLarge`](crate::error::StoreErrorKind::TooLarge) for one note more than a record takes.
    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError>;

    /// Removes records for good; unknown ids are passed over.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`Conflict`](crate::error::StoreErrorKind::Conflict), nothing removed, if one of them is
    /// live, in flight or pinned.
    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError>;

    /// Keeps deployments of a workload from beginning until it is [readmitted](Self::readmit), or the
    /// exclusion is over ([`Exclusion::trust`]): for upkeep that must not meet one.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`Conflict`](crate::error::StoreErrorKind::Conflict) while one is in flight, its holder dead
    /// or alive; [`Busy`](crate::error::StoreErrorKind::Busy) while somebody else excludes, after a
    /// few seconds' patience.
    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError>;

    /// Confirms that an exclusion still holds, and for how long it does from now on.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes), and
    /// [`Fenced`](crate::error::StoreErrorKind::Fenced) if it is over.
    async fn renew_exclusion(&self, exclusion: &Exclusion) -> Result<Trust, StoreError>;

    /// Lets deployments begin again, at once. An exclusion that is over already is passed over.
    ///
    /// # Errors
    ///
    /// As of [all writes](HistoryStore#errors-of-all-writes). The exclusion then ends by itself, as
    /// that of a dead process does.
    async fn readmit(&self, exclusion: Exclusion) -> Result<(), StoreError>;
}
