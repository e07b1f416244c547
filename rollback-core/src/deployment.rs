//! [`Deployment`]: one attempt to make a release live; the pure fold of its events.

mod annotation;
mod asked;
mod composition;
mod fold;
mod membership;
mod opening;
mod origin;
mod outcome;
mod phase;
mod purpose;
mod trigger;
mod version;
mod watch;

use std::time::Duration;

use serde::Serialize;

pub use annotation::{Annotation, Annotations, MAX_NOTES, Note};
pub use asked::Asked;
pub use composition::{Composition, Need};
pub use fold::IllegalEvent;
pub use membership::{Membership, Part, Roll};
pub use opening::{Opening, Skipped};
pub use origin::Origin;
pub use outcome::{LiveRecord, NotAttempted, Outcome, Settlement};
pub use phase::Phase;
pub use purpose::Purpose;
pub use trigger::{Trigger, TriggerKind};
pub use version::RecordVersion;
pub use watch::{MAX_SIGNALS, Watch, WatchVerdict};

use crate::backend::{Addresses, End, Evidence, Instance, Operation, Prepared, Reuse, Tasks};
use crate::diagnosis::Diagnosis;
use crate::error::{StoreError, StoreErrorKind};
use crate::event::{Cause, Event, TimedEvent};
use crate::health::Verdict;
use crate::history::Sequence;
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::release::Release;
use crate::time::Timestamp;
use fold::Fold;

/// One attempt to make a release live: the history record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployment {
    #[serde(flatten)]
    new: Opening,
    sequence: Sequence,
    annotations: Annotations,
    events: Vec<TimedEvent>,
    #[serde(skip)]
    fold: Fold,
}

impl Deployment {
    /// A deployment that was just opened.
    pub fn open(new: Opening, sequence: Sequence) -> Self {
        Self {
            new,
            sequence,
            annotations: Annotations::default(),
            events: Vec::new(),
            fold: Fold::default(),
        }
    }

    /// The fold of stored events.
    ///
    /// # Errors
    ///
    /// [`IllegalEvent`] for an order that cannot have happened: the record is damaged.
    pub fn replay(
        new: Opening,
        sequence: Sequence,
        events: Vec<TimedEvent>,
        annotations: Annotations,
    ) -> Result<Self, IllegalEvent> {
        let mut deployment = Self::open(new, sequence);
        deployment.annotations = annotations;
        for event in events {
            deployment.apply(event)?;
        }
        Ok(deployment)
    }

    /// What was known when it opened.
    pub fn opening(&self) -> &Opening {
        &self.new
    }

    /// Its id, by which it is found, cancelled, pinned and rolled back to.
    pub fn id(&self) -> &DeploymentId {
        &self.new.id
    }

    /// The workload that it changes.
    pub fn workload(&self) -> &WorkloadId {
        &self.new.workload
    }

    /// Where its release first came from: from itself, if it does not say otherwise.
    pub fn origin(&self) -> Origin {
        let new = &self.new;
        let itself = || Origin::new(new.id.clone(), self.sequence, new.replaces.clone());
        new.origin.clone().unwrap_or_else(itself)
    }

    /// Its place in the store's order.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Whether a newer version of this library wrote the record, or part of it: what it is about
    /// may be more than this version knows.
    pub fn is_newer(&self) -> bool {
        self.new.record_version.is_newer() || self.fold.newer
    }

    /// What set it off.
    pub fn trigger(&self) -> &Trigger {
        &self.new.trigger
    }

    /// Who asked for it; for an automatic rollback the engine itself.
    pub fn actor(&self) -> &Actor {
        &self.new.actor
    }

    /// Its timeline, in the order in which it was recorded.
    pub fn events(&self) -> &[TimedEvent] {
        &self.events
    }

    /// The evidence of its last switch.
    pub fn switched(&self) -> Option<&Evidence> {
        self.events
            .iter()
            .rev()
            .find_map(|timed| match &timed.event {
                Event::Switched { evidence } => Some(evidence),
                _ => None,
            })
    }

    /// What people added.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    /// For stores: the record with one more annotation.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::TooLarge`] for one note more than [`MAX_NOTES`].
    pub fn annotated(mut self, what: &Annotation) -> Result<Self, StoreError> {
        let added = std::mem::take(&mut self.annotations).annotated(what);
        self.annotations = added.ok_or_else(|| {
            let what = format!("a record takes {MAX_NOTES} notes, and has them; nothing was added");
            StoreError::new(StoreErrorKind::TooLarge, what)
                .on(&self.new.id)
                .advice("keep what else is to be said elsewhere")
        })?;
        Ok(self)
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.fold.phase
    }

    /// How it ended; `None` while it is in flight.
    pub fn outcome(&self) -> Option<Outcome> {
        let settlement = self.fold.settlement.as_ref()?;
        Some(match self.fold.rolled_back_by {
            Some(_) => Outcome::FailedAndRolledBack,
            None => settlement.outcome,
        })
    }

    /// How its health gate ended, as far as it is known.
    pub fn verdict(&self) -> &Verdict {
        self.fold
            .settlement
            .as_ref()
            .map_or(&self.fold.verdict, |s| &s.verdict)
    }

    /// How it was settled; `None` while it is in flight.
    pub fn settlement(&self) -> Option<&Settlement> {
        self.fold.settlement.as_ref()
    }

    /// What `prepare` made, once it has.
    pub fn prepared(&self) -> Option<&Prepared> {
        self.fold.prepared.as_ref()
    }

    /// What was seen of its release when it failed, before it was touched: the last of several.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        self.events.iter().rev().find_map(|e| match &e.event {
            Event::Diagnosed(diagnosis) => Some(diagnosis),
            _ => None,
        })
    }

    /// Where its release answers before it has the traffic: empty until it was started beside what is
    /// live, and where that cannot be named.
    pub fn addresses(&self) -> &Addresses {
        &self.fold.addresses
    }

    /// The release's place at the target, once prepared.
    pub fn instance(&self) -> Option<&Instance> {
        self.fold.prepared.as_ref().map(|p| &p.to)
    }

    /// Its release: as prepared, or as planned.
    pub fn release(&self) -> Option<&Release> {
        self.instance()
            .map(|i| &i.release)
            .or_else(|| self.new.to.release())
    }

    /// Whether a switch was begun: from then on the live release may be either.
    pub fn switch_began(&self) -> bool {
        self.fold.switch_began
    }

    /// Why it turned round, if it did.
    pub fn cause(&self) -> Option<&Cause> {
        self.fold.cause.as_ref()
    }

    /// What it is for, where it is part of something longer.
    pub fn purpose(&self) -> Option<&Purpose> {
        self.new.purpose.as_ref()
    }

    /// The group it moves with.
    pub fn group(&self) -> Option<&Membership> {
        self.new.group.as_deref()
    }

    /// The group that its record speaks for.
    pub fn coordinates(&self) -> Option<&Membership> {
        self.group()
            .filter(|group| group.id.coordinator() == self.id())
    }

    /// Whether it has agreed that its group goes forward: until it has, there is no decision.
    pub fn has_agreed(&self) -> bool {
        self.fold.agreed
    }

    /// Whether its record says that its group goes forward.
    pub fn has_decided(&self) -> bool {
        self.fold.decided
    }

    /// A release task that was begun and of whose end there is no evidence.
    pub fn task_in_doubt(&self) -> Option<&str> {
        self.fold.task_in_doubt.as_deref()
    }

    /// The remediation that was begun and of whose end there is no evidence.
    pub fn remediation_in_doubt(&self) -> Option<&str> {
        let mut backwards = self.events.iter().rev();
        backwards.find_map(|e| match &e.event {
            Event::RemediationIntended { name } => Some(Some(name.as_str())),
            Event::Remediated { .. } => Some(None),
            _ => None,
        })?
    }

    /// Release tasks that ran.
    pub fn tasks_done(&self) -> &[String] {
        &self.fold.tasks_done
    }

    /// Remediations that were begun.
    pub fn remedied(&self) -> &[String] {
        &self.fold.remedied
    }

    /// The automatic rollback that put right what this deployment broke.
    pub fn rolled_back_by(&self) -> Option<&DeploymentId> {
        self.fold.rolled_back_by.as_ref()
    }

    /// What it does at the target, with the prepared instance where there is one.
    pub fn operation(&self) -> Operation {
        Operation {
            deployment: self.new.id.clone(),
            sequence: self.sequence,
            workload: self.new.workload.clone(),
            from: self.new.from.clone(),
            reuse: match self.new.trigger {
                // Earlier versions did not put it on record.
                Trigger::Redeploy { .. } => Reuse::Never,
                _ => self.new.reuse,
            },
            tasks: Tasks::Possible,
            to: match &self.fold.prepared {
                Some(prepared) => End::Placed(prepared.to.clone()),
                None => self.new.to.clone(),
            },
        }
    }

    /// Whether its release was live when it settled.
    pub fn went_live(&self) -> bool {
        self.fold
            .settlement
            .as_ref()
            .is_some_and(|s| s.live.known() == Some(&self.new.id))
    }

    /// When it was settled.
    pub fn settled_at(&self) -> Option<Timestamp> {
        self.events
            .iter()
            .find(|e| matches!(e.event, Event::Settled(_)))
            .map(|e| e.at)
    }

    /// How long it took; `None` while it is in flight.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.settled_at()?.since(self.new.opened_at))
    }
}
