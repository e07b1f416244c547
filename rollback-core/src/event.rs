//! Events: what a deployment did, in order. The record is the fold of these, and the fold
//! rejects an order that cannot have happened.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::{Evidence, Prepared, Started};
use crate::deployment::{Outcome, Settlement};
use crate::diagnosis::Diagnosis;
use crate::health::{Site, Verdict};
use crate::history::Holder;
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::newer::{Newer, keeps_newer};
use crate::time::Timestamp;

/// Why a deployment turned round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A step failed.
    StepFailed {
        /// What it said.
        error: String,
    },
    /// The successor was unhealthy before it had the traffic.
    Unhealthy {
        /// What the gate said.
        diagnostic: String,
    },
    /// A guard refused after the deployment had been opened.
    Guarded {
        /// The guard and its reason.
        why: String,
    },
    /// Somebody asked to stop.
    Cancelled {
        /// Who; `None`: the program that ran it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
    },
    /// The process died before anything live was touched, or before its group was decided.
    Interrupted,
    /// It was a drill that ends before the switch, and went well so far.
    Practised,
    /// Its group does not go live, because of another member.
    WithItsGroup {
        /// The other member's workload.
        workload: WorkloadId,
        /// The other member.
        deployment: DeploymentId,
        /// What became of it.
        why: String,
    },
}

impl Cause {
    /// How a deployment that went back for this cause ends.
    pub fn outcome(&self, switched: bool) -> Outcome {
        match self {
            Self::StepFailed { .. } | Self::Unhealthy { .. } if switched => {
                Outcome::FailedAndRolledBack
            }
            Self::StepFailed { .. } | Self::Unhealthy { .. } => Outcome::Failed,
            Self::Guarded { .. } => Outcome::Refused,
            // Nothing is wrong with it.
            Self::Cancelled { .. } | Self::WithItsGroup { .. } => Outcome::Cancelled,
            Self::Interrupted => Outcome::Interrupted,
            Self::Practised => Outcome::Succeeded,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StepFailed { error } => f.write_str(error),
            Self::Unhealthy { diagnostic } => write!(f, "unhealthy: {diagnostic}"),
            Self::Guarded { why } => f.write_str(why),
            Self::Cancelled { by: Some(by) } => write!(f, "cancelled by {by}"),
            Self::Cancelled { by: None } => f.write_str("cancelled"),
            Self::Interrupted => f.write_str("the engine's process ended half-way"),
            Self::Practised => f.write_str("it was a drill, which ends before the switch"),
            Self::WithItsGroup { workload, why, .. } => {
                write!(f, "{workload}, which it moves with, did not go live: {why}")
            }
        }
    }
}

/// One step on a deployment's timeline. `…Intended` is durable before the effect, the other
/// half is its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Event {
    /// `prepare` is about to run.
    PrepareIntended,
    /// `to` stands at the target, not live.
    Prepared(Prepared),
    /// A release task is about to run.
    TaskIntended {
        /// The task's name, as the program has it.
        name: String,
    },
    /// The release task has run, and succeeded.
    TaskDone {
        /// The task's name, as the program has it.
        name: String,
    },
    /// `start` is about to run.
    StartIntended,
    /// `to` runs beside `from`.
    Started(Started),
    /// `switch` is about to run: from here on the live release may be either.
    SwitchIntended,
    /// `to` is live.
    Switched {
        /// What the backend offers as proof that this very switch took place.
        evidence: Evidence,
    },
    /// A gate ended.
    Judged {
        /// Where it looked.
        site: Site,
        /// What it found.
        verdict: Verdict,
        /// What the checks remarked about their yes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// A release failed, and this was seen of it before it was touched.
    Diagnosed(Diagnosis),
    /// A remediation was not tried: too many were, on this workload, lately.
    RemediationWithheld {
        /// The remediation's name, as the program has it.
        name: String,
        /// What the breaker says.
        why: String,
    },
    /// A remediation is about to run.
    RemediationIntended {
        /// The remediation's name, as the program has it.
        name: String,
    },
    /// It ran; the gate judges again.
    Remediated {
        /// The remediation's name, as the program has it.
        name: String,
        /// What it did.
        did: String,
    },
    /// It is live and healthy, and goes on if its group does.
    Agreed,
    /// On the coordinator's record: every member of the group has agreed, and all of them go forward.
    Decided,
    /// The deployment turns round.
    GoingBack(Cause),
    /// `switch` of the reversed operation is about to run.
    SwitchBackIntended,
    /// `from` is live again.
    SwitchedBack {
        /// What the backend offers as proof that the switch back took place.
        evidence: Evidence,
    },
    /// `retire` is about to run, in whichever direction the deployment goes.
    RetireIntended,
    /// Only the live release runs.
    Retired,
    /// Another process took the deployment over from a dead one.
    TakenOver {
        /// What recovery decided, in words.
        decision: String,
        /// That process; `None` in records of before this was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Holder>,
    },
    /// Settled: the last event but one.
    Settled(Settlement),
    /// Its automatic rollback succeeded: failed *and rolled back*.
    RolledBackBy {
        /// The automatic rollback.
        deployment: DeploymentId,
    },
    /// One of a newer version of this library, kept as it is.
    #[serde(skip)]
    Newer(Newer),
}

keeps_newer!(Event, "event");

impl Event {
    /// Its name in one word, for timelines and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PrepareIntended => "prepare-intended",
            Self::Prepared(_) => "prepared",
            Self::TaskIntended { .. } => "task-intended",
            Self::TaskDone { .. } => "task-done",
            Self::StartIntended => "start-intended",
            Self::Started(_) => "started",
            Self::SwitchIntended => "switch-intended",
            Self::Switched { .. } => "switched",
            Self::Judged { .. } => "judged",
            Self::Diagnosed(_) => "diagnosed",
            Self::RemediationWithheld { .. } => "remediation-withheld",
            Self::RemediationIntended { .. } => "remediation-intended",
            Self::Remediated { .. } => "remediated",
            Self::Agreed => "agreed",
            Self::Decided => "decided",
            Self::GoingBack(_) => "going-back",
            Self::SwitchBackIntended => "switch-back-intended",
            Self::SwitchedBack { .. } => "switched-back",
            Self::RetireIntended => "retire-intended",
            Self::Retired => "retired",
            Self::TakenOver { .. } => "taken-over",
            Self::Settled(_) => "settled",
            Self::RolledBackBy { .. } => "rolled-back-by",
            Self::Newer(_) => "newer",
        }
    }
}

/// An event and when it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimedEvent {
    /// When, by the engine's clock. For people: the order is the list's.
    pub at: Timestamp,
    /// The intent or the evidence; in JSON its fields are beside `at`.
    #[serde(flatten)]
    pub event: Event,
}

impl TimedEvent {
    /// What happened then.
    pub fn new(at: Timestamp, event: Event) -> Self {
        Self { at, event }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<TimedEvent, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_event_of_a_newer_version_is_written_as_it_was_read() {
        let json = r#"{"at":"2026-03-15T14:30:22Z","event":"weighed","weight":5,"of":{"a":[1]}}"#;
        let timed = read(json).unwrap();
        let Event::Newer(newer) = &timed.event else {
            panic!("{timed:?}")
        };
        assert_eq!(newer.kind("event"), "weighed");
        let again: serde_json::Value = serde_json::to_value(&timed).unwrap();
        assert_eq!(
            again,
            serde_json::from_str::<serde_json::Value>(json).unwrap()
        );
    }

    #[test]
    fn a_diagnosis_was_read_as_an_event_of_a_newer_version() {
        let words = crate::diagnosis::Words::default().fact("exit_code", 1);
        let event = Event::Diagnosed(Diagnosis::new(Vec::new(), words));
        let at = Timestamp::UNIX_EPOCH;
        let timed = TimedEvent { at, event };
        let json = serde_json::to_string(&timed).unwrap();
        assert_eq!(read(&json).unwrap(), timed);
    }

    #[test]
    fn a_known_event_that_is_damaged_is_no_newer_one() {
        for json in [
            r#"{"at":"2026-03-15T14:30:22Z","event":"task_done"}"#,
            r#"{"at":"2026-03-15T14:30:22Z","event":"settled","outcome":"well"}"#,
            r#"{"at":"2026-03-15T14:30:22Z","event":7}"#,
            r#"{"at":"2026-03-15T14:30:22Z"}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
