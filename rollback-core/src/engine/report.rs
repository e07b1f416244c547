//! [`Report`]: how a run ended.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::deployment::{Deployment, LiveRecord, NotAttempted, Outcome};
use crate::diagnosis::Diagnosis;
use crate::error::{Chain, Error};
use crate::health::Verdict;
use crate::id::{DeploymentId, WorkloadId};

/// Whether and how the engine rolled back by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "was", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AutomaticRollback {
    /// No gate failed on a switched release.
    NotNeeded,
    /// It was needed and not attempted; the failed release is live.
    NotAttempted {
        /// What kept the engine from it.
        reason: NotAttempted,
    },
    /// It was attempted, once.
    Attempted {
        /// The automatic rollback's own record.
        deployment: Box<Deployment>,
        /// Whether its target has a good verdict on record (else: the newest earlier release).
        to_last_healthy: bool,
        /// Whether the target passed the gate again.
        recovered: bool,
    },
}

/// How a run ended.
///
/// In JSON: `deployment`, the record; `automatic_rollback`, which `was` `not_needed`,
/// `not_attempted` for a `reason`, or `attempted`, with the `deployment` that it was; and what is
/// `live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub(crate) deployment: Deployment,
    pub(crate) automatic_rollback: AutomaticRollback,
    pub(crate) live: LiveRecord,
}

impl Report {
    /// The record, settled.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// How the deployment ended. A failed one whose automatic rollback recovered is
    /// [`Outcome::FailedAndRolledBack`].
    pub fn outcome(&self) -> Outcome {
        self.deployment.outcome().unwrap_or(Outcome::Interrupted)
    }

    /// How its health gate ended.
    pub fn verdict(&self) -> &Verdict {
        self.deployment.verdict()
    }

    /// Whether the deployment itself succeeded.
    pub fn succeeded(&self) -> bool {
        self.outcome() == Outcome::Succeeded
    }

    /// What was seen of its release when it failed, before it was touched.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        self.deployment.diagnosis()
    }

    /// What the engine did by itself.
    pub fn automatic_rollback(&self) -> &AutomaticRollback {
        &self.automatic_rollback
    }

    /// What is live now.
    pub fn live(&self) -> &LiveRecord {
        &self.live
    }

    /// For a person: what happened, and what to do next. One line, and a second one for an
    /// automatic rollback.
    pub fn summary(&self) -> String {
        let own = self
            .deployment
            .settlement()
            .map_or("", |s| s.summary.as_str());
        match &self.automatic_rollback {
            AutomaticRollback::NotNeeded => own.to_owned(),
            AutomaticRollback::NotAttempted { reason } => {
                let why = match reason {
                    NotAttempted::NotArmed => "automatic rollback is not armed",
                    NotAttempted::NoRollbackPoint => {
                        "there is no rollback point for an automatic rollback"
                    }
                    NotAttempted::WasARollback => "a rollback is not rolled back by itself",
                    NotAttempted::WithItsGroup => {
                        "it went live with its group, and does not go back alone by itself: roll the stack back, or this workload alone"
                    }
                    NotAttempted::NotLookedUp => {
                        "where an automatic rollback would go could not be looked up: preview a rollback to see why"
                    }
                    NotAttempted::HistoryBehind => {
                        "the history is behind what is live: adopt what is live, then roll back by hand"
                    }
                    NotAttempted::Migrations => {
                        "migrations stand in the way of an automatic rollback: fix forward, or roll back by hand and force the guard migrations"
                    }
                };
                format!("{own} {}.", sentence(why))
            }
            AutomaticRollback::Attempted {
                deployment,
                recovered,
                ..
            } => {
                let then = deployment.settlement().map_or("", |s| s.summary.as_str());
                let end = if *recovered {
                    "The former release serves again; fix forward."
                } else if deployment.verdict().is_failed() {
                    "It did not recover: look at what both releases depend on."
                } else {
                    // It was never judged: nothing is known of what it depends on.
                    "It did not recover: look at the platform, then roll back by hand."
                };
                format!("{own}\nAutomatic rollback: {then} {end}")
            }
        }
    }
}

/// In JSON: `workload`, `deployment`, and its `report` or the `error` in words.
impl Serialize for Recovered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut told = serializer.serialize_struct("Recovered", 3)?;
        told.serialize_field("workload", &self.workload)?;
        told.serialize_field("deployment", &self.deployment)?;
        match &self.result {
            Ok(report) => told.serialize_field("report", report)?,
            Err(e) => told.serialize_field("error", &Chain::of(e).to_string())?,
        }
        told.end()
    }
}

fn sentence(s: &str) -> String {
    let mut chars = s.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// What recovery did with one unfinished deployment.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The workload that had it in flight.
    pub workload: WorkloadId,
    /// The deployment; `None` if the workload's state cannot be read.
    pub deployment: Option<DeploymentId>,
    /// How it ended. An error stops no other recovery; the record stays unfinished.
    pub result: Result<Report, Error>,
}
