//! [`Backend`]: the verbs through which the engine acts on a platform.

mod address;
mod observation;
mod operation;
mod place;
mod preflight;
mod prepared;
mod shared;

use std::fmt;

use async_trait::async_trait;

use crate::context::Context;
use crate::diagnosis::Words;
use crate::error::BackendError;
use crate::health::View;
use crate::id::{BackendKind, WorkloadId};
use crate::release::{Release, Restore};

pub use address::{Address, Addresses};
pub use observation::{Availability, Live, Observation, RollingOut, Running, Sighting};
pub use operation::{End, Handle, Instance, Operation, Reuse, Tasks};
pub use place::Place;
pub use preflight::Preflight;
pub use prepared::{Evidence, Prepared, Rollout, Started, WayBack};

/// A platform that can make releases live. One backend value serves one workload.
///
/// # What an implementor promises
///
/// To ensure correctness, and held to it by the conformance suite in `rollback-testkit`:
///
/// - **Idempotent and convergent.** Every verb may be called again after success, after failure
///   and after a crash at any instant inside it, and ends in the same state.
/// - **`prepare` never touches what is live**, and everything that can fail, fails there.
/// - **What only looks has no side effect** and never decides: `resolve`, `observe`,
///   `availability`, `preflight`, `health`, `diagnose`, `configured`. The engine may give such a call up, and
///   drop it.
/// - **After an error**, [`BackendError::impact`] is `Untouched` only if that is certain: always for
///   what only looks, and for `prepare`.
/// - **A platform that does not answer is
///   [`Unreachable`](crate::error::BackendErrorKind::Unreachable)**: transient, and `Untouched` where
///   nothing was begun. It has lost nothing: what is not seen for it is neither `Nothing` nor `Gone`.
/// - **A lost race for an update is [`Conflict`](crate::error::BackendErrorKind::Conflict)**:
///   transient. What stands in the way until a person moves it is not:
///   [`transient(false)`](BackendError::transient).
/// - **Cancellation and deadline** in [`Context`] are honoured between steps, and no work goes on
///   in the background after the future has resolved. The engine never drops the future of a verb
///   that acts half-way; it signals and waits.
/// - **An effect never outlives its lease**: what may act on after its future was dropped (a
///   blocking closure) owns a clone of the [`Context`] until it has ended.
/// - **Fenced**: what publishes (`switch`, `retire` where it stops anything) keeps
///   [`Context::fence`] at the target, in one step with what it does, and first asks
///   [`Context::may_publish`].
/// - **What it does not know it leaves**: no verb stops, moves or deletes anything but the ends of the
///   operation, what its own deployment made, and what an earlier deployment of the same history
///   (a smaller [`Operation::sequence`]) left. What somebody else, or a later deployment, has put in
///   place stays.
/// - **No secret** in a place, release, handle, address, evidence, progress line or error, and none
///   echoed: an error repeats no more than the head of what it was given.
///
/// # Errors of all verbs
///
/// The engine acts upon the kind, the [impact](BackendError::impact) and whether it is
/// [transient](BackendError::is_transient):
///
/// - [`Unreachable`](crate::error::BackendErrorKind::Unreachable),
///   [`Locked`](crate::error::BackendErrorKind::Locked), transient: a step that insists (a way
///   back, putting away) is tried again for as long as it may take, and then the run stops and is
///   recovered. On its way forward a deployment goes back.
/// - [`Conflict`](crate::error::BackendErrorKind::Conflict), transient: the step is run again, in
///   either direction.
/// - [`Cancelled`](crate::error::BackendErrorKind::Cancelled) and
///   [`DeadlineExceeded`](crate::error::BackendErrorKind::DeadlineExceeded): as [`Context::check`]
///   says.
/// - [`Fenced`](crate::error::BackendErrorKind::Fenced): as [`Context::may_publish`] says. Nothing is
///   tried again, and nothing goes back.
/// - [`Unauthorized`](crate::error::BackendErrorKind::Unauthorized),
///   [`Denied`](crate::error::BackendErrorKind::Denied),
///   [`Exhausted`](crate::error::BackendErrorKind::Exhausted),
///   [`Unsupported`](crate::error::BackendErrorKind::Unsupported),
///   [`Corrupt`](crate::error::BackendErrorKind::Corrupt), and
///   [`Failed`](crate::error::BackendErrorKind::Failed) for what is none of these: a person has to
///   act. On its way forward a deployment goes back; a way back gives up after three tries.
///
/// # What the engine promises
///
/// - Order: `prepare → [start → gate] → switch → gate → retire`. Going back: `retire` of the
///   reversed operation before `switch`; `switch` then `retire` of it afterwards.
/// - One operation at a time per workload; the lease is checked right before each effect.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// The backend's name in records.
    fn kind(&self) -> BackendKind;

    /// The workload that it serves.
    fn workload(&self) -> &WorkloadId;

    /// Where it makes that workload live. No other workload of one engine has the same place.
    fn place(&self) -> Place;

    /// How releases are brought up, as far as is known before `prepare`, whose
    /// [`Prepared::rollout`] is what counts.
    fn rollout(&self) -> Rollout;

    /// What a rollback restores on this platform unless asked otherwise.
    fn default_restore(&self) -> Restore;

    /// Resolves a reference (tag, branch, unit source) to a release, once.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs), and
    /// [`NotFound`](crate::error::BackendErrorKind::NotFound) for what is well formed and names
    /// nothing, [`InvalidReference`](crate::error::BackendErrorKind::InvalidReference) for what
    /// cannot be a reference, empty and garbled text included.
    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError>;

    /// Looks at what is live, and at the token of who published last, once.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs).
    /// [`Unsupported`](crate::error::BackendErrorKind::Unsupported) where nothing can be asked
    /// there: a clean-up then takes it that nothing was published.
    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError>;

    /// How near a candidate is. An instance with an unknown place is asked about as
    /// [`End::Planned`]. `Gone` only if that is certain: `prepare` of it would fail.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs). A release that is no more is no error, but
    /// [`Availability::Gone`].
    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError>;

    /// What a person should know before anything moves: what `prepare` or `switch` would meet (a full
    /// disk, a port that is taken, a registry that wants a login), and what the swap means for others.
    /// Asked for each plan, which warns of it; it refuses nothing, for what it saw may have changed when
    /// the plan is carried out. Unless a backend says otherwise there is nothing to say.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs): the plan says that nothing could be seen, and is
    /// made all the same.
    async fn preflight(
        &self,
        _: &Context,
        _from: &End,
        _to: &End,
    ) -> Result<Preflight, BackendError> {
        Ok(Preflight::default())
    }

    /// Does everything that can fail without touching what is live. `op.to` is `Planned`, or
    /// `Placed` when history knows an instance that may still stand there: reuse it if it does
    /// and is intact, place the release anew if not. A release with an intact standby of the
    /// same digest is reused as well. What is placed has the digest of what was planned.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs), and
    /// [`Gone`](crate::error::BackendErrorKind::Gone) or
    /// [`NotFound`](crate::error::BackendErrorKind::NotFound) for an artifact that is no more. What is
    /// live was not touched.
    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError>;

    /// [`Rollout::Beside`] only: `op.to` runs, without traffic, and this is where it answers.
    /// Others succeed and do nothing.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs); the deployment goes back.
    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError>;

    /// `op.to` becomes live, restarts included. To `Nothing`: nothing is live afterwards.
    /// [`Rollout::Managed`] waits until the platform has rolled it out, says how far it is
    /// ([`Context::rolls_out`]), and goes on with what is under way already. Cancelled, it leaves the
    /// platform at it: the reversed operation follows.
    /// Called again when `op.to` already is live by this deployment's doing, it does not
    /// restart it.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs), and
    /// [`Fenced`](crate::error::BackendErrorKind::Fenced), `Untouched`, where a later actor has
    /// published. Of a switch back that is refused for good, `Untouched` says that what it was to
    /// replace still runs; without it the engine does not rely on that.
    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError>;

    /// Only `op.to` runs; `op.from` is kept as standby. What this deployment created and never
    /// made live (half-made included, so `op.from` may be `Planned`) is removed.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs), and
    /// [`Fenced`](crate::error::BackendErrorKind::Fenced), `Untouched`, where a later actor has
    /// published. A deployment that went live and is not put away for good ends as degraded.
    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError>;

    /// The platform's own view of an instance, looked at once: what has to run for a while is
    /// [`View::NotYet`] until it has, counted from its own start.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs). An instance that has failed, or is not
    /// there, is no error, but a [`View`].
    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError>;

    /// What the platform has to say of an instance that failed: how it ended, how often it was
    /// restarted, what it said last. Asked before it is touched; looked at once, without secrets.
    /// Unless a backend says otherwise there is nothing to say.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs): it is noted in the diagnosis that nothing is
    /// known, and is in nobody's way.
    async fn diagnose(&self, _: &Context, _: &Instance) -> Result<Words, BackendError> {
        Ok(Words::default())
    }

    /// What is live as today's configuration would have it: `live`'s artifact with the facets that
    /// the program has configured *now*, which need not be those that are live. What the
    /// configuration says nothing about is as it is in `live`. `None`: this backend is configured
    /// by its references alone, and what is live is today's configuration.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs).
    async fn configured(
        &self,
        cx: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError>;

    /// Keeps exactly these instances' releases and what is live reachable; what this backend
    /// made beyond them may go. Never removes what it did not make.
    ///
    /// # Errors
    ///
    /// As of [all verbs](Backend#errors-of-all-verbs). A deployment does not fail for it: the next
    /// one lets go what is left.
    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError>;
}
