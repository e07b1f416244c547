//! What the clones of a store share: its connections and locks, and the verbs that need both.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rollback_core::deployment::Opening;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    Abandonment, Begun, Claim, Damaged, Exclusion, Finish, Holder, Lease, Liveness, Sequence,
    States, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_fs::{Held, Locks, Shared};
use rusqlite::Connection;

use crate::connection::connect;
use crate::error::Failure;
use crate::place::Place;
use crate::room::Room;
use crate::state::Entry;
use crate::write;
use crate::writer::Writer;
use crate::{abandon, backup, read_only};

/// Connections for reading that are kept between calls.
const READERS: usize = 4;
/// How long `begin` waits for somebody who holds the lock but has not yet said so, or has just
/// finished.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Inner {
    pub(crate) place: Place,
    pub(crate) locks: Locks,
    pub(crate) room: Room,
    /// `None` on a read-only file system.
    pub(crate) writer: Option<Mutex<Writer>>,
    pub(crate) readers: Mutex<Vec<Connection>>,
    /// Says that the file is in use; given back after the connections are closed.
    pub(crate) _shared: Option<Shared>,
}

/// Whether a write may use the space that is kept for ending what has begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spare {
    Keep,
    Use,
}

impl Inner {
    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn write<T>(
        &self,
        step: impl FnMut(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.insist(&mut *self.writer()?, Spare::Use, step)
    }

    /// One transaction. On a full disk it is tried again: with the log's own room, and then with
    /// what was kept for this.
    fn insist<T>(
        &self,
        writer: &mut Writer,
        spare: Spare,
        mut step: impl FnMut(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut done = writer.transact(&self.place, &mut step);
        for last in [false, true] {
            if !done.as_ref().is_err_and(|e| e.is_full(self.path())) {
                break;
            }
            if last && (spare == Spare::Keep || !self.room.give_up()) {
                break;
            }
            writer.checkpoint();
            done = writer.transact(&self.place, &mut step);
            if last {
                self.room.refill();
            }
        }
        done.map_err(|e| e.at(self.path()))
    }

    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let writer = self
            .writer
            .as_ref()
            .ok_or_else(|| rollback_fs::read_only(self.path()))?;
        // A panic inside rolled its transaction back: the connection is whole.
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn append(
        &self,
        claim: &Claim,
        events: &[TimedEvent],
    ) -> Result<Option<Actor>, StoreError> {
        let all = |is: fn(&Event) -> bool| events.iter().all(|timed| is(&timed.event));
        if !all(|event| !matches!(event, Event::SwitchIntended)) {
            // What could not be gone back from is not switched to.
            self.room.keep_to_go_back()?;
        }
        let mut writer = self.writer()?;
        let mut known = writer.known(claim);
        let step = |tx: &Connection| write::append(tx, claim, events, known.take());
        // What only tells leaves the room to what ends the deployment.
        let spare = match all(|event| matches!(event, Event::Diagnosed(_))) {
            true => Spare::Keep,
            false => Spare::Use,
        };
        let (record, cancel_by) = self.insist(&mut writer, spare, step)?;
        writer.keep(claim.epoch(), record);
        Ok(cancel_by)
    }

    pub(crate) fn finish(&self, finish: &Finish) -> Result<Option<Sequence>, StoreError> {
        let mut writer = self.writer()?;
        writer.forget(finish.claim());
        let step = |tx: &Connection| write::finish(tx, finish);
        self.insist(&mut writer, Spare::Use, step)
    }

    /// Removes records: all or none of them. Where a full disk has no room for that they are
    /// removed one by one, which needs little; each of them may be forgotten, or none is.
    pub(crate) fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        match self.write(|tx| write::forget(tx, ids)) {
            Err(e) if e.kind() == Kind::Full && ids.len() > 1 => {}
            done => return done,
        }
        self.read(|c| ids.iter().try_for_each(|id| write::may_be_forgotten(c, id)))?;
        let mut forgotten = 0;
        for id in ids {
            forgotten += self.write(|tx| write::forget(tx, std::slice::from_ref(id)))?;
            self.writer()?.checkpoint();
        }
        Ok(forgotten)
    }

    /// Reads in one transaction: what the step sees is of one instant.
    pub(crate) fn read<T>(
        &self,
        mut step: impl FnMut(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.place.check()?;
        if self.writer.is_none() {
            return read_only::read(self.path(), step);
        }
        let kept = self.readers().pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => connect(self.path())?,
        };
        let mut run = || {
            // Rolled back when it is dropped: there is nothing to commit, and after damage that a
            // step has passed over SQLite would refuse to.
            let tx = reader.transaction()?;
            step(&tx)
        };
        let value = run().map_err(|e: Failure| e.at(self.path()));
        let mut readers = self.readers();
        if readers.len() < READERS && reader.is_autocommit() {
            readers.push(reader);
        }
        value
    }

    /// Copies the database to a new file. What was moved away or deleted is still copied, by the
    /// connections that this process has to it.
    pub(crate) fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let copy = |from: &Connection| backup::backup(from, self.path(), to);
        if self.writer.is_none() {
            return self.read(|c| Ok(copy(c)?));
        }
        if self.place.check().is_ok() {
            return copy(&connect(self.path())?);
        }
        self.writer()?.lend(copy)
    }

    pub(crate) fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The conflict with whoever holds the workload, as things look without its lock.
    pub(crate) fn in_the_way(
        &self,
        workload: &WorkloadId,
    ) -> Result<Option<StoreError>, StoreError> {
        self.read(|c| match Entry::sound(c, workload)? {
            Some(entry) => entry.conflict(c, |holder| self.locks.liveness(workload, holder)),
            None => Ok(None),
        })
    }

    pub(crate) fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        if self.writer.is_none() {
            return Err(rollback_fs::read_only(self.path()));
        }
        self.place.check_to_begin()?;
        self.room.keep()?;
        let lock = self.lock_idle(&new.workload)?;
        // Lock first, record second: a recorded holder without the lock is dead for certain.
        let holder = lock.sign(holder);
        let (epoch, sequence) = self.insist(&mut *self.writer()?, Spare::Keep, |tx| {
            write::begin(tx, new, &holder, expected, |h| lock.liveness_of(h))
        })?;
        let lease = Lease::new(new.workload.clone(), new.id.clone(), epoch, lock);
        Ok(Begun::new(lease, sequence))
    }

    /// Takes a workload's lock, to write.
    pub(crate) fn take(&self, workload: &WorkloadId) -> Result<Option<Held>, StoreError> {
        match self.writer {
            Some(_) => self.locks.take(workload),
            None => Err(rollback_fs::read_only(self.path())),
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
                .advice(
                    "try again; if it lasts, look for a stopped process, or one that a finished \
                     one has forked",
                ));
            }
        }
    }

    pub(crate) fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let lock = self.lock_idle(workload)?;
        // Somebody may have begun, and died, since `lock_idle` looked.
        let conflict = self.read(|c| match Entry::sound(c, workload)? {
            Some(entry) => entry.conflict(c, |holder| Ok(lock.liveness_of(holder))),
            None => Ok(None),
        })?;
        match conflict {
            Some(conflict) => Err(conflict),
            None => Ok(Exclusion::new(workload.clone(), lock)),
        }
    }

    pub(crate) fn take_over(
        &self,
        workload: &WorkloadId,
        holder: &Holder,
    ) -> Result<Lease, StoreError> {
        let entry = self.read(|c| Entry::sound(c, workload))?;
        if entry
            .map(|e| e.in_flight())
            .transpose()?
            .flatten()
            .is_none()
        {
            return Err(StoreError::nothing_in_flight(workload));
        }
        let Some(lock) = self.take(workload)? else {
            return Err(self.held(workload)?);
        };
        let holder = lock.sign(holder);
        let (deployment, epoch) = self.write(|tx| {
            write::take_over(tx, workload, &holder, |former| lock.liveness_of(former))
        })?;
        Ok(Lease::new(workload.clone(), deployment, epoch, lock))
    }

    /// The conflict with whoever has a workload's lock.
    fn held(&self, workload: &WorkloadId) -> Result<StoreError, StoreError> {
        let conflict = self.read(|c| match Entry::find(c, workload)? {
            Some(entry) => entry.conflict(c, |_| Ok(Liveness::Alive)),
            None => Ok(None),
        })?;
        Ok(conflict.unwrap_or_else(|| StoreError::nothing_in_flight(workload)))
    }

    pub(crate) fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        let Some(lock) = self.take(workload)? else {
            return Err(self.held(workload)?);
        };
        self.write(|tx| {
            let liveness = |holder: &Holder| lock.liveness_if_seen(holder);
            abandon::abandon(tx, workload, abandonment, liveness)
        })
    }

    pub(crate) fn state(&self, entry: &Entry) -> Result<WorkloadState, StoreError> {
        entry.state(|workload, holder| self.locks.liveness(workload, holder))
    }

    /// A workload's state. Its row is read, and then the lock is looked at: who has settled in between
    /// and gone is not dead, so a death is believed only of a row that is still the same.
    pub(crate) fn state_of(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        let row = || self.read(|c| Entry::find(c, workload));
        let mut entry = row()?;
        loop {
            let Some(read) = entry else {
                return Ok(WorkloadState::unseen(workload.clone()));
            };
            let state = self.state(&read)?;
            if !is_dead(&state) {
                return Ok(state);
            }
            entry = row()?;
            let same = |e: &Entry| (e.version, e.epoch) == (read.version, read.epoch);
            if entry.as_ref().is_some_and(same) {
                return Ok(state);
            }
        }
    }

    pub(crate) fn states(&self) -> Result<States, StoreError> {
        let (entries, mut damaged) = self.read(Entry::all)?;
        let mut states = Vec::with_capacity(entries.len());
        for entry in entries {
            let seen = match self.state(&entry) {
                Ok(state) if is_dead(&state) => self.state_of(&entry.workload),
                seen => seen,
            };
            match seen {
                Ok(state) => states.push(state),
                // One that cannot be read, or whose lock cannot, hides no other.
                Err(error) => damaged.push(Damaged::new(entry.workload, error)),
            }
        }
        damaged.sort_by(|a, b| a.workload.cmp(&b.workload));
        Ok(States::new(states, damaged))
    }
}

/// Whether its holder seems to be dead.
fn is_dead(state: &WorkloadState) -> bool {
    let in_flight = state.in_flight.as_ref();
    in_flight.is_some_and(|f| f.liveness == Liveness::Dead)
}
