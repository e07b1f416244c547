//! [`Awaiting`]: what an engine knows of what is owed.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::DeploymentId;

/// What is known of what is owed.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    /// What this program waits for.
    awaited: Mutex<HashSet<DeploymentId>>,
    /// What owes nothing, whatever comes.
    free: Mutex<HashSet<DeploymentId>>,
}

impl Awaiting {
    pub(super) fn begins_to_wait(&self, id: &DeploymentId) -> bool {
        lock(&self.awaited).insert(id.clone())
    }

    pub(super) fn waits_no_more(&self, id: &DeploymentId) {
        lock(&self.awaited).remove(id);
    }

    pub(super) fn is_free(&self, id: &DeploymentId) -> bool {
        lock(&self.free).contains(id)
    }

    pub(super) fn is_free_for_ever(&self, id: &DeploymentId) {
        lock(&self.free).insert(id.clone());
    }
}

fn lock(set: &Mutex<HashSet<DeploymentId>>) -> MutexGuard<'_, HashSet<DeploymentId>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
