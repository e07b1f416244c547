//! The end of the run path: what the verdict leads to, what is put away, and what follows.

use std::sync::Arc;

use super::patience::Patience;
use super::runner::{Runner, Step};
use super::successor::{Successor, successor};
use super::together::InGroup;
use super::upkeep;
use crate::deployment::{
    Annotation, LiveRecord, NotAttempted, Note, Outcome, Settlement, Skipped, Trigger,
};
use crate::error::{BackendErrorKind, Chain, Error, ErrorKind, StoreErrorKind};
use crate::event::{Cause, Event};
use crate::health::Verdict;
use crate::history::{Amend, Amendment, Then};
use crate::id::ShortText;
use crate::plan::Warning;
use crate::policy::AfterRollback;

impl Runner {
    /// Acts on the live verdict: on, or an automatic rollback, or a failed release that stays.
    pub(super) async fn conclude(&mut self) -> Result<Step, Error> {
        if !self.deployment.verdict().is_failed() {
            return self.agree().await;
        }
        let mut patience = Patience::of(self.deadlines().observe);
        // It may have failed because a person has put something else in place: that is not taken
        // away, neither by putting it away nor by an automatic rollback.
        let given = loop {
            match self.gives_way().await {
                Err(e) if patience.tries_again(&e, &self.progress).await => {}
                given => break given,
            }
        };
        match given {
            Ok(Some(step)) => return Ok(step),
            Err(e) if e.is_transient() => return Err(self.stopped(e)),
            // What cannot be told by a look is not told by the next one either.
            Ok(None) | Err(_) => {}
        }
        match (&self.group, self.deployment.verdict()) {
            (None, _) => {}
            (Some(InGroup::Among(_)), Verdict::Failed { diagnostic }) => {
                let diagnostic = diagnostic.clone();
                return self.go_back(Cause::Unhealthy { diagnostic }).await;
            }
            // The others are live, and stay so.
            (Some(_), _) => {
                self.not_attempted = Some(NotAttempted::WithItsGroup);
                return Ok(Step::Retire);
            }
        }
        let mut patience = Patience::of(self.deadlines().observe);
        let found = loop {
            match successor(&self.inner, &self.workload, &self.deployment).await {
                // What is live is known to be sick: a hiccup must not keep it there.
                Err(e) if patience.looks_again(&e, &self.progress).await => {}
                found => break found,
            }
        };
        match found {
            Ok(Ok(successor)) => self.open_successor(successor).await,
            Ok(Err(why)) => {
                self.not_attempted = Some(why);
                Ok(Step::Retire)
            }
            // Recovery would meet the same: a person has to know.
            Err(error) if !error.is_transient() => {
                tracing::error!(deployment = %self.deployment.id(), error = %Chain::of(&error), "no way back is known");
                self.not_attempted = Some(NotAttempted::NotLookedUp);
                Ok(Step::Retire)
            }
            // Neither on nor back without knowing: recovery tries again.
            Err(e) => Err(Error::new(
                ErrorKind::Interrupted,
                "the release failed its gate, and no rollback point could be looked up",
            )
            .on(self.deployment.id())
            .advice("the failed release is live; run recover when the platform answers")
            .because(e)),
        }
    }

    async fn open_successor(&mut self, plan: Successor) -> Result<Step, Error> {
        let verdict = self.deployment.verdict().clone();
        let live = LiveRecord::Known(self.deployment.id().clone());
        let summary = format!("{} is {verdict}.", self.release_name());
        let settlement = Settlement::new(Outcome::Failed, verdict, live, summary);
        self.to_last_healthy = plan.to_last_healthy;
        Ok(Step::Settle(
            Box::new(settlement),
            Box::new(Then::Open(Box::new(plan.new))),
        ))
    }

    pub(super) async fn retire(&mut self) -> Result<Step, Error> {
        self.journal(Event::RetireIntended).await?;
        let retired = match self.retire_op(self.deployment.operation()).await? {
            Err(e) if e.is_transient() => return Err(self.stopped(e)),
            Err(e) if e.kind() == BackendErrorKind::Fenced => return self.fenced(&e).await,
            retired => retired,
        };
        let outcome = match (&retired, self.deployment.verdict().is_failed()) {
            (Err(_), _) => Outcome::Degraded,
            (Ok(()), false) => Outcome::Succeeded,
            (Ok(()), true) if self.deployment.trigger().restores().is_some() => Outcome::Degraded,
            (Ok(()), true) => Outcome::Failed,
        };
        if retired.is_ok() {
            self.note(Event::Retired)?;
            self.retain().await?;
        }
        if !self.deployment.verdict().is_failed() {
            self.aftermath().await?;
        }
        let (release, verdict) = (self.release_name(), self.deployment.verdict().clone());
        let summary = match (outcome, retired) {
            (_, Err(e)) => {
                format!(
                    "{release} is live and {verdict}, but the former release was not put away: {}.",
                    Chain::of(&e)
                )
            }
            (Outcome::Succeeded, _) => format!("{release} is live and {verdict}."),
            (Outcome::Degraded, _) => format!(
                "{release} is live and {verdict}. {}The engine stops here: look at the \
                 diagnostic, then deploy or roll back.",
                self.migrations_since()
            ),
            _ => format!("{release} is {verdict}. It stays live."),
        };
        let live = LiveRecord::Known(self.deployment.id().clone());
        let mut settlement = Settlement::new(outcome, verdict, live, summary);
        settlement.not_attempted = self.not_attempted;
        // The former release serves again, whatever could not be put away.
        let then = match self.deployment.trigger() {
            Trigger::AutomaticRollback { failed, .. } if !settlement.verdict.is_failed() => {
                Then::ReleaseAndAmend(failed.clone())
            }
            _ => Then::Release,
        };
        Ok(Step::Settle(Box::new(settlement), Box::new(then)))
    }

    /// Best effort, under the lease, so that nobody prepares what is being dropped. An error: the lease
    /// is over.
    async fn retain(&self) -> Result<(), Error> {
        self.holds()?;
        let window = match upkeep::shrink(&self.inner, &self.workload, &self.deployment, || {
            self.holds()
        })
        .await
        {
            Ok(Some(window)) => window,
            Ok(None) => return Ok(()),
            Err(e) => {
                tracing::warn!(deployment = %self.deployment.id(), error = %Chain::of(&e), "retain skipped");
                return Ok(());
            }
        };
        let backend = Arc::clone(&self.workload.backend);
        let limits = self.limits(self.deadlines().retire, false);
        if let Err(e) = self
            .act(
                limits,
                |cx| async move { backend.retain(&cx, &window).await },
            )
            .await?
        {
            tracing::warn!(deployment = %self.deployment.id(), error = %Chain::of(&e), "retain failed");
        }
        Ok(())
    }

    /// What a failed rollback is likely to have met.
    fn migrations_since(&self) -> String {
        let warnings = &self.deployment.opening().warnings;
        warnings
            .iter()
            .find(|w| matches!(w, Warning::MigrationsSince { .. }))
            .map(|w| format!("Mind that {w}. "))
            .unwrap_or_default()
    }

    /// What the policy and the request want done once a rollback has succeeded. Before it is
    /// settled, and bearing repetition: a crash in between cannot lose it.
    async fn aftermath(&mut self) -> Result<(), Error> {
        let new = self.deployment.opening();
        if new.trigger.restores().is_none() {
            return Ok(());
        }
        let now = self.inner.clock.now();
        let why = |text: String| ShortText::cut(&text);
        if new.of_skipped == Skipped::MarkedBad {
            let note = Note {
                by: new.actor.clone(),
                at: now,
                text: why(format!("skipped over by {}", new.id)),
            };
            for skipped in &new.skipped {
                let record = match self.inner.store.get(skipped).await {
                    Ok(record) => record,
                    // It is no rollback point as it is.
                    Err(e) if e.is_unreadable() => continue,
                    Err(e) => return Err(self.unrecorded(e)),
                };
                // What somebody said of it before is worth more.
                if record.is_some_and(|d| d.annotations().bad.is_some()) {
                    continue;
                }
                self.holds()?;
                let what = Annotation::MarkBad(note.clone());
                match self.inner.store.annotate(skipped, &what).await {
                    Ok(()) => {}
                    // Retention may have let it go meanwhile.
                    Err(e) if e.is_unreadable() => {
                        tracing::warn!(deployment = %skipped, error = %Chain::of(&e), "it was not marked");
                    }
                    Err(e) => return Err(self.unrecorded(e)),
                }
            }
        }
        if new.policy.after_rollback == AfterRollback::Hold {
            let hold = Amendment {
                by: new.actor.clone(),
                at: now,
                what: Amend::Hold {
                    why: why(format!("held after the rollback {}", new.id)),
                },
            };
            loop {
                let state = self.inner.store.workload(&new.workload).await;
                let state = state.map_err(|e| self.unrecorded(e))?;
                if state.hold.is_some() {
                    break;
                }
                self.holds()?;
                let held = self.inner.store.amend(&new.workload, state.version, &hold);
                match held.await {
                    Ok(_) => break,
                    // Somebody else was quicker: perhaps it is held by now.
                    Err(e) if e.kind() == StoreErrorKind::Stale => {}
                    Err(e) => return Err(self.unrecorded(e)),
                }
            }
        }
        Ok(())
    }
}
