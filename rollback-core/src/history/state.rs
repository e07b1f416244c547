//! [`WorkloadState`]: what is true of one workload now.

use serde::{Deserialize, Serialize};

use super::{Amended, Epoch, Holder, Liveness, Sequence, Settings, Version};
use crate::deployment::LiveRecord;
use crate::error::StoreError;
use crate::id::{Actor, DeploymentId, ShortText, WorkloadId};
use crate::policy::Policy;
use crate::time::Timestamp;

/// A deployment in flight, as the workload's state shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InFlight {
    /// The deployment that is in flight.
    pub deployment: DeploymentId,
    /// Who runs it.
    pub holder: Holder,
    /// Whether they live.
    pub liveness: Liveness,
    /// The lease's epoch.
    pub epoch: Epoch,
}

impl InFlight {
    /// A deployment, who runs it, and under which epoch of the workload's lease.
    pub fn new(deployment: DeploymentId, holder: Holder, liveness: Liveness, epoch: Epoch) -> Self {
        Self {
            deployment,
            holder,
            liveness,
            epoch,
        }
    }
}

/// A person's request to let nothing but rollbacks through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hold {
    /// Who holds it.
    pub by: Actor,
    /// Why, for whom it keeps from deploying.
    pub why: ShortText,
    /// Since when, by the engine's clock.
    pub since: Timestamp,
}

/// An artifact that people have withdrawn: it has a flaw that no health gate sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recall {
    /// Its digest.
    pub artifact: String,
    /// Why.
    pub why: ShortText,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// The oldest deployment that a rollback goes to: what came before would not run any more, after a
/// migration that cannot be undone, say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Floor {
    /// Which.
    pub deployment: DeploymentId,
    /// Its place in the order: it holds also when the record is gone.
    pub sequence: Sequence,
    /// The place of the deployment that first brought its release: what is that release is not below
    /// the floor, however old.
    pub origin: Sequence,
    /// Why.
    pub why: ShortText,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// A policy that lasts in the store, and who set it.
///
/// In JSON the policy with one more field, `set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredPolicy {
    /// The policy, in place of the program's.
    #[serde(flatten)]
    pub policy: Policy,
    /// Who set it, and when; `None` in histories of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<PolicySet>,
}

/// Who set a policy, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PolicySet {
    /// Who set it.
    pub by: Actor,
    /// When they did, by the engine's clock.
    pub at: Timestamp,
}

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
}
