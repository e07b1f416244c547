//! What both directions of the run path end with: putting away, and settling.

use std::sync::Arc;

use tokio::time::Instant;

use super::patience::Patience;
use super::retry::Retry;
use super::runner::{Runner, Step};
use super::tenure::Tenure;
use crate::backend::Operation;
use crate::context::Cancellation;
use crate::deployment::{Deployment, Settlement};
use crate::error::{BackendError, BackendErrorKind, Chain, Error};
use crate::event::{Event, TimedEvent};
use crate::history::{Finished, Then};

impl Runner {
    /// Leaves only what the operation ends with running; insists.
    pub(super) async fn retire_op(&self, op: Operation) -> Result<Result<(), BackendError>, Error> {
        let mut patience = Patience::of(self.deadlines().retire);
        loop {
            let (backend, o) = (Arc::clone(&self.workload.backend), op.clone());
            let limits = self.limits(self.deadlines().retire, false);
            match self
                .act(limits, |cx| async move { backend.retire(&cx, &o).await })
                .await?
            {
                Err(e)
                    if e.kind() != BackendErrorKind::Fenced
                        && patience.tries_again(&e, &self.progress).await => {}
                result => return Ok(result),
            }
        }
    }

    /// Settles. `Some`: the successor was opened under the same lease, and this is its first
    /// step.
    pub(super) async fn settle(
        &mut self,
        settlement: Settlement,
        mut then: Then,
    ) -> Result<Option<Step>, Error> {
        let at = self.inner.clock.now();
        let mut retry = Retry::times(5);
        self.holds()?;
        if let Some(seat) = self.seat() {
            // Who was left as it was found does not go forward.
            seat.turns(|| settlement.summary.clone());
        }
        let (finished, asked) = loop {
            let asked = Instant::now();
            let lease = self.tenure.held();
            let store = &self.inner.store;
            let done = store.finish(lease, &self.noted, &settlement, at, &then);
            // Once it may be settled, that the lease is over says nothing: the answer does.
            match self.in_time(done).await? {
                Ok(finished) => break (finished, asked),
                Err(e) if e.is_unreadable() && matches!(then, Then::ReleaseAndAmend(_)) => {
                    // The failed record is damaged, gone or newer: no reason to leave this one open.
                    tracing::warn!(error = %Chain::of(&e), "the failed deployment's record was not amended");
                    then = Then::Release;
                }
                // What is live cannot be unmade because it cannot be written down: insist.
                Err(e) if e.is_transient() && retry.again().await => {}
                Err(e) => {
                    let live = &settlement.live;
                    return Err(Error::on_store(
                        e,
                        format!("the deployment could not be settled, and live is {live}"),
                    )
                    .on(self.deployment.id())
                    .advice("run recover when the store answers"));
                }
            }
        };
        let timed = TimedEvent {
            at,
            event: Event::Settled(settlement),
        };
        let applied = self.deployment.apply(timed.clone());
        applied.map_err(|e| self.bug(&e))?;
        for event in std::mem::take(&mut self.noted) {
            self.announce(Some(event));
        }
        self.announce(Some(timed));
        self.inner.forget_running(self.deployment.id());
        if let (Then::ReleaseAndAmend(_), Some(failed)) = (&then, &mut self.failed) {
            // The store has amended its record in the same step; so does the copy in the report.
            let event = Event::RolledBackBy {
                deployment: self.deployment.id().clone(),
            };
            let amended = failed.apply(TimedEvent { at, event });
            amended.map_err(|e| self.bug(&e))?;
        }
        match (finished, then) {
            (Finished::Opened(begun), Then::Open(new)) => {
                self.tenure = Tenure::of(&self.inner.store, begun.lease, asked);
                self.cancellation = Cancellation::new();
                let successor = Deployment::open(*new, begun.sequence);
                self.failed = Some(std::mem::replace(&mut self.deployment, successor));
                self.inner
                    .note_running(self.deployment.id(), self.channels());
                self.announce(None);
                Ok(Some(Step::Prepare))
            }
            _ => {
                (self.inner.on_settled)(&self.inner, &self.deployment);
                Ok(None)
            }
        }
    }
}
