//! The oracle: what has to be true of a machine at rest, whatever has happened to it.

use std::collections::BTreeSet;
use std::fmt;

use rollback_core::backend::Handle;
use rollback_core::deployment::{Deployment, LiveRecord, Outcome, TriggerKind};
use rollback_core::history::{HistoryReader, Query, WorkloadState};
use rollback_core::id::DeploymentId;

use super::disk::Written;
use super::process::{Machine, api};
use crate::fake::Standing;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// Which promise, in words that are the same each time.
    pub what: &'static str,
    /// What was seen this time.
    pub seen: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.seen)
    }
}

impl Breach {
    pub(super) fn new(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            seen: seen.into(),
        }
    }
}

/// How tidy a machine has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tidy {
    /// What a crash left may wait for the next deployment, if it is whole and was live once.
    UntilTheNextDeployment,
    /// Nothing is left over.
    Now,
}

/// A machine as it is.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) state: WorkloadState,
    pub(super) records: Vec<Deployment>,
    pub(super) standing: Vec<Standing>,
    pub(super) live: Option<Handle>,
    pub(super) serving: Option<String>,
}

impl Sight {
    pub(super) async fn of(machine: &Machine) -> Self {
        let store = machine.disk.store();
        let query = Query::workload(&api()).limit(1_000);
        let page = store.list(&query).await.expect("records");
        Self {
            state: store.workload(&api()).await.expect("a state"),
            records: page.deployments,
            standing: machine.target.standing(),
            live: machine.target.live(),
            serving: machine.target.serving(),
        }
    }

    pub(super) fn record(&self, id: &DeploymentId) -> Option<&Deployment> {
        self.records.iter().find(|d| d.id() == id)
    }

    /// What stands at the target and no backend made.
    pub(super) fn by_hand(&self) -> BTreeSet<Handle> {
        let by_hand = self.standing.iter().filter(|s| s.by.is_none());
        by_hand.map(|s| s.handle.clone()).collect()
    }

    pub(super) fn runs(&self, handle: &Handle) -> bool {
        self.standing.iter().any(|s| s.handle == *handle && s.runs)
    }

    /// The digest of what serves, or nothing.
    pub(super) fn serves(&self) -> &str {
        self.serving.as_deref().unwrap_or_default()
    }

    /// Nothing is in flight, and exactly what is on record is live, runs, and nothing else does.
    pub(super) fn is_one_live_and_on_record(&self, breaches: &mut Vec<Breach>) {
        if let Some(in_flight) = &self.state.in_flight {
            let phase = self
                .record(&in_flight.deployment)
                .map(|d| d.phase().to_string());
            let phase = phase.unwrap_or_default();
            breaches.push(Breach::new("it is not at rest", phase));
            return;
        }
        let recorded = match &self.state.live {
            LiveRecord::Nothing => None,
            LiveRecord::Known(id) => {
                let instance = self.record(id).and_then(|d| d.instance().cloned());
                if instance.is_none() {
                    breaches.push(Breach::new("what is live has no record", ""));
                    return;
                }
                instance.map(|i| i.handle)
            }
            LiveRecord::Unknown => {
                breaches.push(Breach::new("what is live is on record as unknown", ""));
                return;
            }
        };
        if recorded != self.live {
            let seen = format!(
                "record: {}, live: {}",
                self.name(&recorded),
                self.name(&self.live)
            );
            breaches.push(Breach::new("what is live is not what is on record", seen));
        }
        let running: Vec<&str> = self
            .standing
            .iter()
            .filter(|s| s.runs)
            .map(|s| s.digest.as_str())
            .collect();
        if running.len() != usize::from(self.live.is_some()) {
            let seen = format!("{running:?} run, live: {}", self.name(&self.live));
            breaches.push(Breach::new("not exactly one runs", seen));
        }
    }

    fn name(&self, handle: &Option<Handle>) -> String {
        let Some(handle) = handle else {
            return "nothing".into();
        };
        let standing = self.standing.iter().find(|s| s.handle == *handle);
        standing.map_or_else(|| "what is not there".into(), |s| s.digest.clone())
    }

    /// Whatever backends made and nobody needs is gone.
    pub(super) fn nothing_is_left_over(&self, tidy: Tidy, breaches: &mut Vec<Breach>) {
        for s in &self.standing {
            if s.by.is_none() || Some(&s.handle) == self.live.as_ref() {
                continue;
            }
            let is_known = self
                .records
                .iter()
                .filter_map(Deployment::instance)
                .any(|i| i.handle == s.handle);
            let what = if !s.complete {
                "something half-made is left over"
            } else if !s.was_live {
                "something that was never live is left over"
            } else if !is_known && tidy == Tidy::Now {
                "something that no record knows is left over"
            } else {
                continue;
            };
            breaches.push(Breach::new(what, s.digest.clone()));
        }
    }

    /// Every record's end agrees with what was seen of it.
    pub(super) fn records_tell_the_truth(&self, breaches: &mut Vec<Breach>) {
        for d in &self.records {
            if d.outcome().is_none() {
                let is_in_flight = self
                    .state
                    .in_flight
                    .as_ref()
                    .is_some_and(|f| f.deployment == *d.id());
                if !is_in_flight {
                    breaches.push(Breach::new(
                        "a record is unfinished and not in flight",
                        d.trigger().kind().to_string(),
                    ));
                }
            }
            // What is sick may be adopted: it is what is live.
            let adopted = d.trigger().kind() == TriggerKind::Adopt;
            if d.outcome() == Some(Outcome::Succeeded) && d.verdict().is_failed() && !adopted {
                breaches.push(Breach::new("a sick release is on record as a success", ""));
            }
        }
    }
}

/// Everything that was acknowledged is in the history.
pub(super) async fn nothing_acknowledged_is_lost(machine: &Machine, breaches: &mut Vec<Breach>) {
    let store = machine.disk.store();
    let written = machine.disk.written();
    let forgotten: BTreeSet<&DeploymentId> = written
        .iter()
        .filter_map(|w| match w {
            Written::Forgotten(ids) => Some(ids),
            _ => None,
        })
        .flatten()
        .collect();
    for write in &written {
        let (id, events) = match write {
            Written::Begun(new, ..) => (&new.id, Vec::new()),
            other => match other.events() {
                Some(acknowledged) => acknowledged,
                None => continue,
            },
        };
        let Ok(Some(record)) = store.get(id).await else {
            if !forgotten.contains(id) {
                breaches.push(Breach::new("an acknowledged record is lost", ""));
            }
            continue;
        };
        for event in events {
            if !record.events().iter().any(|e| e.event == event) {
                breaches.push(Breach::new("an acknowledged event is lost", event.name()));
            }
        }
    }
}
