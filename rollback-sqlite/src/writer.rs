//! The one connection that writes, and what it remembers between writes.

use std::collections::HashMap;

use rollback_core::history::{Claim, Epoch};
use rollback_core::id::DeploymentId;
use rusqlite::Connection;

use crate::error::Failure;
use crate::place::Place;
use crate::record::Sealed;

/// Most records of held leases that are remembered.
const OPEN: usize = 64;

/// An immediate transaction, rolled back unless it is committed. Its own statements are kept
/// prepared, as rusqlite's are not: an append has few others.
struct Immediate<'c>(&'c Connection);

impl<'c> Immediate<'c> {
    fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(connection))
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Drop for Immediate<'_> {
    fn drop(&mut self) {
        // Best effort: a connection that is still within it refuses the next one.
        if !self.0.is_autocommit() {
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

/// The connection that writes, and what its last writes left.
pub(crate) struct Writer {
    connection: Connection,
    /// Records of leases held here with the lease's epoch, as the last append left them. Reading
    /// one back and folding it for every event costs more than inserting the event.
    open: HashMap<DeploymentId, (Epoch, Sealed)>,
}

impl Writer {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            open: HashMap::new(),
        }
    }

    /// What is remembered of a record under this lease; it is forgotten, until it is kept again.
    pub(crate) fn known(&mut self, claim: &Claim) -> Option<Sealed> {
        let (epoch, known) = self.open.remove(claim.deployment())?;
        (epoch == claim.epoch()).then_some(known)
    }

    /// Remembers a record no more.
    pub(crate) fn forget(&mut self, claim: &Claim) {
        self.open.remove(claim.deployment());
    }

    pub(crate) fn keep(&mut self, epoch: Epoch, record: Sealed) {
        // Leases that were dropped leave theirs behind; which go does not matter.
        if self.open.len() >= OPEN {
            self.open.clear();
        }
        self.open
            .insert(record.deployment.id().clone(), (epoch, record));
    }

    /// One immediate transaction: it waits for other writers at its start, and only there. It is
    /// acknowledged only if the file that it went to is still the history's.
    pub(crate) fn transact<T>(
        &mut self,
        place: &Place,
        step: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let tx = Immediate::begin(&self.connection)?;
        place.check()?;
        let value = step(tx.0)?;
        tx.commit()?;
        place.check()?;
        Ok(value)
    }

    /// Lends the connection to what only reads.
    pub(crate) fn lend<T>(&self, to: impl FnOnce(&Connection) -> T) -> T {
        to(&self.connection)
    }

    /// Brings what is in the log into the file, as far as readers allow, so that the log's room can
    /// be used again. For a full disk: the file may have room where the log has none.
    pub(crate) fn checkpoint(&self) {
        let pragma = "wal_checkpoint(PASSIVE)";
        // What cannot be done is not; the write that follows says why.
        let _ = self
            .connection
            .query_row(&format!("PRAGMA {pragma}"), [], |_| Ok(()));
    }
}
