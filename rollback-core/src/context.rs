//! [`Context`]: what every verb, check and task is given: a deadline, a cancellation, a place to
//! say how far it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{BackendError, BackendErrorKind};
use crate::history::{Fence, Keep};

/// A signal to stop, seen by everyone who holds a clone.
#[derive(Debug, Clone)]
pub struct Cancellation {
    tx: Arc<watch::Sender<bool>>,
}

impl Default for Cancellation {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancellation {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self {
            tx: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Gives the signal. It cannot be taken back.
    pub fn cancel(&self) {
        self.tx.send_replace(true);
    }

    /// Whether it has been given.
    pub fn is_cancelled(&self) -> bool {
        *self.tx.borrow()
    }

    /// Resolves when it is given.
    pub async fn cancelled(&self) {
        let mut rx = self.tx.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = rx.wait_for(|c| *c).await;
    }
}

/// How far a platform has rolled out a release by itself, in replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutProgress {
    /// So many are to run.
    pub desired: u32,
    /// So many of the new release run and answer.
    pub ready: u32,
    /// So many have for as long as the platform asks, and take traffic.
    pub available: u32,
}

impl RolloutProgress {
    /// Of `desired` replicas so many are ready, and so many available.
    pub fn new(desired: u32, ready: u32, available: u32) -> Self {
        Self {
            desired,
            ready,
            available,
        }
    }
}

impl fmt::Display for RolloutProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} ready, {} available",
            self.ready, self.desired, self.available
        )
    }
}

/// How much of an artifact has come, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TransferProgress {
    /// So many are here.
    pub done: u64,
    /// So many are to come in all, as far as is known yet: it grows while parts are found.
    pub total: u64,
}

impl TransferProgress {
    /// Of `total` bytes `done` are here.
    pub fn new(done: u64, total: u64) -> Self {
        Self { done, total }
    }
}

impl fmt::Display for TransferProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |bytes: u64| bytes / 100_000;
        let (done, total) = (tenths(self.done), tenths(self.total));
        write!(
            f,
            "{}.{} of {}.{} MB",
            done / 10,
            done % 10,
            total / 10,
            total % 10
        )
    }
}

/// What was said last of how far things are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Said {
    /// In one line, without secrets.
    pub line: String,
    /// The same of a rollout, in numbers, if it was of one.
    pub rollout: Option<RolloutProgress>,
    /// The same of what is fetched, if it was of that.
    pub transfer: Option<TransferProgress>,
}

/// Where progress goes. Ephemeral: never stored.
#[derive(Debug, Clone, Default)]
pub struct ProgressSink {
    tx: Option<Arc<watch::Sender<Said>>>,
}

impl ProgressSink {
    /// A sink and the end that reads what was said last.
    pub fn channel() -> (Self, watch::Receiver<Said>) {
        let (tx, rx) = watch::channel(Said::default());
        (
            Self {
                tx: Some(Arc::new(tx)),
            },
            rx,
        )
    }

    /// Says how far things are, in one line without secrets.
    pub fn say(&self, line: impl Into<String>) {
        self.send(Said {
            line: line.into(),
            ..Said::default()
        });
    }

    /// Says how far a rollout is.
    pub fn rolls_out(&self, progress: RolloutProgress) {
        self.send(Said {
            line: progress.to_string(),
            rollout: Some(progress),
            ..Said::default()
        });
    }

    /// Says how much of `what` has come, in one line without secrets and in numbers.
    pub fn transfers(&self, what: &str, progress: TransferProgress) {
        self.send(Said {
            line: format!("{what}: {progress}"),
            transfer: Some(progress),
            ..Said::default()
        });
    }

    fn send(&self, said: Said) {
        if let Some(tx) = &self.tx {
            tx.send_replace(said);
        }
    }
}

/// Deadline, cancellation and progress of one call, and by what right it acts.
///
/// As long as a clone of it lives, the lease under which it was made does too, whatever becomes of
/// the future and of the runtime: work that cannot be dropped, such as a blocking closure, **owns a
/// clone until it has ended**, so that nobody takes the workload over while it still acts.
#[derive(Debug, Clone)]
pub struct Context {
    keep: Option<Keep>,
    fence: Option<Arc<Fence>>,
    deadline: Instant,
    cancellation: Cancellation,
    progress: ProgressSink,
    steps: Option<Arc<AtomicUsize>>,
}

impl Context {
    /// A context that ends `timeout` from now.
    pub fn new(timeout: Duration) -> Self {
        Self {
            // A caller's Duration::MAX must not overflow the clock: 30 years will do.
            deadline: Instant::now() + timeout.min(Duration::from_secs(60 * 60 * 24 * 365 * 30)),
            cancellation: Cancellation::new(),
            progress: ProgressSink::default(),
            steps: None,
            keep: None,
            fence: None,
        }
    }

    /// The same, keeping this alive: [`Lease::keep`](crate::history::Lease::keep).
    #[must_use]
    pub fn keeping(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// The same for what only looks: it keeps no lease, so that a look that is given up, and never
    /// ends, holds up nobody.
    #[must_use]
    pub fn looking(&self) -> Self {
        Self {
            keep: None,
            fence: None,
            ..self.clone()
        }
    }

    /// The same with this fencing token.
    #[must_use]
    pub fn fenced(mut self, fence: Fence) -> Self {
        self.fence = Some(Arc::new(fence));
        self
    }

    /// The token to be kept at the target by what publishes there; `None` where nothing acts, or a
    /// test has set none.
    pub fn fence(&self) -> Option<&Fence> {
        self.fence.as_deref()
    }

    /// Refuses to publish where a later actor has: `published` is the token that is kept at the
    /// target. Ask while nobody else can publish there.
    ///
    /// # Errors
    ///
    /// [`Fenced`](BackendErrorKind::Fenced), untouched.
    pub fn may_publish(&self, published: Option<&Fence>) -> Result<(), BackendError> {
        match (self.fence(), published) {
            (Some(own), Some(published)) if !own.admits(published) => Err(BackendError::new(
                BackendErrorKind::Fenced,
                format!("{published} was published at the target since, and this is older"),
            )
            .on(own)
            .untouched()
            .advice(
                "if this history was restored from a backup, adopt what is live; otherwise \
                 another process has taken over, and nothing is left to do here",
            )),
            _ => Ok(()),
        }
    }

    /// The same with this cancellation.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The same with this sink.
    #[must_use]
    pub fn with_progress(mut self, progress: ProgressSink) -> Self {
        self.progress = progress;
        self
    }

    /// The same, cancelled at the `n`th [`check`](Self::check) from now (0: the first). With it a
    /// conformance suite stops a verb at every boundary between two of its effects.
    #[must_use]
    pub fn stopping_after(mut self, n: usize) -> Self {
        self.steps = Some(Arc::new(AtomicUsize::new(n)));
        self
    }

    /// The same, ending `timeout` from now if that is sooner.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        let mut inner = self.clone();
        inner.deadline = inner.deadline.min(Context::new(timeout).deadline);
        inner
    }

    /// For what has to be ended once it has begun: with a deadline of its own, and not cancelled
    /// with this one. Where a suite stops the verb ([`stopping_after`](Self::stopping_after)) still
    /// holds.
    #[must_use]
    pub fn detached(&self, timeout: Duration) -> Self {
        Self {
            steps: self.steps.clone(),
            keep: self.keep.clone(),
            fence: self.fence.clone(),
            ..Self::new(timeout).with_progress(self.progress.clone())
        }
    }

    /// When the call has to be over.
    pub fn deadline(&self) -> std::time::Instant {
        self.deadline.into_std()
    }

    /// How long is left; zero when it is over.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The signal to stop.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// Says how far things are.
    pub fn say(&self, line: impl Into<String>) {
        self.progress.say(line);
    }

    /// Says how far the platform's own rollout is.
    pub fn rolls_out(&self, progress: RolloutProgress) {
        self.progress.rolls_out(progress);
    }

    /// Says how much of `what` has come. A few times a second is enough.
    pub fn transfers(&self, what: &str, progress: TransferProgress) {
        self.progress.transfers(what, progress);
    }

    /// An error if the call should stop now. Call it between steps; its impact is `Unknown`
    /// until the caller says [`untouched`](BackendError::untouched).
    ///
    /// # Errors
    ///
    /// [`Cancelled`](BackendErrorKind::Cancelled) if it was cancelled,
    /// [`DeadlineExceeded`](BackendErrorKind::DeadlineExceeded) if its time is over.
    pub fn check(&self) -> Result<(), BackendError> {
        if let Some(steps) = &self.steps
            && steps
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_err()
        {
            self.cancellation.cancel();
        }
        if self.cancellation.is_cancelled() {
            return Err(BackendError::new(BackendErrorKind::Cancelled, "cancelled"));
        }
        if self.remaining().is_zero() {
            return Err(BackendError::new(
                BackendErrorKind::DeadlineExceeded,
                "the deadline passed before the step ended",
            ));
        }
        Ok(())
    }

    /// Waits for `d`, or until the call should stop, and then says so.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub async fn sleep(&self, d: Duration) -> Result<(), BackendError> {
        tokio::select! {
            () = self.cancellation.cancelled() => {}
            () = tokio::time::sleep(d.min(self.remaining())) => {}
        }
        self.check()
    }
}
