//! What the clones of a store share: its connections and locks, and the verbs that need both.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rollback_core::deployment::{NewDeployment, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Begun, Exclusion, Holder, Lease, Liveness, Sequence, Then, Version, WorkloadState,
};
use rollback_core::id::WorkloadId;
use rollback_core::time::Timestamp;
use rollback_fs::{Held, Locks};
use rusqlite::Connection;

use crate::error::Failure;
use crate::state::Entry;
use crate::write::{self, Claim};
use crate::writer::Writer;
use crate::{open, read_only};

/// Connections for reading that are kept between calls.
const READERS: usize = 4;
/// How long `begin` waits for somebody who holds the lock but has not yet said so, or has just
/// finished.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) locks: Locks,
    /// `None` on a read-only file system.
    pub(crate) writer: Option<Mutex<Writer>>,
    pub(crate) readers: Mutex<Vec<Connection>>,
}

impl Inner {
    pub(crate) fn write<T>(
        &self,
        step: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.writer()?.transact(step).map_err(|e| e.at(&self.path))
    }

    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let writer = self
            .writer
            .as_ref()
            .ok_or_else(|| rollback_fs::read_only(&self.path))?;
        // A panic inside rolled its transaction back: the connection is whole.
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn connect(&self) -> Result<Connection, StoreError> {
        match self.writer {
            Some(_) => open::connect(&self.path),
            None => read_only::connect(&self.path),
        }
    }

    pub(crate) fn append(&self, claim: &Claim, event: &TimedEvent) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let known = writer.known(claim);
        let deployment = writer
            .transact(|tx| write::append(tx, claim, event, known))
            .map_err(|e| e.at(&self.path))?;
        writer.keep(claim.epoch, deployment);
        Ok(())
    }

    pub(crate) fn finish(
        &self,
        claim: &Claim,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Option<Sequence>, StoreError> {
        let mut writer = self.writer()?;
        let known = writer.known(claim);
        writer
            .transact(|tx| write::finish(tx, claim, settlement, at, then, known))
            .map_err(|e| e.at(&self.path))
    }

    /// One snapshot.
    pub(crate) fn read<T>(
        &self,
        step: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let kept = self.readers().pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => self.connect()?,
        };
        let run = || {
            // Rolled back when it is dropped: there is nothing to commit, and after damage that a
            // step has passed over SQLite would refuse to.
            let tx = reader.transaction()?;
            step(&tx)
        };
        let value = run().map_err(|e: Failure| e.at(&self.path));
        let mut readers = self.readers();
        // Where nothing can be written the next look may have to be another one: the file system may
        // have been made writable again, and others write.
        let keeps = self.writer.is_some() && readers.len() < READERS;
        if keeps && reader.is_autocommit() {
            readers.push(reader);
        }
        value
    }

    pub(crate) fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The conflict with whoever holds the workload, as things look without its lock.
    pub(crate) fn in_the_way(
        &self,
        workload: &WorkloadId,
    ) -> Result<Option<StoreError>, StoreError> {
        let liveness = self.locks.look(workload)?;
        self.read(|c| match Entry::find(c, workload)? {
            Some(entry) => entry.conflict(c, liveness),
            None => Ok(None),
        })
    }

    pub(crate) fn begin(
        &self,
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let lock = self.lock_idle(&new.workload)?;
        // Lock first, record second: a recorded holder without the lock is dead for certain.
        let (epoch, sequence) = self.write(|tx| write::begin(tx, new, holder, expected))?;
        Ok(Begun {
            lease: Lease::new(new.workload.clone(), new.id.clone(), epoch, lock),
            sequence,
        })
    }

    /// Takes a workload's lock, to write.
    pub(crate) fn take(&self, workload: &WorkloadId) -> Result<Option<Held>, StoreError> {
        match self.writer {
            Some(_) => self.locks.take(workload),
            None => Err(rollback_fs::read_only(&self.path)),
        }
    }

    /// Takes the lock of a workload with nothing in flight.
    pub(crate) fn lock_idle(&self, workload: &WorkloadId) -> Result<Held, StoreError> {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(conflict) = self.in_the_way(workload)? {
                return Err(conflict);
            }
            if let Some(lock) = self.take(workload)? {
                return Ok(lock);
            }
            if Instant::now() > patience {
                return Err(StoreError::new(
                    Kind::Busy,
                    "another process is about to begin or has just finished, and does not go on",
                )
                .on(workload)
                .advice("try again; if it lasts, look for a stopped process"));
            }
        }
    }

    pub(crate) fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let lock = self.lock_idle(workload)?;
        // Somebody may have begun, and died, since `lock_idle` looked.
        let conflict = self.read(|c| match Entry::find(c, workload)? {
            Some(entry) => entry.conflict(c, Liveness::Dead),
            None => Ok(None),
        })?;
        match conflict {
            Some(conflict) => Err(conflict),
            None => Ok(Exclusion::new(lock)),
        }
    }

    pub(crate) fn take_over(
        &self,
        workload: &WorkloadId,
        holder: &Holder,
    ) -> Result<Lease, StoreError> {
        let entry = self.read(|c| Entry::find(c, workload))?;
        if entry
            .map(|e| e.in_flight())
            .transpose()?
            .flatten()
            .is_none()
        {
            return Err(write::nothing_in_flight(workload));
        }
        let Some(lock) = self.take(workload)? else {
            let conflict = self.read(|c| match Entry::find(c, workload)? {
                Some(entry) => entry.conflict(c, Liveness::Alive),
                None => Ok(None),
            })?;
            return Err(conflict.unwrap_or_else(|| write::nothing_in_flight(workload)));
        };
        let (deployment, epoch) = self.write(|tx| write::take_over(tx, workload, holder))?;
        Ok(Lease::new(workload.clone(), deployment, epoch, lock))
    }

    pub(crate) fn state(&self, entry: &Entry) -> Result<WorkloadState, StoreError> {
        entry.state(|workload| self.locks.look(workload))
    }
}
