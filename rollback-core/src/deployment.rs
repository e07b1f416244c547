//! [`Deployment`]: one attempt to make a release live; the pure fold of its events.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{End, Instance, Operation, Prepared};
use crate::event::{Cause, Event, TimedEvent};
use crate::health::{Gate, Verdict};
use crate::history::{Annotation, Sequence};
use crate::id::{Actor, BackendKind, DeploymentId, GuardName, ShortText, WorkloadId};
use crate::plan::Warning;
use crate::policy::Policy;
use crate::time::Timestamp;

/// What set a deployment off.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "trigger", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// A reference was deployed.
    Deploy,
    /// An earlier deployment's release was deployed anew, with today's configuration.
    Redeploy {
        /// That deployment.
        of: DeploymentId,
    },
    /// Somebody rolled back.
    Rollback {
        /// The deployment whose release comes back.
        // Flattened into a record, it must not share the record's own `to`.
        #[serde(rename = "restores")]
        to: DeploymentId,
    },
    /// The engine rolled back a deployment that failed its gate.
    AutomaticRollback {
        /// The deployment whose release comes back.
        #[serde(rename = "restores")]
        to: DeploymentId,
        /// The deployment that failed.
        failed: DeploymentId,
    },
    /// What was live already was put on record.
    Adopt,
    /// The live release was restarted.
    Restart,
    /// The workload moved here from another target.
    Migrate,
    /// The record was taken over from another tool.
    Import,
}

impl Trigger {
    /// The kind alone, for columns and filters.
    pub fn kind(&self) -> TriggerKind {
        match self {
            Self::Deploy => TriggerKind::Deploy,
            Self::Redeploy { .. } => TriggerKind::Redeploy,
            Self::Rollback { .. } => TriggerKind::Rollback,
            Self::AutomaticRollback { .. } => TriggerKind::AutomaticRollback,
            Self::Adopt => TriggerKind::Adopt,
            Self::Restart => TriggerKind::Restart,
            Self::Migrate => TriggerKind::Migrate,
            Self::Import => TriggerKind::Import,
        }
    }

    /// The deployment whose release a rollback, by hand or automatic, brings back.
    pub fn restores(&self) -> Option<&DeploymentId> {
        match self {
            Self::Rollback { to } | Self::AutomaticRollback { to, .. } => Some(to),
            _ => None,
        }
    }
}

/// A [`Trigger`] without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TriggerKind {
    /// See [`Trigger::Deploy`].
    Deploy,
    /// See [`Trigger::Redeploy`].
    Redeploy,
    /// See [`Trigger::Rollback`].
    Rollback,
    /// See [`Trigger::AutomaticRollback`].
    AutomaticRollback,
    /// See [`Trigger::Adopt`].
    Adopt,
    /// See [`Trigger::Restart`].
    Restart,
    /// See [`Trigger::Migrate`].
    Migrate,
    /// See [`Trigger::Import`].
    Import,
}

impl TriggerKind {
    /// The kind as stores and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Redeploy => "redeploy",
            Self::Rollback => "rollback",
            Self::AutomaticRollback => "automatic_rollback",
            Self::Adopt => "adopt",
            Self::Restart => "restart",
            Self::Migrate => "migrate",
            Self::Import => "import",
        }
    }
}

/// How a settled deployment ended. The health [`Verdict`] is another axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Its release is live, and no gate failed.
    Succeeded,
    /// It failed; the settlement says what is live.
    Failed,
    /// It failed after it had gone live, and what was live before was put back.
    FailedAndRolledBack,
    /// A guard refused it after it had been opened.
    Refused,
    /// Somebody cancelled it; what was live before is live.
    Cancelled,
    /// Its process died; recovery found nothing worth finishing, or something it must not touch.
    Interrupted,
    /// A rollback failed its own gate, or what is live could not be settled: a person has to
    /// look. Any later passing deployment, or `adopt`, leaves that state.
    Degraded,
}

impl Outcome {
    /// The outcome as stores and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::FailedAndRolledBack => "failed_and_rolled_back",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Degraded => "degraded",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_str().replace('_', " "))
    }
}

/// What is live on a workload, as far as history knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveRecord {
    /// Nothing has been deployed, or the first deployment was undone.
    #[default]
    Nothing,
    /// This deployment's release.
    Known(DeploymentId),
    /// Something, but not what any record says.
    Unknown,
}

impl LiveRecord {
    /// The live deployment, where it is known.
    pub fn known(&self) -> Option<&DeploymentId> {
        match self {
            Self::Known(id) => Some(id),
            _ => None,
        }
    }
}

/// How a deployment ended, and what is live now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// How it ended.
    pub outcome: Outcome,
    /// How its health gate ended.
    pub verdict: Verdict,
    /// What is live.
    pub live: LiveRecord,
    /// One sentence for a person: what happened and, if need be, what to do next.
    pub summary: String,
}

/// Everything about a deployment that is known when it opens. Enough for recovery to finish it
/// without the request it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDeployment {
    /// Its id.
    pub id: DeploymentId,
    /// The workload.
    pub workload: WorkloadId,
    /// What set it off.
    #[serde(flatten)]
    pub trigger: Trigger,
    /// Who asked.
    pub actor: Actor,
    /// Why, in the asker's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ShortText>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What was live on record when it was opened.
    pub replaces: LiveRecord,
    /// What is live on record if it goes back: the same, unless drift made the record untrue.
    pub fallback: LiveRecord,
    /// What was live at the platform.
    pub from: End,
    /// What will be: planned, or an instance that history knows.
    pub to: End,
    /// The health gate it is judged by.
    pub gate: Gate,
    /// The policy it runs under.
    pub policy: Policy,
    /// Guards that were forced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<GuardName>,
    /// What the plan warned of. Always present, empty when all is well.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The embedder's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The embedder's own id for what this belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<ShortText>,
    /// The group it moves with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<ShortText>,
}

impl NewDeployment {
    /// Which backend it runs on.
    pub fn backend(&self) -> Option<&BackendKind> {
        self.to.release().map(|r| r.backend())
    }
}

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Opened; nothing was done.
    Opened,
    /// `prepare` runs, or died.
    Preparing,
    /// `to` stands ready.
    Prepared,
    /// A release task runs, or died.
    Task,
    /// `start` runs, or died.
    Starting,
    /// `to` runs beside `from`.
    Started,
    /// `switch` runs, or died.
    Switching,
    /// `to` is live, not yet judged.
    Switched,
    /// A remediation runs, or died.
    Remediating,
    /// The gate has ended at what is live.
    Judged,
    /// Turned round.
    GoingBack,
    /// `switch` back runs, or died.
    SwitchingBack,
    /// `from` is live again.
    SwitchedBack,
    /// `retire` runs, or died.
    Retiring,
    /// Only what is live runs.
    Retired,
    /// Over.
    Settled,
}

impl Phase {
    /// The phase as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Preparing => "preparing",
            Self::Prepared => "prepared",
            Self::Task => "running a release task",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Switching => "switching",
            Self::Switched => "switched, checking health",
            Self::Remediating => "remediating",
            Self::Judged => "judged",
            Self::GoingBack => "going back",
            Self::SwitchingBack => "switching back",
            Self::SwitchedBack => "switched back",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Settled => "settled",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What people add to a record after the fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// Never forgotten by retention.
    pub pinned: bool,
    /// Never a rollback target; the text says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<ShortText>,
    /// Notes, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<ShortText>,
}

impl Annotations {
    /// For stores: these with one more; `None` when the record takes no more notes.
    #[must_use]
    pub fn annotated(mut self, what: &Annotation) -> Option<Self> {
        match what {
            Annotation::Pin => self.pinned = true,
            Annotation::Unpin => self.pinned = false,
            Annotation::MarkBad(why) => self.bad = Some(why.clone()),
            Annotation::ClearBad => self.bad = None,
            Annotation::Note(_) if self.notes.len() >= crate::memory::MAX_NOTES => return None,
            Annotation::Note(note) => self.notes.push(note.clone()),
        }
        Some(self)
    }
}

/// The event cannot follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} cannot follow phase {phase:?} in {deployment}")]
pub struct IllegalEvent {
    /// The deployment.
    pub deployment: DeploymentId,
    /// How far it was.
    pub phase: Phase,
    /// What was to follow.
    pub event: &'static str,
}

/// One attempt to make a release live: the history record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployment {
    #[serde(flatten)]
    new: NewDeployment,
    sequence: Sequence,
    annotations: Annotations,
    events: Vec<TimedEvent>,
    #[serde(skip)]
    fold: Fold,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fold {
    phase: Phase,
    prepared: Option<Prepared>,
    switch_began: bool,
    verdict: Verdict,
    cause: Option<Cause>,
    tasks_done: Vec<String>,
    task_in_doubt: Option<String>,
    remedied: Vec<String>,
    settlement: Option<Settlement>,
    rolled_back_by: Option<DeploymentId>,
}

impl Deployment {
    /// A deployment that was just opened.
    pub fn open(new: NewDeployment, sequence: Sequence) -> Self {
        Self {
            new,
            sequence,
            annotations: Annotations::default(),
            events: Vec::new(),
            fold: Fold {
                phase: Phase::Opened,
                prepared: None,
                switch_began: false,
                verdict: Verdict::Unknown,
                cause: None,
                tasks_done: Vec::new(),
                task_in_doubt: None,
                remedied: Vec::new(),
                settlement: None,
                rolled_back_by: None,
            },
        }
    }

    /// The fold of stored events. Fails on an order that cannot have happened.
    pub fn replay(
        new: NewDeployment,
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

    /// Whether this event may come next.
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
            Event::Started { .. } => phase == P::Starting,
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
                            | P::Retiring
                            | P::Retired
                    )
            }
            Event::Switched { .. } => phase == P::Switching,
            Event::Judged {
                site: crate::health::Site::Beside,
                ..
            } => !back && phase == P::Started,
            Event::Judged {
                site: crate::health::Site::Live,
                ..
            } => {
                !back
                    && (matches!(phase, P::Switched | P::Judged | P::Remediating)
                        || (self.new.trigger.kind() == TriggerKind::Adopt && phase == P::Prepared))
            }
            Event::RemediationIntended { .. } => !back && phase == P::Judged,
            Event::Remediated { .. } => phase == P::Remediating,
            Event::GoingBack(_) => !back && !matches!(phase, P::Settled),
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
                    matches!(phase, P::Judged | P::Retiring | P::Retired)
                }
            }
            Event::Retired => phase == P::Retiring,
            Event::TakenOver { .. } => phase != P::Settled,
            Event::Settled(_) => phase != P::Settled,
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

    /// Adds an event, or refuses it and changes nothing.
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
            Event::Started { .. } => fold.phase = Phase::Started,
            Event::SwitchIntended => {
                fold.switch_began = true;
                fold.phase = Phase::Switching;
            }
            Event::Switched { .. } => {
                fold.phase = Phase::Switched;
                // What was judged before is not what is live now.
                fold.verdict = Verdict::Unknown;
            }
            Event::Judged { site, verdict, .. } => {
                if *site == crate::health::Site::Live {
                    fold.phase = Phase::Judged;
                }
                fold.verdict = verdict.clone();
            }
            Event::RemediationIntended { name } => {
                fold.remedied.push(name.clone());
                fold.phase = Phase::Remediating;
            }
            Event::Remediated { .. } => {}
            Event::GoingBack(cause) => {
                fold.cause = Some(cause.clone());
                fold.phase = Phase::GoingBack;
            }
            Event::SwitchBackIntended => fold.phase = Phase::SwitchingBack,
            Event::SwitchedBack { .. } => fold.phase = Phase::SwitchedBack,
            Event::RetireIntended => fold.phase = Phase::Retiring,
            Event::Retired => fold.phase = Phase::Retired,
            Event::TakenOver { .. } => {}
            Event::Settled(settlement) => {
                fold.settlement = Some(settlement.clone());
                fold.phase = Phase::Settled;
            }
            Event::RolledBackBy { deployment } => fold.rolled_back_by = Some(deployment.clone()),
        }
        self.events.push(timed);
        Ok(())
    }

    /// What was known when it opened.
    pub fn new_deployment(&self) -> &NewDeployment {
        &self.new
    }

    /// Its id.
    pub fn id(&self) -> &DeploymentId {
        &self.new.id
    }

    /// The workload.
    pub fn workload(&self) -> &WorkloadId {
        &self.new.workload
    }

    /// Its place in the store's order.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// What set it off.
    pub fn trigger(&self) -> &Trigger {
        &self.new.trigger
    }

    /// Who asked.
    pub fn actor(&self) -> &Actor {
        &self.new.actor
    }

    /// Its timeline.
    pub fn events(&self) -> &[TimedEvent] {
        &self.events
    }

    /// What people added.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    /// For stores: replaces what people added.
    #[must_use]
    pub fn with_annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
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

    /// The release's place at the target, once prepared.
    pub fn instance(&self) -> Option<&Instance> {
        self.fold.prepared.as_ref().map(|p| &p.to)
    }

    /// Whether a switch was begun: from then on the live release may be either.
    pub fn switch_began(&self) -> bool {
        self.fold.switch_began
    }

    /// Why it turned round, if it did.
    pub fn cause(&self) -> Option<&Cause> {
        self.fold.cause.as_ref()
    }

    /// A release task that was begun and of whose end there is no evidence.
    pub fn task_in_doubt(&self) -> Option<&str> {
        self.fold.task_in_doubt.as_deref()
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
