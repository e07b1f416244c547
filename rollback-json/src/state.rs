//! A workload's state file: the one commit point.

use std::path::Path;

use rollback_core::deployment::LiveRecord;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Epoch, Hold, Holder, InFlight, Lease, Liveness, Sequence, StoredPolicy, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_fs::{durable, system};
use serde::{Deserialize, Serialize};

use crate::error::fenced;
use crate::record::{Stamp, read};
use crate::seal::{self, FORMAT, Unreadable};

/// What a workload's state file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    pub(crate) workload: WorkloadId,
    pub(crate) version: u64,
    pub(crate) epoch: u64,
    pub(crate) live: LiveRecord,
    pub(crate) in_flight: Option<Held>,
    pub(crate) hold: Option<Hold>,
    pub(crate) policy: Option<StoredPolicy>,
    /// The newest record that is committed: one with a greater number was left by a crash.
    pub(crate) last: Sequence,
    /// How many records were ever committed: says in which directory the next one belongs.
    pub(crate) count: u64,
    /// The last `finish`, so that repeating it is recognised.
    pub(crate) finished: Option<Finished>,
    /// What this commit did to records whose own files may not show it yet.
    pub(crate) pending: Pending,
}

/// The deployment in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) deployment: DeploymentId,
    pub(crate) sequence: Sequence,
    /// The directory of its record.
    pub(crate) shard: u64,
    pub(crate) holder: Holder,
    pub(crate) cancel_by: Option<Actor>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) deployment: DeploymentId,
    pub(crate) epoch: u64,
}

/// Changes to records, committed with the state and carried out after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) events: Vec<Amendment>,
    pub(crate) forget: Vec<Forgotten>,
}

/// A record that goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    pub(crate) deployment: DeploymentId,
    pub(crate) sequence: Sequence,
    pub(crate) shard: u64,
}

/// An event that a record gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Amendment {
    pub(crate) deployment: DeploymentId,
    pub(crate) sequence: Sequence,
    pub(crate) shard: u64,
    pub(crate) event: TimedEvent,
}

impl Pending {
    pub(crate) fn forgets(&self, sequence: Sequence) -> bool {
        self.forget.iter().any(|f| f.sequence == sequence)
    }
}

impl State {
    /// Of a workload that has none yet.
    pub(crate) fn unseen(workload: WorkloadId) -> Self {
        Self {
            format: FORMAT,
            workload,
            version: 0,
            epoch: 0,
            live: LiveRecord::Nothing,
            in_flight: None,
            hold: None,
            policy: None,
            last: Sequence(0),
            count: 0,
            finished: None,
            pending: Pending::default(),
        }
    }

    /// From its file; `None` if there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<(Self, Stamp)>, StoreError> {
        let Some((bytes, stamp)) = read(path)? else {
            return Ok(None);
        };
        match seal::open(&bytes) {
            Ok(state) => Ok(Some((state, stamp))),
            Err(why @ Unreadable::Newer(_)) => {
                Err(StoreError::new(Kind::NewerSchema, why.to_string()).on(path.display()))
            }
            Err(why @ Unreadable::Damaged(_)) => Err(StoreError::new(
                Kind::Corrupt,
                format!("the workload's state cannot be read ({why}); nothing was changed"),
            )
            .on(path.display())
            .advice(
                "restore this one file from a copy; its records and other workloads are whole",
            )),
        }
    }

    /// To its file, durably: the commit.
    pub(crate) fn store(&self, path: &Path) -> Result<(), StoreError> {
        let bytes = seal::seal(self)?;
        durable::replace(path, &bytes)
            .map_err(|e| system("the workload's state cannot be written", path, e))
    }

    /// Refuses a lease that is over.
    pub(crate) fn check(&self, lease: &Claim) -> Result<&Held, StoreError> {
        match &self.in_flight {
            Some(held) if self.epoch == lease.epoch && held.deployment == lease.deployment => {
                Ok(held)
            }
            _ => Err(fenced(&lease.deployment)),
        }
    }

    pub(crate) fn shown(&self, liveness: Liveness) -> WorkloadState {
        WorkloadState {
            workload: self.workload.clone(),
            version: Version(self.version),
            live: self.live.clone(),
            in_flight: self.in_flight.as_ref().map(|held| InFlight {
                deployment: held.deployment.clone(),
                holder: held.holder.clone(),
                liveness,
                epoch: Epoch(self.epoch),
            }),
            hold: self.hold.clone(),
            policy: self.policy.clone(),
            amendments: Vec::new(),
        }
    }
}

/// The fields of a lease that a write is checked against.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) workload: WorkloadId,
    pub(crate) deployment: DeploymentId,
    pub(crate) epoch: u64,
}

impl From<&Lease> for Claim {
    fn from(lease: &Lease) -> Self {
        Self {
            workload: lease.workload().clone(),
            deployment: lease.deployment().clone(),
            epoch: lease.epoch().0,
        }
    }
}
