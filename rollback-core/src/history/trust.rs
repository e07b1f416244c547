//! How long what is held of a history holds: [`Trust`], [`Keep`], [`Exclusion`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Epoch;
use crate::id::WorkloadId;

/// For how long a lease or an exclusion holds without being renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// As long as its guard lives: the store sees by itself that its holder has died, as by a lock of
    /// the kernel.
    WhileHeld,
    /// For this long. The store takes the holder for dead no sooner than this long after it has
    /// answered; the holder counts from before it asked, and so is done with it first.
    For(Duration),
}

/// What keeps a lease's holder, or an exclusion, alive: as long as a clone of it lives, so do they,
/// even when the lease itself was dropped. For what may act on after that.
#[derive(Clone)]
pub struct Keep(#[allow(dead_code)] Arc<dyn Send + Sync>);

impl Keep {
    /// Keeps whatever `guard` frees when it is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(guard))
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keep")
    }
}

/// While it holds, no deployment of its workload begins.
#[derive(Debug)]
#[must_use = "dropping it lets deployments begin again"]
pub struct Exclusion {
    workload: WorkloadId,
    epoch: Option<Epoch>,
    trust: Trust,
    guard: Keep,
}

impl Exclusion {
    /// For stores: holds until `guard` is dropped.
    pub fn new(workload: WorkloadId, guard: impl Send + Sync + 'static) -> Self {
        Self {
            workload,
            epoch: None,
            trust: Trust::WhileHeld,
            guard: Keep::new(guard),
        }
    }

    /// For stores: holds for `span` from now, and again from each renewal on. `epoch` tells it from
    /// every other exclusion of the workload.
    pub fn leased(workload: WorkloadId, epoch: Epoch, span: Duration) -> Self {
        Self {
            workload,
            epoch: Some(epoch),
            trust: Trust::For(span),
            guard: Keep::new(()),
        }
    }

    /// The workload of which no deployment begins meanwhile.
    pub fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    /// Which exclusion of the workload it is; `None` where its guard alone tells.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// For how long it was given.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// What keeps it.
    pub fn keep(&self) -> Keep {
        self.guard.clone()
    }

    /// The same by name alone, to be renewed: it keeps nothing.
    pub(crate) fn unguarded(&self) -> Self {
        Self {
            workload: self.workload.clone(),
            epoch: self.epoch,
            trust: self.trust,
            guard: Keep::new(()),
        }
    }
}
