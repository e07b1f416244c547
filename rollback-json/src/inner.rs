//! What the clones of a store share: the directory, its locks, the workloads' folders.

mod finding;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rollback_core::deployment::{Opening, Phase};
use rollback_core::error::{Chain, StoreError, StoreErrorKind as Kind};
use rollback_core::history::{
    Abandonment, Begun, Damaged, Holder, Lease, Liveness, Query, Sequence, States, Version,
    WorkloadState,
};
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_fs::{Held, Locks};

use crate::counter;
use crate::error::busy;
use crate::folder::{Folder, Others, Writing, is_of_one, names};
use crate::layout::Layout;
use crate::list::locked;
use crate::open::{self, Inode};
use crate::state::State;
use crate::write::Writer;

/// How long `begin` waits for somebody who holds the lock but has not yet said so, or has just
/// finished.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Inner {
    pub(crate) layout: Layout,
    /// The directory that was opened.
    pub(crate) inode: Inode,
    pub(crate) locks: Locks,
    pub(crate) folders: Mutex<HashMap<WorkloadId, Arc<Mutex<Folder>>>>,
}

impl Inner {
    pub(crate) fn folder(&self, workload: &WorkloadId) -> Arc<Mutex<Folder>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folders
            .entry(workload.clone())
            .or_insert_with(|| Arc::new(Mutex::new(Folder::new(&self.layout, workload.clone()))));
        Arc::clone(folder)
    }

    /// Every workload that has a state or a record, by id.
    pub(crate) fn workloads(&self) -> Result<Vec<WorkloadId>, StoreError> {
        let mut all: Vec<WorkloadId> = names(&self.layout.workloads())?
            .iter()
            .filter_map(|n| n.parse().ok())
            .collect();
        all.sort();
        Ok(all)
    }

    /// The folders that a query can mean.
    pub(crate) fn folders_for(&self, query: &Query) -> Result<Vec<Arc<Mutex<Folder>>>, StoreError> {
        if let (Some(service), Some(target)) = (&query.service, &query.target) {
            let workload = WorkloadId::new(service.clone(), target.clone());
            return Ok(vec![self.folder(&workload)]);
        }
        Ok(self
            .workloads()?
            .iter()
            .filter(|w| query.service.as_ref().is_none_or(|s| s == w.service()))
            .filter(|w| query.target.as_ref().is_none_or(|t| t == w.target()))
            .map(|w| self.folder(w))
            .collect())
    }

    pub(crate) fn state(&self, workload: &WorkloadId) -> Result<State, StoreError> {
        locked(&self.folder(workload)).state()
    }

    pub(crate) fn shown(&self, state: &State) -> Result<WorkloadState, StoreError> {
        let liveness = match &state.in_flight {
            Some(held) => self.locks.liveness(&state.workload, &held.holder)?,
            None => Liveness::Dead,
        };
        Ok(state.shown(liveness))
    }

    /// A workload's state as it is shown. It is read, and then the lock is looked at: who has settled in
    /// between and gone is not dead, so a death is believed only of a state that is still the same.
    pub(crate) fn state_of(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        let mut state = self.state(workload)?;
        loop {
            let shown = self.shown(&state)?;
            let in_flight = shown.in_flight.as_ref();
            if in_flight.is_none_or(|f| f.liveness != Liveness::Dead) {
                return Ok(shown);
            }
            let again = self.state(workload)?;
            if (again.version, again.epoch) == (state.version, state.epoch) {
                return Ok(shown);
            }
            state = again;
        }
    }

    pub(crate) fn states(&self) -> Result<States, StoreError> {
        let mut states = States::default();
        for workload in self.workloads()? {
            match self.state(&workload) {
                // Made by a begin that was never committed: nothing is known of it.
                Ok(state) if state.version == 0 => {}
                // One whose files cannot be read, or whose lock cannot, hides no other.
                Ok(_) => match self.state_of(&workload) {
                    Ok(shown) => states.states.push(shown),
                    Err(error) => states.damaged.push(Damaged::new(workload, error)),
                },
                Err(error) => states.damaged.push(Damaged::new(workload, error)),
            }
        }
        Ok(states)
    }

    /// Refuses to write where the path leads to another directory by now: the locks that are held
    /// here guard nothing there.
    pub(crate) fn check_place(&self) -> Result<(), StoreError> {
        let root = self.layout.root();
        match open::inode(root) {
            Ok(inode) if inode == self.inode => return Ok(()),
            Err(e) if root.is_dir() => return Err(e),
            _ => {}
        }
        Err(StoreError::new(
            Kind::Unusable,
            "the history's directory was moved or replaced since it was opened; nothing was \
             written",
        )
        .on(root.display())
        .advice("open the history again; what is in flight is found by recover"))
    }

    pub(crate) fn write<T>(
        &self,
        workload: &WorkloadId,
        step: impl FnOnce(&mut Writer<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_after(workload, Folder::writing, step)
    }

    fn write_after<T>(
        &self,
        workload: &WorkloadId,
        lock: impl FnOnce(&mut Folder, &Locks) -> Result<Writing, StoreError>,
        step: impl FnOnce(&mut Writer<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.check_place()?;
        let folder = self.folder(workload);
        let mut folder = locked(&folder);
        let writing = lock(&mut folder, &self.locks)?;
        let done = step(&mut Writer {
            folder: &mut folder,
            writing: &writing,
        });
        folder.end(writing, done.is_ok());
        done
    }

    /// The conflict with whoever is in flight; `None` if nobody is.
    pub(crate) fn in_the_way(
        &self,
        workload: &WorkloadId,
    ) -> Result<Option<StoreError>, StoreError> {
        let state = self.state(workload)?;
        let Some(held) = &state.in_flight else {
            return Ok(None);
        };
        let in_flight = state.held_by(held, self.locks.liveness(workload, &held.holder)?);
        // A record that cannot be read is in the way all the same.
        let phase = match self.get(&held.deployment) {
            Ok(Some(d)) => d.phase(),
            _ => Phase::Opened,
        };
        Ok(Some(StoreError::in_flight(workload, &in_flight, phase)))
    }

    /// Takes the lease lock of a workload with nothing in flight.
    pub(crate) fn lock_idle(&self, workload: &WorkloadId) -> Result<Held, StoreError> {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(conflict) = self.in_the_way(workload)? {
                return Err(conflict);
            }
            if let Some(lock) = self.locks.take(workload)? {
                // Somebody may have begun, and died, since we looked.
                if self.state(workload)?.in_flight.is_none() {
                    return Ok(lock);
                }
                drop(lock);
            }
            if Instant::now() > patience {
                return Err(busy(workload));
            }
        }
    }

    pub(crate) fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let lock = self.lock_idle(&new.workload)?;
        let holder = lock.sign(holder);
        let (epoch, sequence) = self.write(&new.workload, |w| {
            w.begin(new, &holder, expected, |new, own| self.number_for(new, own))
        })?;
        let lease = Lease::new(new.workload.clone(), new.id.clone(), epoch, lock);
        Ok(Begun::new(lease, sequence))
    }

    /// The number of a new record, if no other workload has its id: greater than the counter, than
    /// what every state says, and than any record's. `own` is the newest of its own workload,
    /// whose folder is locked by who asks.
    pub(crate) fn number_for(&self, new: &Opening, own: Sequence) -> Result<Sequence, StoreError> {
        let Some(_lock) = self.locks.take_named("sequence", 5_000)? else {
            return Err(busy(self.layout.root().display()));
        };
        let mut newest = own.max(open::marker(&self.layout)?.past);
        let mut all_known = true;
        for workload in self.workloads()? {
            if workload == new.workload {
                continue;
            }
            let shared = self.folder(&workload);
            let mut fresh = None;
            // Who writes there may be waiting for us.
            let mut known_here = shared.try_lock();
            let folder = match &mut known_here {
                Ok(folder) => &mut **folder,
                Err(_) => fresh.insert(Folder::new(&self.layout, workload)),
            };
            newest = newest.max(match folder.others(&new.id, &self.locks) {
                Others::HaveIt => return Err(StoreError::known(&new.id)),
                Others::UpTo(there) => there,
                // What is wrong with one workload stops no other: the counter knows it.
                Others::AtLeast(there) => {
                    all_known = false;
                    there
                }
            });
        }
        let path = self.layout.sequence();
        match counter::last(&path) {
            Ok(last) => newest = newest.max(last.unwrap_or_default()),
            // It would say no more than they did, and is about to be replaced.
            Err(error) if all_known && error.kind() != Kind::NewerSchema => {
                tracing::warn!(error = %Chain::of(&error), "the order's counter is not known");
            }
            Err(error) => return Err(error),
        }
        let next = Sequence(newest.0.saturating_add(1));
        counter::write(&path, next)?;
        Ok(next)
    }

    /// Takes the lease lock of a holder that is dead, as `liveness` says, or of nobody.
    fn lock_of_the_dead(
        &self,
        workload: &WorkloadId,
        liveness: fn(&Held, &Holder) -> Liveness,
    ) -> Result<Held, StoreError> {
        let lock = self.locks.take(workload)?;
        let held = match self.state(workload) {
            Ok(state) => state.in_flight,
            // The lock alone tells.
            Err(e) if is_of_one(&e) => None,
            Err(e) => return Err(e),
        };
        match (lock, held) {
            (Some(lock), None) => Ok(lock),
            (Some(lock), Some(held)) if liveness(&lock, &held.holder) == Liveness::Dead => Ok(lock),
            (_, Some(_)) => Err(self
                .in_the_way(workload)?
                .unwrap_or_else(|| StoreError::nothing_in_flight(workload))),
            (None, None) => Err(busy(workload)),
        }
    }

    pub(crate) fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        match self.state(workload) {
            Ok(state) if state.in_flight.is_none() => {
                return Err(StoreError::nothing_in_flight(workload));
            }
            Err(e) if e.kind() != Kind::Corrupt => return Err(e),
            _ => {}
        }
        let _lock = self.lock_of_the_dead(workload, Held::liveness_if_seen)?;
        let lock = |folder: &mut Folder, locks: &Locks| folder.lock(locks).map(|(w, _)| w);
        let abandoned = self.write_after(workload, lock, |w| w.abandon(abandonment))?;
        abandoned.ok_or_else(|| {
            StoreError::nothing_in_flight(workload)
                .advice("its damaged state was made anew from its records; adopt what is live")
        })
    }

    pub(crate) fn take_over(
        &self,
        workload: &WorkloadId,
        holder: &Holder,
    ) -> Result<Lease, StoreError> {
        if self.state(workload)?.in_flight.is_none() {
            return Err(StoreError::nothing_in_flight(workload));
        }
        let lock = self.lock_of_the_dead(workload, Held::liveness_of)?;
        let holder = lock.sign(holder);
        let (deployment, epoch) = self.write(workload, |w| w.take_over(&holder))?;
        Ok(Lease::new(workload.clone(), deployment, epoch, lock))
    }

    pub(crate) fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let mut by_workload: BTreeMap<WorkloadId, Vec<DeploymentId>> = BTreeMap::new();
        for id in ids {
            if let Some((workload, _)) = self.find(id)? {
                by_workload.entry(workload).or_default().push(id.clone());
            }
        }
        self.check_place()?;
        // All are checked, and kept from changing, before the first is forgotten.
        let folders: Vec<_> = by_workload.keys().map(|w| self.folder(w)).collect();
        let mut writers = Vec::new();
        for folder in &folders {
            let mut folder = locked(folder);
            let writing = folder.writing(&self.locks)?;
            writers.push((folder, writing));
        }
        let mut forget = || {
            let mut ready = Vec::new();
            for ((folder, writing), ids) in writers.iter_mut().zip(by_workload.values()) {
                ready.push(Writer { folder, writing }.may_forget(ids)?);
            }
            let mut forgotten = 0;
            for ((folder, writing), found) in writers.iter_mut().zip(ready) {
                forgotten += found.len();
                if found.len() > 0 {
                    Writer { folder, writing }.forget(found)?;
                }
            }
            Ok(forgotten)
        };
        let done = forget();
        for (mut folder, writing) in writers {
            folder.end(writing, done.is_ok());
        }
        done
    }
}
