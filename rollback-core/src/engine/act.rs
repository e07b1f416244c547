//! How a run acts: effects under a deadline and under its lease, on the way forward and back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::effect::{Told, to_its_end};
use super::patience::Patience;
use super::runner::{Runner, Step};
use crate::backend::{Evidence, Operation, Rollout};
use crate::context::{Cancellation, Context};
use crate::deployment::{Phase, TriggerKind};
use crate::error::{BackendError, BackendErrorKind, Chain, Error, LiveImpact};
use crate::event::Cause;
use crate::health::tail;
use crate::history::Fence;
use crate::policy::Deadlines;

/// A future that an effect is.
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long an effect may take, and whether a cancellation reaches into it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    timeout: Duration,
    cancellable: bool,
}

/// Why an effect of the forward path was given up.
pub(super) enum Failed {
    /// For this error; whether it was insisted on.
    For(BackendError, bool),
    /// Something is live that this deployment does not know.
    Foreign,
}

impl Runner {
    pub(super) fn deadlines(&self) -> Deadlines {
        self.deployment.opening().policy.deadlines.clone()
    }

    /// An automatic rollback is a way back, and ways back are not cancelled: what is known to be sick
    /// would be live again.
    ///
    /// Nor is what recovery finishes of a group that went live: it would go back alone.
    pub(super) fn is_cancellable(&self) -> bool {
        self.deployment.trigger().kind() != TriggerKind::AutomaticRollback && !self.is_decided()
    }

    pub(super) fn limits(&self, timeout: Duration, cancellable: bool) -> Limits {
        Limits {
            timeout,
            cancellable: cancellable && self.is_cancellable(),
        }
    }

    /// The token that this run publishes with.
    pub(super) fn fence(&self) -> Fence {
        let lease = self.tenure.held();
        lease.fence(&self.identity, self.deployment.sequence())
    }

    /// What an effect is given: it keeps the lease's holder alive until it has ended, whatever
    /// becomes of this run.
    fn context(&self, timeout: Duration, stop: &Cancellation) -> Context {
        Context::new(timeout)
            .with_cancellation(stop.clone())
            .with_progress(self.progress.clone())
            .fenced(self.fence())
            .keeping(self.tenure.keep())
    }

    /// Carries out one effect. Its future is never dropped half-way: at the deadline, when cancelled,
    /// or when the lease is over, it is told to stop, and waited for. A panic in it is a failure.
    ///
    /// The outer error: the lease is over, and nothing may follow.
    pub(super) async fn act<T, F>(
        &self,
        limits: Limits,
        effect: impl FnOnce(Context) -> F,
    ) -> Result<Result<T, BackendError>, Error>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let room = match self.seat() {
            Some(seat) => seat.room().await,
            None => None,
        };
        // Its group may have turned round while it waited for room.
        if room.is_some() && self.cancellation.is_cancelled() && !self.deployment.has_agreed() {
            let stopped = BackendError::new(BackendErrorKind::Cancelled, "cancelled");
            return Ok(Err(stopped.untouched()));
        }
        self.holds()?;
        let stop = Cancellation::new();
        let cx = self.context(limits.timeout, &stop);
        let told = async {
            tokio::select! {
                _ = self.tenure.over() => Told::Over,
                () = self.cancellation.cancelled(), if limits.cancellable => Told::Cancelled,
                () = self.tenure.cancel_requested(), if limits.cancellable => Told::Cancelled,
            }
        };
        let (result, told) = to_its_end(cx, stop, effect, told).await;
        if told == Some(Told::Cancelled) {
            self.cancellation.cancel();
        }
        self.holds()?;
        Ok(result)
    }

    /// Makes `op.to` live, restart hooks included, on the way back.
    pub(super) async fn switch_to(
        &self,
        op: Operation,
    ) -> Result<Result<Evidence, BackendError>, Error> {
        self.act(self.switch_limits(false), self.switching(op))
            .await
    }

    /// How long a switch may take. Once begun it is not cancelled half-way: it ends, and then it is
    /// undone. But of what the platform rolls out by itself nothing is torn by being left, and
    /// nobody waits for a rollout that is to be undone.
    fn switch_limits_of(&self) -> (Duration, bool) {
        let deadlines = self.deadlines();
        match self.deployment.prepared().map(|prepared| prepared.rollout) {
            Some(Rollout::Managed) => (deadlines.rollout, true),
            _ => (deadlines.switch, false),
        }
    }

    pub(super) fn switch_limits(&self, forward: bool) -> Limits {
        let (timeout, cancellable) = self.switch_limits_of();
        self.limits(timeout, cancellable && forward)
    }

    /// How long a switch may take, and is insisted on while the platform is away.
    pub(super) fn switch_deadline(&self) -> Duration {
        self.switch_limits_of().0
    }

    /// The effect that makes `op.to` live.
    pub(super) fn switching(
        &self,
        op: Operation,
    ) -> impl Fn(Context) -> BoxFuture<Result<Evidence, BackendError>> + use<> {
        let trigger = self.deployment.trigger().kind();
        let backend = Arc::clone(&self.workload.backend);
        let restarts = self.workload.restarts.clone();
        move |cx| {
            let (backend, restarts, op) = (Arc::clone(&backend), restarts.clone(), op.clone());
            Box::pin(async move {
                let evidence = backend.switch(&cx, &op).await?;
                for restart in restarts.iter().filter(|r| r.runs_on(trigger)) {
                    cx.say(format!("restart: {}", restart.name()));
                    let hook = || format!("restart {}", restart.name());
                    // A platform that took all of the time has left none for a hook to fail in.
                    cx.check()?;
                    let restarted = restart.restart(&cx, &op).await;
                    restarted.map_err(|e| e.in_step(&hook(), LiveImpact::Unknown))?;
                }
                Ok(evidence)
            })
        }
    }

    /// What follows a step that failed: the way back. But who was fenced off is not the one to go
    /// back either.
    pub(super) async fn failed(&mut self, error: BackendError) -> Result<Step, Error> {
        match error.kind() {
            BackendErrorKind::Fenced => self.fenced(&error).await,
            _ if self.is_decided() && error.is_transient() => Err(self.stopped(error)),
            _ => self.go_back(self.cause_of(&error)).await,
        }
    }

    /// A later actor has published at the target. If the lease is over too, its holder settles this.
    /// If not, the history is behind what is live: it is left alone.
    pub(super) async fn fenced(&self, error: &BackendError) -> Result<Step, Error> {
        self.confirm().await?;
        tracing::warn!(deployment = %self.deployment.id(), error = %Chain::of(error), "fenced off at the target");
        Ok(self.leave())
    }

    /// Carries out an effect of the forward path. An automatic rollback is a way back: it insists,
    /// as every way back does, and looks before each new try.
    pub(super) async fn act_forward<T, F>(
        &self,
        limits: Limits,
        effect: impl Fn(Context) -> F,
    ) -> Result<Result<T, Failed>, Error>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let mut patience = Patience::of(limits.timeout);
        loop {
            let mut error = match self.act(limits, &effect).await? {
                Ok(done) => return Ok(Ok(done)),
                Err(e) => e,
            };
            // Never acts blind: a look that fails is a failed try.
            loop {
                let insists = !self.is_cancellable()
                    && !matches!(
                        error.kind(),
                        BackendErrorKind::Cancelled | BackendErrorKind::Fenced
                    );
                // Who has lost a race for an update runs it again.
                let raced = error.kind() == BackendErrorKind::Conflict && error.is_transient();
                if !(insists || raced) || !patience.tries_again(&error, &self.progress).await {
                    return Ok(Err(Failed::For(error, insists)));
                }
                if self.cancellation.is_cancelled() && limits.cancellable {
                    let stopped = BackendError::new(BackendErrorKind::Cancelled, "cancelled");
                    return Ok(Err(Failed::For(stopped.because(error), false)));
                }
                match self.sees_foreign().await {
                    Ok(true) => return Ok(Err(Failed::Foreign)),
                    Ok(false) => break,
                    Err(e) => error = e,
                }
            }
        }
    }

    /// What follows the failure of an effect of the forward path.
    pub(super) async fn after(&mut self, failed: Failed) -> Result<Step, Error> {
        match failed {
            Failed::Foreign => Ok(self.leave()),
            // It was insisted on, and the platform is away: going back would need it as well.
            Failed::For(error, true) if error.is_transient() => Err(self.stopped(error)),
            Failed::For(error, _) => {
                // What did not come up may say why. What was stopped has nothing to say.
                let phase = self.deployment.phase();
                let stopped = error.kind() == BackendErrorKind::Cancelled;
                let fenced = error.kind() == BackendErrorKind::Fenced;
                if matches!(phase, Phase::Starting | Phase::Switching) && !stopped && !fenced {
                    self.diagnose(Vec::new()).await?;
                }
                self.failed(error).await
            }
        }
    }

    /// What turned an effect's error into a way back.
    pub(super) fn cause_of(&self, error: &BackendError) -> Cause {
        if error.kind() == BackendErrorKind::Cancelled && self.cancellation.is_cancelled() {
            Cause::Cancelled { by: None }
        } else {
            Cause::StepFailed {
                error: tail(Chain::of(error).to_string()),
            }
        }
    }
}
