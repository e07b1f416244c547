//! [`Awaiting`]: what an engine knows of what is owed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::{DeploymentId, WorkloadId};

/// What is known of what is owed.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    /// What this program waits for.
    awaited: Mutex<HashSet<DeploymentId>>,
    /// Where a drill is held here, which waits for itself.
    drills: Mutex<HashSet<WorkloadId>>,
    /// What is live on each workload that owes nothing, whatever comes.
    free: Mutex<HashMap<WorkloadId, DeploymentId>>,
}

impl Awaiting {
    /// Whether nobody in this program waits for it yet.
    pub(super) fn begins_to_wait(&self, id: &DeploymentId) -> bool {
        lock(&self.awaited).insert(id.clone())
    }

    pub(super) fn waits_no_more(&self, id: &DeploymentId) {
        lock(&self.awaited).remove(id);
    }

    pub(super) fn begins_a_drill(&self, of: &[WorkloadId]) {
        lock(&self.drills).extend(of.iter().cloned());
    }

    pub(super) fn ends_a_drill(&self, of: &[WorkloadId]) {
        lock(&self.drills).retain(|workload| !of.contains(workload));
    }

    pub(super) fn is_a_drill_held(&self, of: &WorkloadId) -> bool {
        lock(&self.drills).contains(of)
    }

    pub(super) fn is_free(&self, workload: &WorkloadId, id: &DeploymentId) -> bool {
        lock(&self.free).get(workload) == Some(id)
    }

    pub(super) fn is_free_for_ever(&self, workload: &WorkloadId, id: &DeploymentId) {
        lock(&self.free).insert(workload.clone(), id.clone());
    }
}

fn lock<T>(known: &Mutex<T>) -> MutexGuard<'_, T> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
