//! [`Claim`]: a lease by name, and what each write under it is checked against.

use super::{Epoch, capped_json};
use crate::deployment::Deployment;
use crate::error::{StoreError, StoreErrorKind as Kind};
use crate::event::{Event, TimedEvent};
use crate::id::{DeploymentId, WorkloadId};

/// For stores: what a lease is of, without what keeps its holder alive, to go with a write into
/// another thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    workload: WorkloadId,
    deployment: DeploymentId,
    epoch: Epoch,
}

impl Claim {
    pub(super) fn new(workload: WorkloadId, deployment: DeploymentId, epoch: Epoch) -> Self {
        Self {
            workload,
            deployment,
            epoch,
        }
    }

    /// The same for another deployment of the workload, under the same epoch.
    pub(super) fn of(&self, deployment: DeploymentId) -> Self {
        Self {
            deployment,
            ..self.clone()
        }
    }

    /// The workload.
    pub fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    /// The deployment that the lease is for.
    pub fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }

    /// The lease's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the lease still holds, by what the workload's state says now: the lease's epoch, and
    /// the deployment in flight.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Fenced`](Kind::Fenced): it is settled, or was taken over.
    pub fn check(&self, epoch: Epoch, in_flight: Option<&DeploymentId>) -> Result<(), StoreError> {
        if epoch == self.epoch && in_flight == Some(&self.deployment) {
            return Ok(());
        }
        Err(StoreError::fenced(&self.deployment))
    }

    /// What of these events `append` has to write, where the timeline allows them: all, or none if the
    /// record ends with them already.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::IllegalEvent`](Kind::IllegalEvent) for what only `finish` writes;
    /// [`StoreErrorKind::TooLarge`](Kind::TooLarge).
    pub fn unwritten<'e>(
        &self,
        record: &Deployment,
        events: &'e [TimedEvent],
    ) -> Result<&'e [TimedEvent], StoreError> {
        for timed in events {
            capped_json(&self.deployment, timed)?;
            if matches!(timed.event, Event::Settled(_) | Event::RolledBackBy { .. }) {
                let name = timed.event.name();
                let what = format!("only finish writes the event {name}; nothing was written");
                return Err(StoreError::new(Kind::IllegalEvent, what)
                    .on(&self.deployment)
                    .advice("settle it with finish"));
            }
        }
        let is_written = record.events().ends_with(events);
        Ok(if is_written { &[] } else { events })
    }

    /// Whether the lease reaches a deployment which is of this workload.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::IllegalEvent`](Kind::IllegalEvent) if it is another workload than the lease's.
    pub fn reaches(&self, id: &DeploymentId, of: &WorkloadId) -> Result<(), StoreError> {
        if *of == self.workload {
            return Ok(());
        }
        let what = format!(
            "this deployment is of {of}, not of {}; nothing was written",
            self.workload
        );
        Err(StoreError::new(Kind::IllegalEvent, what)
            .on(id)
            .advice("name a deployment of the lease's own workload"))
    }
}
