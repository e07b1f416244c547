//! [`Run`]: a handle on a deployment that runs by itself.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::context::{Cancellation, RolloutProgress, Said, TransferProgress};
use crate::deployment::Phase;
use crate::engine::Report;
use crate::error::{Error, ErrorKind};
use crate::id::DeploymentId;

/// How far a run is. Ephemeral; the timeline is in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The deployment that runs now; an automatic rollback has its own.
    pub deployment: DeploymentId,
    /// The phase that deployment is in, from its newest event.
    pub phase: Phase,
    /// The backend's newest line.
    pub line: String,
    /// How far the platform has rolled it out by itself, while it does.
    pub rollout: Option<RolloutProgress>,
    /// How much of what it fetches is here, while it does.
    pub transfer: Option<TransferProgress>,
}

/// What the engine and the handle share of a run.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    pub(crate) cancellation: Cancellation,
    pub(crate) phase: watch::Receiver<(DeploymentId, Phase)>,
    pub(crate) said: watch::Receiver<Said>,
}

impl Channels {
    /// Whether the run is still there, whose end closes them.
    pub(crate) fn are_open(&self) -> bool {
        self.phase.has_changed().is_ok()
    }

    pub(crate) fn progress(&self) -> Progress {
        let (deployment, phase) = self.phase.borrow().clone();
        let said = self.said.borrow().clone();
        Progress {
            deployment,
            phase,
            line: said.line,
            rollout: said.rollout,
            transfer: said.transfer,
        }
    }
}

/// A running deployment. `.await` it for the [`Report`]; drop it and the run goes on.
///
/// # Errors
///
/// A deployment that fails has a report. Awaited, it gives an error where there is none, and the record
/// is unfinished; [`recover`](crate::engine::RollbackEngine::recover) settles it:
///
/// - [`Interrupted`](ErrorKind::Interrupted): the platform was away for longer than the step may
///   take, the lease could not be renewed in time, something panicked, or the runtime was shut
///   down.
/// - [`Store`](ErrorKind::Store): it could not be recorded what it does, so it stopped;
///   [`Fenced`](crate::error::StoreErrorKind::Fenced): another process has taken the workload, and
///   settles it.
///
/// A handle that only [follows](crate::engine::RollbackEngine::attach) fails also where the record
/// cannot be read for minutes on end, or was removed ([`NotFound`](ErrorKind::NotFound)), and as
/// [`recover_forcing`](crate::engine::RollbackEngine::recover_forcing) where a dead process is
/// recovered for it. [`Interrupted`](ErrorKind::Interrupted) is then also what belongs to an older copy
/// of the workload's state, and nobody will settle.
#[derive(Debug)]
#[must_use = "the deployment runs by itself, but its report is lost"]
pub struct Run {
    pub(crate) id: DeploymentId,
    pub(crate) channels: Channels,
    pub(crate) task: JoinHandle<Result<Report, Error>>,
    /// What only follows a run ends with its handle.
    pub(crate) follows: Option<EndsWithRun>,
}

/// Ends a task that nobody waits for any more; not one that has to pass on that somebody wants a stop.
#[derive(Debug)]
pub(crate) struct EndsWithRun {
    pub(crate) task: AbortHandle,
    pub(crate) cancellation: Cancellation,
}

impl Drop for EndsWithRun {
    fn drop(&mut self) {
        if !self.cancellation.is_cancelled() {
            self.task.abort();
        }
    }
}

impl Run {
    /// The deployment's id; its intent is durable.
    pub fn id(&self) -> &DeploymentId {
        &self.id
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.channels.progress()
    }

    /// Whether it has ended, and awaiting it gives the report at once.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Asks it to stop. Until what is live has passed its gate, it goes back; afterwards it ends
    /// as if nobody had asked.
    pub fn cancel(&self) {
        self.channels.cancellation.cancel();
    }
}

impl IntoFuture for Run {
    type Output = Result<Report, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let _follows = self.follows;
            self.task.await.unwrap_or_else(|join| {
                Err(Error::new(
                    ErrorKind::Interrupted,
                    "the run ended before it was settled",
                )
                .on(&self.id)
                .advice("run recover; it observes, and finishes or goes back")
                .because(join))
            })
        })
    }
}
