//! [`JsonStore`]: the store's verbs, each one blocking step off the async threads.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rollback_core::deployment::{Annotation, Deployment, NewDeployment, Phase, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Begun, Conflict, Exclusion, Fault, Finished, HistoryStore, Hold, Holder, Lease, Liveness, Page,
    Query, Renewal, Sequence, Stats, Then, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::policy::Policy;
use rollback_core::time::{Clock, SystemClock, Timestamp};
use rollback_fs::{Held, Locks, blocking, check_local, durable, make_dir, system};
use serde::{Deserialize, Serialize};

use crate::error::{busy, known, nothing_in_flight};
use crate::folder::{Folder, Found, names};
use crate::layout::Layout;
use crate::list::{self, locked};
use crate::seal::{self, FORMAT, Unreadable};
use crate::state::{Claim, State};
use crate::verify;
use crate::write::{Writer, not_in_flight, same_workload};

/// How long `begin` waits for somebody who holds the lock but has not yet said so, or has just
/// finished.
const PATIENCE: Duration = Duration::from_secs(5);

/// Deployment history as a directory of JSON files. Clones share it, and so do several processes.
#[derive(Clone)]
pub struct JsonStore {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) locks: Locks,
    folders: Mutex<HashMap<WorkloadId, Arc<Mutex<Folder>>>>,
}

/// The first file of the directory: it says whose it is.
#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
    store: String,
}

const STORE: &str = "rollback-json";

impl fmt::Debug for JsonStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonStore")
            .field("path", &self.inner.layout.root())
            .finish_non_exhaustive()
    }
}

impl JsonStore {
    /// Opens the history in directory `path`; makes it (0700, its files 0600) if it does not
    /// exist.
    ///
    /// Fails with `Unusable` (a file, no permission, a network file system, a directory of
    /// something else), `Full` or `NewerSchema`; in each case what is there is left as it is. A
    /// directory that can only be read is opened for reading.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        blocking(move || {
            let layout = Layout::new(prepare(&path)?);
            Ok(Self {
                inner: Arc::new(Inner {
                    locks: Locks::in_dir(layout.locks())?,
                    layout,
                    folders: Mutex::new(HashMap::new()),
                }),
            })
        })
        .await
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.inner.layout.root()
    }

    /// Makes every index anew from the records: after files were restored or removed by hand.
    /// What cannot be read is moved to quarantine.
    pub async fn rebuild_index(&self) -> Result<(), StoreError> {
        self.run(|s| {
            for workload in s.workloads()? {
                s.write(&workload, |w| w.rebuild())?;
            }
            Ok(())
        })
        .await
    }

    async fn run<T, F>(&self, step: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        blocking(move || step(&inner)).await
    }
}

/// Checks the directory, and makes it ours if it is new.
fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    if path.exists() && !path.is_dir() {
        return Err(
            StoreError::new(Kind::Unusable, "the history's path is no directory")
                .on(path.display())
                .advice("name a directory, or use the SQLite store for a file"),
        );
    }
    make_dir(path)?;
    check_local(path)?;
    let path =
        fs::canonicalize(path).map_err(|e| system("the path cannot be resolved", path, e))?;
    let layout = Layout::new(path.clone());
    let marker = layout.format();
    let Some((bytes, _)) = crate::record::read(&marker)? else {
        if names(&path)?
            .iter()
            .any(|n| !n.starts_with(durable::TEMPORARY) && n != "locks")
        {
            return Err(StoreError::new(
                Kind::Unusable,
                "the directory holds something else and was left as it is",
            )
            .on(path.display())
            .advice("choose an empty directory, or a new one"));
        }
        let bytes = seal::seal(&Marker {
            format: FORMAT,
            store: STORE.to_owned(),
        })?;
        return match durable::create(&marker, &bytes) {
            Ok(()) => Ok(path),
            // Another process was quicker.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(path),
            Err(e) => Err(system("the history cannot be begun", &path, e)),
        };
    };
    match seal::open::<Marker>(&bytes) {
        Ok(marker) if marker.store == STORE => Ok(path),
        Err(why @ Unreadable::Newer(_)) => {
            Err(StoreError::new(Kind::NewerSchema, why.to_string()).on(path.display()))
        }
        Ok(_) | Err(Unreadable::Damaged(_)) => Err(StoreError::new(
            Kind::Corrupt,
            "the directory's format.json is not what this library wrote",
        )
        .on(marker.display())
        .advice("restore this one file from a copy; nothing else was looked at")),
    }
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
    fn folders_for(&self, query: &Query) -> Result<Vec<Arc<Mutex<Folder>>>, StoreError> {
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

    fn state(&self, workload: &WorkloadId) -> Result<State, StoreError> {
        locked(&self.folder(workload)).state()
    }

    fn shown(&self, state: &State) -> Result<WorkloadState, StoreError> {
        let liveness = match state.in_flight {
            Some(_) => self.locks.look(&state.workload)?,
            None => Liveness::Dead,
        };
        Ok(state.shown(liveness))
    }

    fn write<T>(
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
    fn find(&self, id: &DeploymentId) -> Result<Option<(WorkloadId, u64)>, StoreError> {
        for workload in self.workloads()? {
            if let Some(shard) = locked(&self.folder(&workload)).shard_with(id)? {
                return Ok(Some((workload, shard)));
            }
        }
        Ok(None)
    }

    fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
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
    fn quarantined(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
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
    fn in_the_way(&self, workload: &WorkloadId) -> Result<Option<StoreError>, StoreError> {
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
    fn lock_idle(&self, workload: &WorkloadId) -> Result<Held, StoreError> {
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

    fn begin(
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
    fn number_for(&self, new: &NewDeployment) -> Result<Sequence, StoreError> {
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
    fn next_sequence(&self) -> Result<Sequence, StoreError> {
        let Some(_lock) = self.locks.take_named("sequence", 5_000)? else {
            return Err(busy(self.layout.root().display()));
        };
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
    fn beyond_all(&self) -> Result<u64, StoreError> {
        let mut beyond = 0;
        for workload in self.workloads()? {
            // A folder of its own: the shared ones may be locked by who asks.
            let folder = Folder::new(&self.layout, workload);
            beyond = beyond.max(folder.greatest()?);
        }
        Ok(beyond)
    }

    fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
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

    fn in_flight(&self, id: &DeploymentId) -> Result<WorkloadId, StoreError> {
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

    fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
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

#[async_trait]
impl HistoryStore for JsonStore {
    async fn begin(
        &self,
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let (new, holder) = (new.clone(), holder.clone());
        self.run(move |s| s.begin(&new, &holder, expected)).await
    }

    async fn append(&self, lease: &Lease, event: &TimedEvent) -> Result<(), StoreError> {
        let (claim, event) = (Claim::from(lease), event.clone());
        self.run(move |s| s.write(&claim.workload, |w| w.append(&claim, &event)))
            .await
    }

    async fn finish(
        &self,
        lease: Lease,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, (Lease, StoreError)> {
        let (claim, settlement, next) = (Claim::from(&lease), settlement.clone(), then.clone());
        let done = self
            .run(move |s| {
                if let Then::ReleaseAndAmend(failed) = &next
                    && let Some((of, _)) = s.find(failed)?
                {
                    same_workload(&claim, failed, &of)?;
                }
                s.write(&claim.workload, |w| {
                    w.finish(&claim, &settlement, at, &next, |new| s.number_for(new))
                })
            })
            .await;
        match (done, then) {
            (Err(e), _) => Err((lease, e)),
            (Ok(Some(sequence)), Then::Open(new)) => Ok(Finished::Opened(Begun {
                lease: lease.pass_on(new.id.clone()),
                sequence,
            })),
            (Ok(_), _) => Ok(Finished::Released),
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let claim = Claim::from(lease);
        self.run(move |s| {
            let state = s.state(&claim.workload)?;
            Ok(Renewal {
                cancel_requested_by: state.check(&claim)?.cancel_by.clone(),
            })
        })
        .await
    }

    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
        let (workload, holder) = (workload.clone(), holder.clone());
        self.run(move |s| s.take_over(&workload, &holder)).await
    }

    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError> {
        let (id, by) = (id.clone(), by.clone());
        self.run(move |s| {
            let workload = s.in_flight(&id)?;
            s.write(&workload, |w| w.request_cancel(&id, &by))
        })
        .await
    }

    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        let workload = workload.clone();
        self.run(move |s| s.shown(&s.state(&workload)?)).await
    }

    async fn workloads(&self) -> Result<Vec<WorkloadState>, StoreError> {
        self.run(|s| {
            let mut states = Vec::new();
            for workload in s.workloads()? {
                let state = s.state(&workload)?;
                // Made by a begin that was never committed: nothing is known of it.
                if state.version > 0 {
                    states.push(s.shown(&state)?);
                }
            }
            Ok(states)
        })
        .await
    }

    async fn set_hold(&self, workload: &WorkloadId, hold: Option<&Hold>) -> Result<(), StoreError> {
        let (workload, hold) = (workload.clone(), hold.cloned());
        self.run(move |s| s.write(&workload, |w| w.set(|state| state.hold = hold)))
            .await
    }

    async fn set_policy(
        &self,
        workload: &WorkloadId,
        policy: Option<&Policy>,
    ) -> Result<(), StoreError> {
        let (workload, policy) = (workload.clone(), policy.cloned());
        self.run(move |s| s.write(&workload, |w| w.set(|state| state.policy = policy)))
            .await
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let id = id.clone();
        self.run(move |s| s.get(&id)).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let query = query.clone();
        self.run(move |s| list::list(s.folders_for(&query)?, &query, &s.locks))
            .await
    }

    async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
        let query = query.clone();
        self.run(move |s| list::stats(s.folders_for(&query)?, &query, &s.locks))
            .await
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let (id, what) = (id.clone(), what.clone());
        self.run(move |s| match s.find(&id)? {
            Some((workload, _)) => s.write(&workload, |w| w.annotate(&id, &what)),
            None => Err(crate::error::unknown(&id)),
        })
        .await
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.run(move |s| s.forget(&ids)).await
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let workload = workload.clone();
        self.run(move |s| Ok(Exclusion::new(s.lock_idle(&workload)?)))
            .await
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        self.run(verify::verify).await
    }
}
