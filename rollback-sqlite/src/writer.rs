//! The one connection that writes, and what it remembers between writes.

use std::collections::HashMap;

use rollback_core::deployment::Deployment;
use rollback_core::id::DeploymentId;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::Failure;
use crate::write::Claim;

/// Most records of held leases that are remembered.
const OPEN: usize = 64;

/// The connection that writes, and what its last writes left.
pub(crate) struct Writer {
    connection: Connection,
    /// Records of leases held here with the lease's epoch, as the last append left them. Reading
    /// one back and folding it for every event costs more than inserting the event.
    open: HashMap<DeploymentId, (u64, Deployment)>,
}

impl Writer {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            open: HashMap::new(),
        }
    }

    /// What is remembered of a record under this lease; it is forgotten, until it is kept again.
    pub(crate) fn known(&mut self, claim: &Claim) -> Option<Deployment> {
        let (epoch, known) = self.open.remove(&claim.deployment)?;
        (epoch == claim.epoch).then_some(known)
    }

    pub(crate) fn keep(&mut self, epoch: u64, deployment: Deployment) {
        // Leases that were dropped leave theirs behind; which go does not matter.
        if self.open.len() >= OPEN {
            self.open.clear();
        }
        self.open
            .insert(deployment.id().clone(), (epoch, deployment));
    }

    /// One immediate transaction: it waits for other writers at its start, and only there.
    pub(crate) fn transact<T>(
        &mut self,
        step: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = step(&tx)?;
        tx.commit()?;
        Ok(value)
    }
}
