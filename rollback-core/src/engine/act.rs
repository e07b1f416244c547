//! How a run acts and writes down: effects under a deadline, events that are durable first.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::runner::{Runner, Step};
use crate::backend::{Evidence, Operation};
use crate::context::{Cancellation, Context};
use crate::error::{BackendError, BackendErrorKind, Error, ErrorKind, LiveImpact, StoreError};
use crate::event::{Cause, Event, TimedEvent};
use crate::guard::Notice;
use crate::health::tail;
use crate::history::{Lease, Renewal};
use crate::policy::Deadlines;

/// How often the store is asked whether another process wants this one to stop.
const POLL: Duration = Duration::from_millis(500);

/// How long an effect may take, and whether a cancellation reaches into it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    timeout: Duration,
    cancellable: bool,
}

impl Runner {
    pub(super) fn deadlines(&self) -> Deadlines {
        self.deployment.new_deployment().policy.deadlines.clone()
    }

    pub(super) fn limits(&self, timeout: Duration, cancellable: bool) -> Limits {
        Limits {
            timeout,
            cancellable,
        }
    }

    /// Carries out one effect. Its future is never dropped half-way: at the deadline, or when
    /// cancelled, it is told to stop, and waited for.
    pub(super) async fn act<T, F>(
        &self,
        limits: Limits,
        effect: impl FnOnce(Context) -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let stop = Cancellation::new();
        let cx = Context::new(limits.timeout)
            .with_cancellation(stop.clone())
            .with_progress(self.progress.clone());
        let deadline = cx.deadline();
        let mut effect = pin!(effect(cx));
        let mut told_elsewhere = pin!(self.told_elsewhere());
        let mut overran = false;
        loop {
            let told = stop.is_cancelled();
            tokio::select! {
                biased;
                result = &mut effect => return result.map_err(|e| in_time(e, overran)),
                () = tokio::time::sleep_until(deadline), if !told => {
                    overran = true;
                    stop.cancel();
                }
                () = self.cancellation.cancelled(), if limits.cancellable && !told => stop.cancel(),
                () = &mut told_elsewhere, if limits.cancellable && !told => {
                    self.cancellation.cancel();
                    stop.cancel();
                }
            }
        }
    }

    /// Until another process has asked this one to stop.
    async fn told_elsewhere(&self) {
        loop {
            tokio::time::sleep(POLL).await;
            // A store that does not answer now is asked again, and before the next effect anyway.
            if let Ok(Renewal {
                cancel_requested_by: Some(_),
            }) = self.renew().await
            {
                return;
            }
        }
    }

    /// Makes `op.to` live, restart hooks included. Once begun it is not cancelled half-way: it
    /// ends, and then it is undone.
    pub(super) async fn switch_to(&self, op: Operation) -> Result<Evidence, BackendError> {
        let trigger = self.deployment.trigger().kind();
        let backend = Arc::clone(&self.workload.backend);
        let restarts = self.workload.restarts.clone();
        let limits = self.limits(self.deadlines().switch, false);
        self.act(limits, |cx| async move {
            let evidence = backend.switch(&cx, &op).await?;
            for restart in restarts.iter().filter(|r| r.runs_on(trigger)) {
                cx.say(format!("restart: {}", restart.name()));
                restart.restart(&cx, &op).await.map_err(|why| {
                    BackendError::new(
                        BackendErrorKind::Failed,
                        format!("restart {} failed: {why}", restart.name()),
                    )
                })?;
            }
            Ok(evidence)
        })
        .await
    }

    /// What turned an effect's error into a way back.
    pub(super) fn cause_of(&self, error: &BackendError) -> Cause {
        if error.kind() == BackendErrorKind::Cancelled && self.cancellation.is_cancelled() {
            Cause::Cancelled { by: None }
        } else {
            Cause::StepFailed {
                error: tail(error.to_string()),
            }
        }
    }

    /// Confirms the lease right before an effect. If somebody asked to stop: the way back.
    pub(super) async fn stop_before_effect(&mut self) -> Result<Option<Step>, Error> {
        let renewal = self.confirm().await?;
        let by = renewal.cancel_requested_by;
        if by.is_some() || self.cancellation.is_cancelled() {
            return self.go_back(Cause::Cancelled { by }).await.map(Some);
        }
        Ok(None)
    }

    /// Confirms the lease right before an effect.
    pub(super) async fn confirm(&self) -> Result<Renewal, Error> {
        let mut tried = 0;
        loop {
            match self.renew().await {
                Ok(renewal) => return Ok(renewal),
                Err(e) if e.is_transient() && tried < 3 => {
                    tokio::time::sleep(Duration::from_millis(25 << tried)).await;
                    tried += 1;
                }
                Err(e) => return Err(self.unrecorded(e)),
            }
        }
    }

    async fn renew(&self) -> Result<Renewal, StoreError> {
        match &self.lease {
            Some(lease) => self.inner.store.renew(lease).await,
            None => Ok(Renewal {
                cancel_requested_by: None,
            }),
        }
    }

    /// Makes an event durable, then true.
    pub(super) async fn journal(&mut self, event: Event) -> Result<(), Error> {
        self.deployment.allows(&event).map_err(|e| {
            Error::new(ErrorKind::Interrupted, e.to_string())
                .advice("report this as a bug; recover settles the deployment")
        })?;
        let timed = TimedEvent {
            at: self.inner.clock.now(),
            event,
        };
        let mut tried = 0;
        loop {
            let lease: &Lease = self.lease.as_ref().ok_or_else(|| self.no_lease())?;
            match self.inner.store.append(lease, &timed).await {
                Ok(()) => break,
                // The same value again: a store that had kept it keeps it once.
                Err(e) if e.is_transient() && tried < 3 => {
                    tokio::time::sleep(Duration::from_millis(25 << tried)).await;
                    tried += 1;
                }
                Err(e) => return Err(self.unrecorded(e)),
            }
        }
        self.deployment.apply(timed.clone()).map_err(|e| {
            Error::new(ErrorKind::Interrupted, e.to_string()).advice("report this as a bug")
        })?;
        self.announce(Some(timed));
        Ok(())
    }

    /// Tells subscribers; `None`: the deployment was opened.
    pub(super) fn announce(&self, event: Option<TimedEvent>) {
        self.phase
            .send_replace((self.deployment.id().clone(), self.deployment.phase()));
        self.inner.observing.tell(Notice {
            workload: self.deployment.workload().clone(),
            deployment: self.deployment.id().clone(),
            sequence: self.deployment.sequence(),
            trigger: self.deployment.trigger().kind(),
            event,
        });
    }

    pub(super) fn release_name(&self) -> String {
        self.deployment
            .operation()
            .to
            .release()
            .map_or_else(|| "nothing".to_owned(), ToString::to_string)
    }

    /// The run stops because the platform does not let it go on; recovery will.
    pub(super) fn stopped(&self, e: &BackendError) -> Error {
        Error::new(
            ErrorKind::Interrupted,
            format!(
                "the deployment stopped while {}: {e}",
                self.deployment.phase()
            ),
        )
        .on(self.deployment.id())
        .advice("run recover when the platform answers; it finishes or goes back")
    }

    /// The run stops because it may not act without writing it down.
    pub(super) fn unrecorded(&self, e: StoreError) -> Error {
        Error::from(e).on(self.deployment.id()).advice(format!(
            "the deployment stopped while {}; run recover when the store answers",
            self.deployment.phase()
        ))
    }

    pub(super) fn no_lease(&self) -> Error {
        Error::new(ErrorKind::Interrupted, "the run has no lease")
            .on(self.deployment.id())
            .advice("report this as a bug")
    }
}

/// An effect that was told to stop because its time was over says that it was cancelled; what
/// happened is that it took too long, and trying again may help.
fn in_time(e: BackendError, overran: bool) -> BackendError {
    if !overran || e.kind() != BackendErrorKind::Cancelled {
        return e;
    }
    let late = BackendError::new(BackendErrorKind::DeadlineExceeded, "it took too long");
    let late = match e.impact() {
        LiveImpact::Untouched => late.untouched(),
        LiveImpact::Unknown => late,
    };
    late.because(e)
}
