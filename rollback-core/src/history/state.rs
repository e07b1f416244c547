//! [`WorkloadState`]: what is true of one workload now.

use serde::{Deserialize, Serialize};

use super::{Amended, Floor, Hold, InFlight, Liveness, Recall, Settings, StoredPolicy, Version};
use crate::deployment::{LiveRecord, Phase};
use crate::error::StoreError;
use crate::id::{DeploymentId, WorkloadId};

/// What is true of one workload now: the store's only commit point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkloadState {
    /// The workload that the state is of.
    pub workload: WorkloadId,
    /// Grows with every change.
    pub version: Version,
    /// What is live.
    pub live: LiveRecord,
    /// The deployment in flight.
    pub in_flight: Option<InFlight>,
    /// Whether deploys are held.
    pub hold: Option<Hold>,
    /// The durable policy, where one was set.
    pub policy: Option<StoredPolicy>,
    /// Artifacts that no automatic rollback goes to, and no other one unless it is forced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recalls: Vec<Recall>,
    /// Below what no automatic rollback goes, and no other one unless it is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// Who held, lifted, set, cleared and abandoned, oldest first; the last
    /// [`MAX_AMENDMENTS`](super::MAX_AMENDMENTS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amendments: Vec<Amended>,
}

/// The states of a store's workloads. One that cannot be read hides no other.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct States {
    /// Those that can be read, by id.
    pub states: Vec<WorkloadState>,
    /// Those that cannot, by id.
    pub damaged: Vec<Damaged>,
}

impl States {
    /// Those that can be read and those that cannot, both by id.
    pub fn new(states: Vec<WorkloadState>, damaged: Vec<Damaged>) -> Self {
        Self { states, damaged }
    }
}

/// A workload whose state cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Damaged {
    /// The workload, as its name in the store says.
    pub workload: WorkloadId,
    /// What keeps its state from being read.
    pub error: StoreError,
}

impl Damaged {
    /// What keeps this workload's state from being read.
    pub fn new(workload: WorkloadId, error: StoreError) -> Self {
        Self { workload, error }
    }
}

impl WorkloadState {
    /// The state of a workload that the store has never seen.
    pub fn unseen(workload: WorkloadId) -> Self {
        Self {
            workload,
            version: Version(0),
            live: LiveRecord::Nothing,
            in_flight: None,
            hold: None,
            policy: None,
            recalls: Vec::new(),
            floor: None,
            amendments: Vec::new(),
        }
    }

    /// What people have set.
    pub fn settings(&self) -> Settings {
        Settings {
            hold: self.hold.clone(),
            policy: self.policy.clone(),
            recalls: self.recalls.clone(),
            floor: self.floor.clone(),
            amendments: self.amendments.clone(),
        }
    }

    /// The same with what people have set.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self {
            hold: settings.hold,
            policy: settings.policy,
            recalls: settings.recalls,
            floor: settings.floor,
            amendments: settings.amendments,
            ..self
        }
    }

    /// For stores: whether nothing is in flight, so that a deployment may begin, or be excluded.
    /// `phase` looks up how far one is, as [`StoreError::in_flight`] takes it.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Conflict`](crate::error::StoreErrorKind::Conflict) while one is in flight,
    /// its holder dead or alive.
    pub fn check_idle(&self, phase: impl FnOnce(&DeploymentId) -> Phase) -> Result<(), StoreError> {
        self.in_flight.as_ref().map_or(Ok(()), |f| {
            let phase = phase(&f.deployment);
            Err(StoreError::in_flight(&self.workload, f, phase))
        })
    }

    /// For stores: what a dead holder has left in flight, to be taken over or abandoned.
    /// `phase` looks up how far it is, as [`StoreError::in_flight`] takes it.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::NotFound`](crate::error::StoreErrorKind::NotFound) if nothing is in flight;
    /// [`StoreErrorKind::Conflict`](crate::error::StoreErrorKind::Conflict) if its holder lives.
    pub fn left_by_the_dead(
        &self,
        phase: impl FnOnce(&DeploymentId) -> Phase,
    ) -> Result<&InFlight, StoreError> {
        let nothing = || StoreError::nothing_in_flight(&self.workload);
        let left = self.in_flight.as_ref().ok_or_else(nothing)?;
        if left.liveness == Liveness::Dead {
            return Ok(left);
        }
        let phase = phase(&left.deployment);
        Err(StoreError::in_flight(&self.workload, left, phase))
    }
}
