//! How a run writes down what it does, and stays the one who may: events are durable first.

use std::future::Future;

use super::retry::Retry;
use super::runner::{Runner, Step};
use super::tenure::Over;
use crate::deployment::IllegalEvent;
use crate::error::{BackendError, Error, ErrorKind, StoreError, StoreErrorKind};
use crate::event::{Cause, Event, TimedEvent};
use crate::guard::Notice;
use crate::history::Renewal;

impl Runner {
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

    pub(super) fn over(&self, over: Over) -> Error {
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

    /// Confirms the lease right before an effect that cannot be left as if it had not begun. If
    /// somebody asked to stop: the way back.
    pub(super) async fn stop_before_effect(&mut self) -> Result<Option<Step>, Error> {
        self.confirm().await?;
        self.stop_if_asked().await
    }

    /// If somebody has asked to stop, by what the store last said: the way back.
    pub(super) async fn stop_if_asked(&mut self) -> Result<Option<Step>, Error> {
        let is_asked = self.cancellation.is_cancelled() || self.tenure.is_cancelled();
        if self.is_cancellable() && is_asked {
            // By whom, the way back asks.
            return self.go_back(Cause::Cancelled { by: None }).await.map(Some);
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

    /// What an effect has left, where nothing depends on its being on record: it becomes durable with the
    /// next intent, or with the settlement. A crash before is one right after the effect, which recovery
    /// finds at the platform.
    pub(super) fn note(&mut self, event: Event) -> Result<(), Error> {
        let timed = TimedEvent {
            at: self.inner.clock.now(),
            event,
        };
        let applied = self.deployment.apply(timed.clone());
        applied.map_err(|e| self.bug(&e))?;
        self.noted.push(timed);
        Ok(())
    }

    /// Makes an event durable with what was noted before it, then true.
    pub(super) async fn journal(&mut self, event: Event) -> Result<(), Error> {
        self.deployment.allows(&event).map_err(|e| self.bug(&e))?;
        let timed = TimedEvent {
            at: self.inner.clock.now(),
            event,
        };
        let mut events = self.noted.clone();
        events.push(timed.clone());
        let mut retry = Retry::times(3);
        loop {
            self.holds()?;
            match self.in_time(self.tenure.append(&events)).await? {
                Ok(_) => break,
                // The same values again: a store that had kept them keeps them once.
                Err(e) if e.is_transient() && retry.again().await => {}
                Err(e) => return Err(self.unrecorded(e)),
            }
        }
        self.noted.clear();
        let applied = self.deployment.apply(timed);
        applied.map_err(|e| self.bug(&e))?;
        for event in events {
            self.announce(Some(event));
        }
        Ok(())
    }

    /// What cannot happen has.
    pub(super) fn bug(&self, e: &IllegalEvent) -> Error {
        Error::new(ErrorKind::Interrupted, e.to_string())
            .on(self.deployment.id())
            .advice("report this as a bug; recover settles the deployment")
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
