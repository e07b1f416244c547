//! A workload's state file: the one commit point.

use std::fmt;
use std::path::Path;

use rollback_core::deployment::LiveRecord;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Amended, Claim, Epoch, Floor, Hold, Holder, InFlight, Liveness, Recall, Sequence, Settings,
    StoredPolicy, Version, WasAmended, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use serde::{Deserialize, Serialize};

use crate::seal::{self, FORMAT, Unreadable, WITHHOLDING};

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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) recalls: Vec<Recall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<Floor>,
    /// Who held, lifted, set, cleared and abandoned, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) amendments: Vec<Amended>,
    /// The newest record that is committed. One with a greater number shows that this state is
    /// older than its records.
    pub(crate) last: Sequence,
    /// How many records were ever committed: says in which directory the next one belongs.
    pub(crate) count: u64,
    /// How many of them are kept; not known of states of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<u64>,
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
    /// A record that gets its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) opened: Option<Placed>,
    pub(crate) events: Vec<Amendment>,
    pub(crate) forget: Vec<Placed>,
}

/// Which record, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Placed {
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
    pub(crate) fn forgets(&self, id: &DeploymentId) -> bool {
        self.forget.iter().any(|f| f.deployment == *id)
    }

    pub(crate) fn opens(&self, id: &DeploymentId) -> Option<&Placed> {
        self.opened.as_ref().filter(|o| o.deployment == *id)
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
            recalls: Vec::new(),
            floor: None,
            amendments: Vec::new(),
            last: Sequence(0),
            count: 0,
            kept: Some(0),
            finished: None,
            pending: Pending::default(),
        }
    }

    /// As its file's content says.
    pub(crate) fn open(
        bytes: &[u8],
        workload: &WorkloadId,
        path: &Path,
    ) -> Result<Self, StoreError> {
        match seal::open::<Self>(bytes) {
            Ok(state) if state.workload == *workload => Ok(state),
            Ok(state) => Err(damaged(
                path,
                format_args!("it is that of {}", state.workload),
            )),
            Err(why @ Unreadable::Newer(_)) => {
                Err(StoreError::new(Kind::NewerSchema, why.to_string()).on(path.display()))
            }
            Err(why @ Unreadable::Damaged(_)) => Err(damaged(path, why)),
        }
    }

    /// As a file's new content. `found` is the present one, and `known` what it says.
    pub(crate) fn encode(&self, before: Option<&(Vec<u8>, Self)>) -> Result<Vec<u8>, StoreError> {
        let new = self;
        let Some((found, known)) = before else {
            return seal::seal(new);
        };
        let within: &[&str] = if known.deployment_in_flight() == new.deployment_in_flight() {
            &["in_flight"]
        } else {
            &[]
        };
        seal::reseal(found, known, new, within)
    }

    /// The same as this version writes it.
    pub(crate) fn in_this_format(&self) -> Self {
        Self {
            format: if self.withholds() {
                WITHHOLDING
            } else {
                FORMAT
            },
            ..self.clone()
        }
    }

    /// Whether it withholds anything from rollbacks, or tells of having done so: what a program that
    /// does not know of it would misread.
    fn withholds(&self) -> bool {
        let told = self.amendments.iter().any(|a| {
            !matches!(
                a.what,
                WasAmended::Held { .. }
                    | WasAmended::HoldLifted { .. }
                    | WasAmended::PolicySet
                    | WasAmended::PolicyCleared
                    | WasAmended::Abandoned { .. }
            )
        });
        told || !self.recalls.is_empty() || self.floor.is_some()
    }

    /// What people have set.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            hold: self.hold.clone(),
            policy: self.policy.clone(),
            recalls: self.recalls.clone(),
            floor: self.floor.clone(),
            amendments: self.amendments.clone(),
        }
    }

    pub(crate) fn set(&mut self, settings: Settings) {
        self.hold = settings.hold;
        self.policy = settings.policy;
        self.recalls = settings.recalls;
        self.floor = settings.floor;
        self.amendments = settings.amendments;
    }

    /// Refuses a lease that is over.
    pub(crate) fn check(&self, claim: &Claim) -> Result<&Held, StoreError> {
        claim.check(Epoch(self.epoch), self.deployment_in_flight())?;
        let held = self.in_flight.as_ref();
        held.ok_or_else(|| StoreError::fenced(claim.deployment()))
    }

    pub(crate) fn deployment_in_flight(&self) -> Option<&DeploymentId> {
        self.in_flight.as_ref().map(|held| &held.deployment)
    }

    pub(crate) fn shown(&self, liveness: Liveness) -> WorkloadState {
        let state = WorkloadState::unseen(self.workload.clone());
        let mut state = state.with_settings(self.settings());
        state.version = Version(self.version);
        state.live = self.live.clone();
        state.in_flight = self
            .in_flight
            .as_ref()
            .map(|held| self.held_by(held, liveness));
        state
    }

    /// What is in flight, and whether who runs it lives.
    pub(crate) fn held_by(&self, held: &Held, liveness: Liveness) -> InFlight {
        let epoch = Epoch(self.epoch);
        InFlight::new(
            held.deployment.clone(),
            held.holder.clone(),
            liveness,
            epoch,
        )
    }
}

/// The error for a state that cannot be read, or is not there.
pub(crate) fn damaged(path: &Path, why: impl fmt::Display) -> StoreError {
    StoreError::new(
        Kind::Corrupt,
        format!("the workload's state cannot be read ({why}); nothing was changed"),
    )
    .on(path.display())
    .advice(
        "put this one file back from a copy, or abandon what is in flight, which makes the state \
         anew from the records; these and other workloads are whole",
    )
}
