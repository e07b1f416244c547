//! What the clones of a store share: the directory, its locks, the workloads' folders.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rollback_core::deployment::{Deployment, NewDeployment, Phase};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::{
    Begun, Conflict, Holder, Lease, Liveness, Query, Sequence, Version, WorkloadState,
};
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_core::time::{Clock, SystemClock};
use rollback_fs::{Held, Locks, durable, system};

use crate::error::{busy, known, nothing_in_flight};
use crate::folder::{Folder, Found, names};
use crate::layout::Layout;
use crate::list::locked;
use crate::state::State;
use crate::write::{Writer, not_in_flight};

/// How long `begin` waits for somebody who holds the lock but has not yet said so, or has just
/// finished.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Inner {
    pub(crate) layout: Layout,
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
        let liveness = match state.in_flight {
            Some(_) => self.locks.look(&state.workload)?,
            None => Liveness::Dead,
        };
        Ok(state.shown(liveness))
    }

    pub(crate) fn write<T>(
        &self,
        workload: &WorkloadId,
        step: impl FnOnce(&mut Writer<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let folder = self.folder(workload);
        let mut folder = locked(&folder);
        let writing = folder.writing(&self.locks)?;
        step(&mut Writer {
            folder: &mut folder,
            writing: &writing,
        })
    }

    /// Where a deployment's file is.
    pub(crate) fn find(&self, id: &DeploymentId) -> Result<Option<(WorkloadId, u64)>, StoreError> {
        for workload in self.workloads()? {
            if let Some(shard) = locked(&self.folder(&workload)).shard_with(id)? {
                return Ok(Some((workload, shard)));
            }
        }
        Ok(None)
    }

    pub(crate) fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let Some((workload, shard)) = self.find(id)? else {
            return self.quarantined(id);
        };
        let folder = self.folder(&workload);
        let mut folder = locked(&folder);
        let state = folder.state()?;
        match folder.get(&state, shard, id)? {
            Found::Record(d) => Ok(Some(*d)),
            Found::Unreadable(e) => Err(e),
            Found::Nothing => Ok(None),
        }
    }

    /// An error if the record was moved aside: it is not as if it had never been.
    pub(crate) fn quarantined(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let dir = self.layout.quarantine();
        let tail = format!(".{}", crate::layout::file_name(id));
        match names(&dir)?.iter().find(|n| n.ends_with(&tail)) {
            Some(name) => Err(StoreError::new(
                Kind::Corrupt,
                "this record is damaged and was moved aside",
            )
            .on(dir.join(name).display())
            .advice("restore it from a copy, then rebuild the index")),
            None => Ok(None),
        }
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
        // A record that cannot be read is in the way all the same.
        let phase = match self.get(&held.deployment) {
            Ok(Some(d)) => d.phase(),
            _ => Phase::Opened,
        };
        Ok(Some(StoreError::held(Conflict {
            workload: workload.clone(),
            deployment: held.deployment.clone(),
            holder: held.holder.clone(),
            liveness: self.locks.look(workload)?,
            phase,
            age: SystemClock.now().since(held.holder.since),
        })))
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
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let lock = self.lock_idle(&new.workload)?;
        let (epoch, sequence) = self.write(&new.workload, |w| {
            w.begin(new, holder, expected, || self.number_for(new))
        })?;
        Ok(Begun {
            lease: Lease::new(new.workload.clone(), new.id.clone(), epoch, lock),
            sequence,
        })
    }

    /// The number of a new record, if no other workload has its id.
    pub(crate) fn number_for(&self, new: &NewDeployment) -> Result<Sequence, StoreError> {
        for workload in self.workloads()? {
            // A folder of its own: the shared ones may be locked by who asks.
            let folder = Folder::new(&self.layout, workload.clone());
            if workload != new.workload && folder.shard_with(&new.id)?.is_some() {
                return Err(known(&new.id));
            }
        }
        self.next_sequence()
    }

    /// The next number of the order: durable before it is used, so that it is never used twice.
    pub(crate) fn next_sequence(&self) -> Result<Sequence, StoreError> {
        let Some(_lock) = self.locks.take_named("sequence", 5_000)? else {
            return Err(busy(self.layout.root().display()));
        };
        // Best effort: nothing is amiss if somebody who opens just now is quicker.
        let _ = durable::remove_leftovers(self.layout.root());
        let path = self.layout.sequence();
        let last = match crate::record::read(&path)? {
            Some((bytes, _)) => String::from_utf8_lossy(&bytes).trim().parse().ok(),
            None => None,
        };
        let last: u64 = match last {
            Some(last) => last,
            None => self.beyond_all()?,
        };
        let next = last.saturating_add(1);
        durable::replace(&path, format!("{next}\n").as_bytes())
            .map_err(|e| system("the order's counter cannot be written", &path, e))?;
        Ok(Sequence(next))
    }

    /// A number that no record can have.
    pub(crate) fn beyond_all(&self) -> Result<u64, StoreError> {
        let mut beyond = 0;
        for workload in self.workloads()? {
            // A folder of its own: the shared ones may be locked by who asks.
            let folder = Folder::new(&self.layout, workload);
            beyond = beyond.max(folder.greatest()?);
        }
        Ok(beyond)
    }

    pub(crate) fn take_over(
        &self,
        workload: &WorkloadId,
        holder: &Holder,
    ) -> Result<Lease, StoreError> {
        if self.state(workload)?.in_flight.is_none() {
            return Err(nothing_in_flight(workload));
        }
        let Some(lock) = self.locks.take(workload)? else {
            return Err(self
                .in_the_way(workload)?
                .unwrap_or_else(|| nothing_in_flight(workload)));
        };
        let (deployment, epoch) = self.write(workload, |w| w.take_over(holder))?;
        Ok(Lease::new(workload.clone(), deployment, epoch, lock))
    }

    pub(crate) fn in_flight(&self, id: &DeploymentId) -> Result<WorkloadId, StoreError> {
        for workload in self.workloads()? {
            // A broken state hides no other workload.
            let Ok(state) = self.state(&workload) else {
                continue;
            };
            if state.in_flight.is_some_and(|h| h.deployment == *id) {
                return Ok(workload);
            }
        }
        Err(not_in_flight(id))
    }

    pub(crate) fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let mut by_workload: BTreeMap<WorkloadId, Vec<DeploymentId>> = BTreeMap::new();
        for id in ids {
            if let Some((workload, _)) = self.find(id)? {
                by_workload.entry(workload).or_default().push(id.clone());
            }
        }
        // All are checked, and kept from changing, before the first is forgotten.
        let folders: Vec<_> = by_workload.keys().map(|w| self.folder(w)).collect();
        let mut writers = Vec::new();
        for folder in &folders {
            let mut folder = locked(folder);
            let writing = folder.writing(&self.locks)?;
            writers.push((folder, writing));
        }
        let mut ready = Vec::new();
        for ((folder, writing), ids) in writers.iter_mut().zip(by_workload.values()) {
            let mut writer = Writer { folder, writing };
            ready.push(writer.may_forget(ids)?);
        }
        let mut forgotten = 0;
        for ((folder, writing), found) in writers.iter_mut().zip(ready) {
            forgotten += found.len() as u64;
            if !found.is_empty() {
                Writer { folder, writing }.forget(found)?;
            }
        }
        Ok(forgotten)
    }
}
