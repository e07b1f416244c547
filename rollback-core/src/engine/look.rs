//! Looking at a workload as it is now: the platform's view, the checks', and the record's.

use super::inner::NEWEST;
use super::{RollbackEngine, ask, gate};
use crate::backend::Live;
use crate::context::Context;
use crate::deployment::Deployment;
use crate::drift::{Drift, drift};
use crate::error::Error;
use crate::health::{Healthy, Probe, Verdict, View};
use crate::history::{Fence, Published};
use crate::id::WorkloadId;

/// What [`RollbackEngine::health`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// What is live by the platform, in words; `None` if nothing is.
    pub live: Option<String>,
    /// The platform's own view.
    pub platform: View,
    /// Each check by name: its yes, or why it said no.
    pub checks: Vec<(String, Result<Healthy, String>)>,
    /// Whether what is live is what is on record.
    pub drift: Drift,
    /// What was published at the target and is not on record: the history is behind what is live,
    /// and nothing is deployed until it was adopted.
    pub behind: Option<Fence>,
}

impl HealthReport {
    /// All views taken together, as the gate takes them: the platform's no is final, where nothing was
    /// asked to run nobody is judged, and of the checks one yes is enough.
    pub fn verdict(&self) -> Verdict {
        let settled = matches!(self.platform, View::Failed(_) | View::Idle(_));
        if settled || self.checks.is_empty() {
            return self.platform.verdict();
        }
        if self.checks.iter().any(|(_, seen)| seen.is_ok()) {
            return Verdict::Passed;
        }
        let failures: Vec<String> = self
            .checks
            .iter()
            .filter_map(|(name, seen)| seen.as_ref().err().map(|why| format!("{name}: {why}")))
            .collect();
        Verdict::failed(failures.join("\n"))
    }
}

impl RollbackEngine {
    /// How a workload is now. Looks once, changes and records nothing.
    ///
    /// # Errors
    ///
    /// [`NotRegistered`](crate::error::ErrorKind::NotRegistered),
    /// [`Store`](crate::error::ErrorKind::Store) and [`Backend`](crate::error::ErrorKind::Backend),
    /// as of [all verbs](RollbackEngine#errors-of-all-verbs). A check that says no, and a platform
    /// that says that the instance has failed, are no errors.
    pub async fn health(&self, workload: &WorkloadId) -> Result<HealthReport, Error> {
        let inner = self.inner();
        let entry = inner.workload(workload)?;
        let backend = entry.backend.as_ref();
        let state = inner.store.workload(workload).await?;
        let rules = entry.rules(&state);
        let record = match state.live.known() {
            Some(id) => inner.store.get(id).await?,
            None => None,
        };
        let limit = rules.policy.deadlines.observe;
        let observed = ask::observe(limit, backend).await?;
        // What a deployment in flight rolls out is what is to be live, and nobody's hand.
        let in_flight = match (&observed.live, &state.in_flight) {
            (Live::RollingOut(_), Some(in_flight)) => {
                inner.store.get(&in_flight.deployment).await?
            }
            _ => None,
        };
        let rolled_out = in_flight.as_ref().and_then(Deployment::instance);
        let recorded = match rolled_out.filter(|own| observed.leads_to(own)) {
            Some(own) => Some(own),
            None => record.as_ref().and_then(Deployment::instance),
        };
        let drift = drift(recorded, &observed);
        let past = inner.summaries(workload, NEWEST).await?;
        let behind = match inner.published(&observed, workload, &past).await? {
            Published::Ahead(fence) => Some(fence.clone()),
            _ => None,
        };
        let Some(sighting) = observed.heading() else {
            return Ok(HealthReport {
                live: None,
                platform: View::NoOpinion,
                checks: Vec::new(),
                drift,
                behind,
            });
        };
        let instance = sighting.instance.clone();
        let platform = ask::health(limit, backend, &instance).await?;
        let live = Some(instance.release.to_string());
        let probe = Probe::live(workload.clone(), instance);
        let timeout = rules.gate.timeout;
        let mut checks = Vec::new();
        for check in &entry.checks {
            let looked = gate::look(&Context::new(timeout), check.as_ref(), &probe).await;
            checks.push((check.name(), looked.map_err(|e| e.diagnostic)));
        }
        Ok(HealthReport {
            live,
            platform,
            checks,
            drift,
            behind,
        })
    }
}
