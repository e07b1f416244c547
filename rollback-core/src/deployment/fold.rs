//! The fold: what a deployment's events make of it, and which order of them cannot have happened.

use super::{Deployment, Outcome, Phase, Settlement, TriggerKind};
use crate::backend::{Addresses, Prepared};
use crate::error::{StoreError, StoreErrorKind};
use crate::event::{Cause, Event, TimedEvent};
use crate::health::{Site, Verdict};
use crate::id::DeploymentId;

/// The event cannot follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} cannot follow phase {phase} in {deployment}")]
#[non_exhaustive]
pub struct IllegalEvent {
    /// The deployment whose timeline refuses the event.
    pub deployment: DeploymentId,
    /// How far it was.
    pub phase: Phase,
    /// What was to follow.
    pub event: &'static str,
}

impl From<IllegalEvent> for StoreError {
    /// For stores: an event that is to be written cannot follow.
    fn from(e: IllegalEvent) -> Self {
        let what = format!(
            "the event {} cannot follow the phase {}; nothing was written",
            e.event, e.phase
        );
        Self::new(StoreErrorKind::IllegalEvent, what)
            .on(e.deployment)
            .advice("read the record: its timeline has gone another way")
    }
}

/// What the events so far come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fold {
    pub(super) phase: Phase,
    pub(super) prepared: Option<Prepared>,
    pub(super) addresses: Addresses,
    pub(super) switch_began: bool,
    pub(super) verdict: Verdict,
    pub(super) cause: Option<Cause>,
    pub(super) tasks_done: Vec<String>,
    pub(super) task_in_doubt: Option<String>,
    pub(super) remedied: Vec<String>,
    pub(super) settlement: Option<Settlement>,
    pub(super) rolled_back_by: Option<DeploymentId>,
    pub(super) agreed: bool,
    pub(super) decided: bool,
    /// Whether a newer version has added what this one does not know.
    pub(super) newer: bool,
}

impl Deployment {
    /// Whether this event may come next.
    ///
    /// # Errors
    ///
    /// [`IllegalEvent`] if that order cannot have happened. A store reports it as
    /// [`StoreErrorKind::IllegalEvent`].
    pub fn allows(&self, event: &Event) -> Result<(), IllegalEvent> {
        use Phase as P;
        let fold = &self.fold;
        let phase = fold.phase;
        let back = fold.cause.is_some();
        let ok = match event {
            // Recovery may prepare again: nothing live has been touched yet.
            Event::PrepareIntended => {
                !back
                    && matches!(
                        phase,
                        P::Opened | P::Preparing | P::Prepared | P::Starting | P::Started
                    )
            }
            Event::Prepared(p) => {
                !back
                    && phase == P::Preparing
                    && self.new.to.release().is_some_and(|r| r.digest() == p.to.release.digest())
                    // Adoption records what already is live; everything else prepares first.
                    || (self.new.trigger.kind() == TriggerKind::Adopt && phase == P::Opened)
            }
            Event::TaskIntended { .. } | Event::StartIntended => !back && phase == P::Prepared,
            Event::TaskDone { name } => {
                phase == P::Task && fold.task_in_doubt.as_ref() == Some(name)
            }
            Event::Started(_) => phase == P::Starting,
            // A switch may be intended again by recovery, and to converge before retiring.
            Event::SwitchIntended => {
                !back
                    && matches!(
                        phase,
                        P::Prepared
                            | P::Started
                            | P::Switching
                            | P::Switched
                            | P::Remediating
                            | P::Judged
                            | P::Agreed
                            | P::Retiring
                            | P::Retired
                    )
            }
            Event::Switched { .. } => phase == P::Switching,
            Event::Judged {
                site: Site::Beside, ..
            } => !back && phase == P::Started,
            Event::Judged {
                site: Site::Live, ..
            } => {
                !back
                    // Recovery judges anew what was started since, also while it puts away.
                    && (matches!(
                        phase,
                        P::Switched
                            | P::Judged
                            | P::Agreed
                            | P::Remediating
                            | P::Retiring
                            | P::Retired
                    )
                        || (self.new.trigger.kind() == TriggerKind::Adopt && phase == P::Prepared))
            }
            // Of what was brought up, whether it then went live or not.
            Event::Diagnosed(_) => {
                !back
                    && matches!(
                        phase,
                        P::Starting | P::Started | P::Switching | P::Switched | P::Judged
                    )
            }
            Event::RemediationIntended { .. } | Event::RemediationWithheld { .. } => {
                !back && phase == P::Judged
            }
            Event::Remediated { .. } => phase == P::Remediating,
            Event::Agreed => {
                !back
                    && self.new.group.is_some()
                    && matches!(phase, P::Judged | P::Agreed)
                    && !fold.verdict.is_failed()
            }
            Event::Decided => !back && self.coordinates().is_some() && phase == P::Agreed,
            // What was decided is decided.
            Event::GoingBack(_) => !back && !fold.decided && !matches!(phase, P::Settled),
            Event::SwitchBackIntended => {
                back && fold.switch_began
                    && matches!(
                        phase,
                        P::GoingBack
                            | P::SwitchingBack
                            | P::SwitchedBack
                            | P::Retiring
                            | P::Retired
                    )
            }
            Event::SwitchedBack { .. } => phase == P::SwitchingBack,
            Event::RetireIntended => {
                if back {
                    matches!(
                        phase,
                        P::GoingBack
                            | P::SwitchingBack
                            | P::SwitchedBack
                            | P::Retiring
                            | P::Retired
                    )
                } else {
                    let undecided = self.coordinates().is_some() && !fold.decided;
                    !undecided && matches!(phase, P::Judged | P::Agreed | P::Retiring | P::Retired)
                }
            }
            Event::Retired => phase == P::Retiring,
            Event::TakenOver { .. } => phase != P::Settled,
            Event::Settled(_) => phase != P::Settled,
            // Where it may come, its own version knows.
            Event::Newer(_) => true,
            Event::RolledBackBy { .. } => {
                phase == P::Settled
                    && fold.rolled_back_by.is_none()
                    && fold
                        .settlement
                        .as_ref()
                        .is_some_and(|s| s.outcome == Outcome::Failed)
            }
        };
        if ok {
            Ok(())
        } else {
            Err(IllegalEvent {
                deployment: self.new.id.clone(),
                phase,
                event: event.name(),
            })
        }
    }

    /// The record with these events at its end.
    ///
    /// # Errors
    ///
    /// As [`allows`](Self::allows).
    pub fn with(mut self, events: &[TimedEvent]) -> Result<Self, IllegalEvent> {
        for event in events {
            self.apply(event.clone())?;
        }
        Ok(self)
    }

    /// Adds an event.
    ///
    /// # Errors
    ///
    /// As [`allows`](Self::allows), and nothing is changed.
    pub fn apply(&mut self, timed: TimedEvent) -> Result<(), IllegalEvent> {
        self.allows(&timed.event)?;
        let fold = &mut self.fold;
        match &timed.event {
            Event::PrepareIntended => fold.phase = Phase::Preparing,
            Event::Prepared(prepared) => {
                fold.prepared = Some(prepared.clone());
                fold.phase = Phase::Prepared;
            }
            Event::TaskIntended { name } => {
                fold.task_in_doubt = Some(name.clone());
                fold.phase = Phase::Task;
            }
            Event::TaskDone { name } => {
                fold.task_in_doubt = None;
                fold.tasks_done.push(name.clone());
                fold.phase = Phase::Prepared;
            }
            Event::StartIntended => fold.phase = Phase::Starting,
            Event::Started(started) => {
                fold.addresses = started.addresses.clone();
                fold.phase = Phase::Started;
            }
            Event::SwitchIntended => {
                if fold.phase == Phase::Started {
                    // What was judged beside says nothing of what is live from here on.
                    fold.verdict = Verdict::Unknown;
                }
                fold.switch_began = true;
                fold.phase = Phase::Switching;
            }
            Event::Switched { .. } => {
                fold.phase = Phase::Switched;
                // What was judged before is not what is live now.
                fold.verdict = Verdict::Unknown;
            }
            Event::Judged { site, verdict, .. } => {
                if *site == Site::Live {
                    fold.phase = Phase::Judged;
                }
                fold.verdict = verdict.clone();
            }
            Event::RemediationIntended { name } => {
                fold.remedied.push(name.clone());
                fold.phase = Phase::Remediating;
            }
            Event::Remediated { .. } | Event::RemediationWithheld { .. } | Event::Diagnosed(_) => {}
            Event::Agreed => {
                fold.agreed = true;
                fold.phase = Phase::Agreed;
            }
            Event::Decided => fold.decided = true,
            Event::GoingBack(cause) => {
                fold.cause = Some(cause.clone());
                fold.phase = Phase::GoingBack;
            }
            Event::SwitchBackIntended => fold.phase = Phase::SwitchingBack,
            Event::SwitchedBack { .. } => fold.phase = Phase::SwitchedBack,
            Event::RetireIntended => fold.phase = Phase::Retiring,
            Event::Retired => fold.phase = Phase::Retired,
            Event::TakenOver { .. } => {}
            Event::Newer(_) => fold.newer = true,
            Event::Settled(settlement) => {
                fold.settlement = Some(settlement.clone());
                fold.phase = Phase::Settled;
            }
            Event::RolledBackBy { deployment } => fold.rolled_back_by = Some(deployment.clone()),
        }
        self.events.push(timed);
        Ok(())
    }
}
