//! [`Conflict`]: the deployment in flight that another one has to wait for.

use std::fmt;
use std::time::Duration;

use super::{Holder, InFlight, Liveness};
use crate::deployment::Phase;
use crate::id::{DeploymentId, WorkloadId};
use crate::time::Timestamp;

/// Who is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The workload that is taken: no other deployment of it may begin.
    pub workload: WorkloadId,
    /// The deployment in flight.
    pub deployment: DeploymentId,
    /// Who runs it.
    pub holder: Holder,
    /// Whether they live.
    pub liveness: Liveness,
    /// How far it is.
    pub phase: Phase,
    /// How long it has been running.
    pub age: Duration,
}

impl Conflict {
    /// What is in flight on a workload now, and how far it is.
    pub fn new(workload: WorkloadId, in_flight: &InFlight, phase: Phase, now: Timestamp) -> Self {
        Self {
            workload,
            deployment: in_flight.deployment.clone(),
            holder: in_flight.holder.clone(),
            liveness: in_flight.liveness,
            phase,
            age: now.since(in_flight.holder.since),
        }
    }
}

impl Conflict {
    /// Who is in the way.
    pub(crate) fn who(&self) -> String {
        let dead = match self.liveness {
            Liveness::Alive => "",
            Liveness::Dead => ", which is dead",
        };
        format!(
            "{} is busy: {} is {} since {} s, held by process {} on {}{dead}",
            self.workload,
            self.deployment,
            self.phase,
            self.age.as_secs(),
            self.holder.pid,
            self.holder.host,
        )
    }

    /// What to do about it.
    pub(crate) fn way_out(&self) -> &'static str {
        match self.liveness {
            Liveness::Alive => "wait for it, or cancel it",
            Liveness::Dead => "run recover",
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.who(), self.way_out())
    }
}
