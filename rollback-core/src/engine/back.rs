//! Going back: the other half of the run path.

use super::ask;
use super::patience::Patience;
use super::runner::{Runner, Step};
use crate::backend::{End, Live, Observation, Operation, Running, Sighting};
use crate::context::Cancellation;
use crate::deployment::{Deployment, LiveRecord, Outcome, Settlement, TriggerKind};
use crate::error::{BackendError, BackendErrorKind, Chain, Error, LiveImpact};
use crate::event::{Cause, Event};
use crate::history::Then;
use crate::recover::{Decision, decide, is_foreign, live_by_look};

/// What the record says where something else is live than the deployment knows.
pub(super) const LEFT: &str = "Something else is live than this deployment knows, and was left \
    alone. Look at the platform, then adopt or deploy.";

/// What it says where a person was quicker than recovery.
pub(super) const PUT_BACK: &str = "It had gone live, and what was live before was put back by \
    hand; that was left as it is.";

/// What it says where a newer version began what an older one has to end.
pub(super) const NEWER: &str = "A newer version of this program began it and did not end it; this \
    one touched nothing, and recorded what it saw. Look at the platform, then deploy or roll back.";

/// Settles it as interrupted: what is live, somebody else has made so, or nothing was changed.
pub(super) fn as_interrupted(deployment: &Deployment, live: LiveRecord, summary: &str) -> Step {
    Step::Settle(
        Box::new(Settlement::new(
            Outcome::Interrupted,
            deployment.verdict().clone(),
            live,
            summary.to_owned(),
        )),
        Box::new(Then::Release),
    )
}

impl Runner {
    /// Turns round. What follows depends only on whether a switch was begun.
    pub(super) async fn go_back(&mut self, cause: Cause) -> Result<Step, Error> {
        if self.is_decided() {
            return self.stays_behind(&cause).await;
        }
        let cause = match cause {
            Cause::Cancelled { by: None } => Cause::Cancelled {
                by: self.confirm().await?.cancel_requested_by,
            },
            cause => cause,
        };
        let cause = self.turns_its_group(cause);
        let event = Event::GoingBack(cause);
        match self.seat() {
            // It may wait for others now, who are not to wait for what it says.
            Some(_) => self.journal(event).await?,
            None => self.note(event)?,
        }
        // The way back is not cancelled by what made us take it.
        self.cancellation = Cancellation::new();
        Ok(self.way_back())
    }

    /// Its group went live, and this member cannot be finished: alone it does not go back.
    async fn stays_behind(&self, cause: &Cause) -> Result<Step, Error> {
        let observed = self.observe().await.map_err(|e| self.stopped(e))?;
        let live = live_by_look(&self.deployment, &observed);
        let summary = format!(
            "Its group went live, and this member could not be finished: {cause}. It was left as it is. \
             Look at the platform, then deploy it, or roll the stack back."
        );
        let verdict = self.deployment.verdict().clone();
        let settlement = Settlement::new(Outcome::Degraded, verdict, live, summary);
        Ok(Step::Settle(Box::new(settlement), Box::new(Then::Release)))
    }

    /// The first step back from here.
    pub(super) fn way_back(&self) -> Step {
        if self.deployment.switch_began() {
            Step::SwitchBack
        } else {
            Step::RetireBack
        }
    }

    pub(super) async fn switch_back(&mut self) -> Result<Step, Error> {
        self.waits_for_dependents().await?;
        // What is journaled confirms the lease.
        self.journal(Event::SwitchBackIntended).await?;
        let op = self.deployment.operation().reversed();
        let mut patience = Patience::of(self.switch_deadline());
        let error = 'trying: loop {
            let mut error = match self.switch_to(op.clone()).await? {
                Ok(evidence) => {
                    self.note(Event::SwitchedBack { evidence })?;
                    return Ok(Step::RetireBack);
                }
                Err(e) if e.kind() == BackendErrorKind::Fenced => return self.fenced(&e).await,
                Err(e) => e,
            };
            // Never acts blind: a look that fails is a failed try.
            loop {
                if !patience.tries_again(&error, &self.progress).await {
                    break 'trying error;
                }
                match self.sees_foreign().await {
                    Ok(true) => return Ok(self.leave()),
                    Ok(false) => break,
                    Err(e) => error = e,
                }
            }
        };
        if error.is_transient() {
            // The platform is away: nothing can be known or done now. Recovery goes on.
            return Err(self.stopped(error));
        }
        self.stuck(&op, &error).await
    }

    async fn observe(&self) -> Result<Observation, BackendError> {
        ask::observe(self.deadlines().observe, self.workload.backend.as_ref()).await
    }

    /// Whether somebody has put something else in place, which is not taken away.
    pub(super) async fn sees_foreign(&self) -> Result<bool, BackendError> {
        let (op, fence) = (self.deployment.operation(), self.fence());
        Ok(is_foreign(&op, Some(&fence), &self.observe().await?))
    }

    /// What a person has put in place while this ran is left alone, as recovery leaves it. `None`:
    /// nobody has.
    pub(super) async fn gives_way(&self) -> Result<Option<Step>, BackendError> {
        // A later token at the target is told of as a history that is behind.
        let decision = decide(&self.deployment, None, &self.observe().await?);
        Ok(match decision {
            Decision::Leave => Some(self.leave()),
            Decision::PutBack => Some(as_interrupted(
                &self.deployment,
                self.deployment.opening().fallback.clone(),
                PUT_BACK,
            )),
            _ => None,
        })
    }

    /// Something else is live than this deployment knows: it is left alone.
    pub(super) fn leave(&self) -> Step {
        as_interrupted(&self.deployment, LiveRecord::Unknown, LEFT)
    }

    /// The switch back is refused for good: what is live decides how this ends. Either way only
    /// that is left running.
    async fn stuck(&mut self, back: &Operation, error: &BackendError) -> Result<Step, Error> {
        let observed = self.observe().await.map_err(|e| self.stopped(e))?;
        let new = self.deployment.opening();
        let (id, fallback) = (new.id.clone(), new.fallback.clone());
        let is = |end: &End, s: &Sighting| {
            end.instance()
                .is_some_and(|i| i.handle == s.instance.handle)
        };
        let live = match &observed.live {
            // It was never taken from its place: there is nothing to switch back. An error that may
            // have touched it proves nothing: what is in place need not be what runs.
            Live::One(s)
                if is(&back.to, s)
                    && error.impact() == LiveImpact::Untouched
                    && !matches!(s.running, Running::No(_)) =>
            {
                return Ok(Step::RetireBack);
            }
            // Of two ends that are the same, it is the former one that is known.
            Live::One(s) if is(&back.from, s) && !back.is_in_place() => {
                match self.put_away(back.reversed()).await? {
                    Some(fenced) => return Ok(fenced),
                    None => LiveRecord::Known(id),
                }
            }
            // In its place, and perhaps not what runs: what was to follow it is put away, and a
            // person has to look.
            Live::One(s) if is(&back.to, s) => match self.put_away(back.clone()).await? {
                Some(fenced) => return Ok(fenced),
                None => fallback,
            },
            Live::Nothing => LiveRecord::Nothing,
            _ => LiveRecord::Unknown,
        };
        let cause = self
            .deployment
            .cause()
            .map(ToString::to_string)
            .unwrap_or_default();
        Ok(Step::Settle(
            Box::new(Settlement::new(
                Outcome::Degraded,
                self.deployment.verdict().clone(),
                live,
                format!(
                    "It failed ({cause}), and what was live before could not be put back: \
                     {}. Look at the platform, then adopt or deploy.",
                    Chain::of(error)
                ),
            )),
            Box::new(Then::Release),
        ))
    }

    /// Leaves only what the operation ends with running, as far as the platform lets us. `Some`: a
    /// later actor was there.
    async fn put_away(&mut self, op: Operation) -> Result<Option<Step>, Error> {
        self.journal(Event::RetireIntended).await?;
        match self.retire_op(op).await? {
            Ok(()) => self.note(Event::Retired)?,
            Err(e) if e.kind() == BackendErrorKind::Fenced => {
                return self.fenced(&e).await.map(Some);
            }
            Err(_) => {}
        }
        Ok(None)
    }

    pub(super) async fn retire_back(&mut self) -> Result<Step, Error> {
        if let Some(seat) = self.seat() {
            seat.is_back();
        }
        self.journal(Event::RetireIntended).await?;
        let retired = self
            .retire_op(self.deployment.operation().reversed())
            .await?;
        let retired = match retired {
            Err(e) if e.is_transient() => return Err(self.stopped(e)),
            Err(e) if e.kind() == BackendErrorKind::Fenced => return self.fenced(&e).await,
            retired => retired,
        };
        if retired.is_ok() {
            self.note(Event::Retired)?;
        }
        let switched = self.deployment.switch_began();
        let (mut outcome, mut summary) = match self.deployment.cause() {
            Some(cause) => (
                cause.outcome(switched),
                format!("{} did not go live: {cause}.", self.release_name()),
            ),
            None => (Outcome::Interrupted, "It did not go live.".to_owned()),
        };
        if self.deployment.trigger().kind() == TriggerKind::AutomaticRollback
            && matches!(outcome, Outcome::Failed | Outcome::FailedAndRolledBack)
        {
            outcome = Outcome::Degraded;
        }
        if let Some(task) = self.deployment.task_in_doubt() {
            summary.push_str(&format!(
                " Release task {task} was begun and may have run: check it before the next deploy."
            ));
        }
        if let Err(e) = retired {
            outcome = Outcome::Degraded;
            summary.push_str(&format!(
                " What it prepared was not put away: {}.",
                Chain::of(&e)
            ));
        }
        let fallback = self.deployment.opening().fallback.clone();
        summary.push_str(match (&fallback, switched) {
            (LiveRecord::Nothing, _) => " Nothing is live.",
            (_, true) => " What was live before is live again.",
            (_, false) => " What was live is live still.",
        });
        Ok(Step::Settle(
            Box::new(Settlement::new(
                outcome,
                self.deployment.verdict().clone(),
                fallback,
                summary,
            )),
            Box::new(Then::Release),
        ))
    }
}
