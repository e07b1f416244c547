//! How a run acts and writes down: effects under a deadline, events that are durable first.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use super::caught::caught;
use super::patience::Patience;
use super::retry::Retry;
use super::runner::{Runner, Step};
use super::tenure::Over;
use crate::backend::{Evidence, Operation, Rollout};
use crate::context::{Cancellation, Context};
use crate::deployment::{Phase, TriggerKind};
use crate::error::{
    BackendError, BackendErrorKind, Chain, Error, ErrorKind, LiveImpact, StoreError, StoreErrorKind,
};
use crate::event::{Cause, Event, TimedEvent};
use crate::guard::Notice;
use crate::health::tail;
use crate::history::{Fence, Renewal};
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

/// Why an effect is told to stop before its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Somebody wants what it is part of to stop.
    Cancelled,
    /// What it acts under is over: nothing follows it, whatever comes of it.
    Over,
}

/// Tells an effect to stop when whoever waits for it is gone: with its runtime, a run is dropped in
/// the middle, and what blocks goes on without it.
struct StopOnDrop(Cancellation);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Runner {
    pub(super) fn deadlines(&self) -> Deadlines {
        self.deployment.opening().policy.deadlines.clone()
    }

    /// An automatic rollback is a way back, and ways back are not cancelled: what is known to be sick
    /// would be live again.
    pub(super) fn is_cancellable(&self) -> bool {
        self.deployment.trigger().kind() != TriggerKind::AutomaticRollback
    }

    pub(super) fn limits(&self, timeout: Duration, cancellable: bool) -> Limits {
        Limits {
            timeout,
            cancellable: cancellable && self.is_cancellable(),
        }
    }

    /// The token that this run publishes with.
    pub(super) fn fence(&self) -> Fence {
        Fence::of(
            &self.identity,
            self.tenure.held(),
            self.deployment.sequence(),
        )
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

    /// An error if the lease is over: then nothing is done and nothing is written any more. What is
    /// unfinished is another process's.
    pub(super) fn holds(&self) -> Result<(), Error> {
        self.tenure.holds().map_err(|over| self.over(over))
    }

    /// What the store says, unless the lease is over first.
    pub(super) async fn in_time<A>(&self, answer: impl Future<Output = A>) -> Result<A, Error> {
        let answer = self.tenure.in_time(answer).await;
        answer.map_err(|over| self.over(over))
    }

    fn over(&self, over: Over) -> Error {
        let phase = self.deployment.phase();
        match over {
            Over::Fenced => Error::new(
                ErrorKind::Store(StoreErrorKind::Fenced),
                format!("another process took the workload, and this one stopped while {phase}"),
            )
            .advice("nothing is left to do here: it settles the deployment"),
            Over::Expired => Error::new(
                ErrorKind::Interrupted,
                format!(
                    "the lease could not be renewed in time; the deployment stopped while {phase}"
                ),
            )
            .advice("run recover when the store answers; it finishes or goes back"),
        }
        .on(self.deployment.id())
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
                    let restarted = restart.restart(&cx, &op).await;
                    restarted.map_err(|e| {
                        let is_late = cx.remaining().is_zero();
                        let e = if is_late { e.late() } else { e };
                        e.in_step(&hook(), LiveImpact::Unknown)
                    })?;
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

    /// Confirms the lease right before an effect. If somebody asked to stop: the way back.
    pub(super) async fn stop_before_effect(&mut self) -> Result<Option<Step>, Error> {
        let renewal = self.confirm().await?;
        let by = renewal.cancel_requested_by;
        if self.is_cancellable() && (by.is_some() || self.cancellation.is_cancelled()) {
            return self.go_back(Cause::Cancelled { by }).await.map(Some);
        }
        Ok(None)
    }

    /// Confirms the lease right before an effect.
    pub(super) async fn confirm(&self) -> Result<Renewal, Error> {
        let mut retry = Retry::times(3);
        loop {
            self.holds()?;
            match self.in_time(self.tenure.renew()).await? {
                Ok(renewal) => return Ok(renewal),
                Err(e) if e.is_transient() && retry.again().await => {}
                Err(e) => return Err(self.unrecorded(e)),
            }
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
        let mut retry = Retry::times(3);
        loop {
            self.holds()?;
            let appended = self.inner.store.append(self.tenure.held(), &timed);
            match self.in_time(appended).await? {
                Ok(()) => break,
                // The same value again: a store that had kept it keeps it once.
                Err(e) if e.is_transient() && retry.again().await => {}
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
    pub(super) fn stopped(&self, e: BackendError) -> Error {
        Error::new(
            ErrorKind::Interrupted,
            format!("the deployment stopped while {}", self.deployment.phase()),
        )
        .on(self.deployment.id())
        .advice("run recover when the platform answers; it finishes or goes back")
        .because(e)
    }

    /// The run stops because it may not act without writing it down.
    pub(super) fn unrecorded(&self, e: StoreError) -> Error {
        let phase = self.deployment.phase();
        Error::on_store(
            e,
            format!("the deployment stopped while {phase}, as it could not be recorded"),
        )
        .on(self.deployment.id())
        .advice("run recover when the store answers")
    }
}

/// Carries out what is never dropped half-way: at the context's deadline, or when `told` says so, it
/// is told to stop, and waited for. A panic in it is a failure. Says what it was told, too.
pub(super) async fn to_its_end<T, F>(
    cx: Context,
    stop: Cancellation,
    effect: impl FnOnce(Context) -> F,
    told: impl Future<Output = Told>,
) -> (Result<T, BackendError>, Option<Told>)
where
    F: Future<Output = Result<T, BackendError>>,
{
    let _stop_on_drop = StopOnDrop(stop.clone());
    let deadline = tokio::time::Instant::from_std(cx.deadline());
    let mut effect = pin!(caught(effect(cx)));
    let mut told = pin!(told);
    let mut overran = false;
    let mut why = None;
    loop {
        let stopping = stop.is_cancelled();
        tokio::select! {
            biased;
            result = &mut effect => {
                let result = result.unwrap_or_else(|panic| {
                    Err(BackendError::new(BackendErrorKind::Failed, panic)
                        .advice("report it to the author of that hook or backend"))
                });
                return (result.map_err(|e| in_time(e, overran)), why);
            }
            () = tokio::time::sleep_until(deadline), if !stopping => {
                overran = true;
                stop.cancel();
            }
            told = &mut told, if !stopping => {
                why = Some(told);
                stop.cancel();
            }
        }
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
