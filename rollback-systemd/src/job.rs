//! Jobs: asked for under the lock, and followed to their end.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::error::bus_error;
use crate::lock::Held;
use crate::manager::Bus;
use crate::state::UnitState;

/// Between two looks at a job whose end may have been said while nobody listened.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Restart,
    Stop,
}

impl Job {
    /// Whether this is how it leaves a unit.
    fn leaves(self, state: &UnitState) -> bool {
        match self {
            Self::Restart => state.active == "active" || state.rests(),
            Self::Stop => matches!(state.active.as_str(), "inactive" | "failed"),
        }
    }
}

impl Bus {
    /// Restarts the unit and follows the job to its end. The lock is held until the manager has
    /// the job: nobody else can put another file in place before it. How the unit is then.
    pub(crate) async fn restart(
        &self,
        cx: &Context,
        held: Held,
    ) -> Result<UnitState, BackendError> {
        // A unit that crashed in a loop has used up its starts; a rollback must not be refused
        // for what the release before it did.
        self.reset_failed().await?;
        // At best: without it a oneshot that is done shows only that it did not fail.
        let _ = self.remember().await;
        self.job(cx, Job::Restart, held).await
    }

    /// Stops the unit and follows the job to its end.
    pub(crate) async fn stop(&self, cx: &Context, held: Held) -> Result<(), BackendError> {
        self.job(cx, Job::Stop, held).await?;
        self.reset_failed().await
    }

    async fn job(&self, cx: &Context, job: Job, held: Held) -> Result<UnitState, BackendError> {
        let manager = self.manager().await?;
        let fail = |e| bus_error("the unit's job could not be started", e);
        manager.subscribe().await.map_err(fail)?;
        // Listening begins before the job does: a quick one would be over before we look.
        let removed = manager.receive_job_removed().await.map_err(fail)?;
        let path = match job {
            Job::Restart => manager.restart_unit(self.unit.as_str(), "replace").await,
            Job::Stop => manager.stop_unit(self.unit.as_str(), "replace").await,
        }
        .map_err(fail)?;
        drop(held);
        let ends = removed.filter_map(|signal| {
            let args = signal.args().ok();
            let ours = args.filter(|args| args.job == path);
            std::future::ready(ours.map(|args| args.result.clone()))
        });
        // A stream that ends has lost its connection: the job goes on without us.
        let mut ends = std::pin::pin!(ends.chain(stream::pending()));
        let told = async {
            loop {
                tokio::select! {
                    biased;
                    Some(result) = ends.next() => return Ok(Some(result)),
                    () = tokio::time::sleep(LOOK) => {
                        if self.is_over(path.as_str()).await? {
                            return Ok(None);
                        }
                    }
                }
            }
        };
        let result = tokio::time::timeout(cx.remaining(), told)
            .await
            .map_err(|_| {
                BackendError::new(Kind::DeadlineExceeded, "the unit's job did not end in time")
                    .on(&self.unit)
                    .advice("look at the unit's start and stop timeouts")
            })??;
        // What follows needs a connection that is not lost.
        let state = self.looked().await;
        let result = match result {
            Some(result) => result,
            // Its end was said while nobody listened: the unit itself shows what it came to.
            None if state.as_ref().is_ok_and(|s| job.leaves(s)) => return state,
            None => "one that nobody heard of".to_owned(),
        };
        match result.as_str() {
            "done" | "skipped" => state,
            other => {
                let why = state.map(|s| s.describe()).unwrap_or_default();
                let kind = if self.is_stopping().await.unwrap_or(false) {
                    Kind::Unreachable
                } else {
                    Kind::Failed
                };
                Err(
                    BackendError::new(kind, format!("the unit's job ended as {other}: {why}"))
                        .on(&self.unit)
                        .advice("look at the unit's journal"),
                )
            }
        }
    }

    /// Whether the unit's job is another one by now, or none. While the bus is away nobody knows.
    async fn is_over(&self, job: &str) -> Result<bool, BackendError> {
        match self.looked().await {
            Ok(state) => Ok(state.job.as_deref() != Some(job)),
            Err(e) if e.is_transient() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The unit's state, by a new connection if this one is lost.
    pub(crate) async fn looked(&self) -> Result<UnitState, BackendError> {
        match self.state().await {
            Err(e) if e.is_transient() => {
                self.reconnect().await?;
                self.state().await
            }
            state => state,
        }
    }
}
