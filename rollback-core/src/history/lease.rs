//! [`Lease`]: the right to write a workload's history, and what `begin` and `renew` say of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Claim, Epoch, Fence, Identity, Keep, Sequence, Trust};
use crate::id::{Actor, DeploymentId, WorkloadId};

/// The right to write one workload's history. Dropping it drops the liveness lock, so that a
/// run that panicked or gave up can be recovered.
#[derive(Debug)]
pub struct Lease {
    claim: Claim,
    trust: Trust,
    /// Empty once it is over; shared by those it was passed on to.
    guard: Arc<Mutex<Option<Keep>>>,
}

impl Lease {
    /// For stores: a lease whose holder counts as alive until `guard` is dropped.
    pub fn new(
        workload: WorkloadId,
        deployment: DeploymentId,
        epoch: Epoch,
        guard: impl Send + Sync + 'static,
    ) -> Self {
        Self {
            claim: Claim::new(workload, deployment, epoch),
            trust: Trust::WhileHeld,
            guard: Arc::new(Mutex::new(Some(Keep::new(guard)))),
        }
    }

    /// For stores that see no holder die: the same, held for `span` from now without being renewed.
    #[must_use]
    pub fn trusted_for(mut self, span: Duration) -> Self {
        self.trust = Trust::For(span);
        self
    }

    /// For how long it was given.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// For stores: what it is of, by name, to check a write against.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The workload that nobody else may deploy as long as it holds.
    pub fn workload(&self) -> &WorkloadId {
        self.claim.workload()
    }

    /// The deployment in flight.
    pub fn deployment(&self) -> &DeploymentId {
        self.claim.deployment()
    }

    /// Which lease of the workload it is: one of a later epoch ends it.
    pub fn epoch(&self) -> Epoch {
        self.claim.epoch()
    }

    /// The token to publish with under it, for its deployment, which has this place in the history's order.
    pub fn fence(&self, history: &Identity, sequence: Sequence) -> Fence {
        let (id, incarnation) = (history.history.clone(), history.incarnation.clone());
        let deployment = self.deployment().clone();
        Fence::new(id, incarnation, sequence, self.epoch(), deployment)
    }

    /// What keeps the lease's holder alive; `None` once it has [ended](Self::end).
    pub fn keep(&self) -> Option<Keep> {
        self.guard().clone()
    }

    /// For stores: the same lease, for the successor that `finish` opened. They share the guard: who
    /// holds either is alive, and the end of one is the other's.
    #[must_use]
    pub fn pass_on(&self, deployment: DeploymentId) -> Self {
        Self {
            claim: self.claim.of(deployment),
            trust: self.trust,
            guard: Arc::clone(&self.guard),
        }
    }

    /// The same by name alone, to be renewed: it keeps nobody alive.
    pub(crate) fn unguarded(&self) -> Self {
        Self {
            claim: self.claim.clone(),
            trust: self.trust,
            guard: Arc::default(),
        }
    }

    /// For stores: gives the guard up before the lease is dropped, once `finish` has freed it, so
    /// that whoever reacts to the settlement at once finds the workload free. What
    /// [keeps](Self::keep) it still does.
    pub fn end(&self) {
        let guard = self.guard().take();
        // Outside of the lock: what it frees is somebody else's code.
        drop(guard);
    }

    fn guard(&self) -> MutexGuard<'_, Option<Keep>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `begin` gives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Begun {
    /// The right to go on.
    pub lease: Lease,
    /// The deployment's place in the order.
    pub sequence: Sequence,
}

impl Begun {
    /// For stores: a deployment was opened at this place in the order.
    pub fn new(lease: Lease, sequence: Sequence) -> Self {
        Self { lease, sequence }
    }
}

/// What `renew` says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renewal {
    /// For how long the lease holds, counted from this renewal.
    pub trust: Trust,
    /// Who asked for the deployment to stop, if anybody has.
    pub cancel_requested_by: Option<Actor>,
}

impl Renewal {
    /// For stores: the lease holds, for so long.
    pub fn new(trust: Trust, cancel_requested_by: Option<Actor>) -> Self {
        Self {
            trust,
            cancel_requested_by,
        }
    }
}
