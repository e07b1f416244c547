//! [`SqliteStore`]: the store's verbs, each one blocking step off the async threads.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::deployment::{Deployment, NewDeployment, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Abandonment, Amendment, Annotation, Begun, Damaged, Exclusion, Fault, Finished, HistoryStore,
    Holder, Identity, Lease, Page, Query, Renewal, Sequence, Settings, States, Stats, Summaries,
    Then, Version, WorkloadState, check_version,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::time::Timestamp;
use rollback_fs::{Locks, blocking};

use crate::inner::Inner;
use crate::open::Opened;
use crate::record::{decode, load};
use crate::state::Entry;
use crate::write::{self, Claim, Column};
use crate::writer::Writer;
use crate::{backup, open, read, read_only, stats, summaries, verify};

/// Deployment history in one SQLite file. Clones share it, and so do several processes.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the history at `path`; makes the file (0600) and its directory (0700) if they do not
    /// exist. Beside it stand SQLite's `-wal` and `-shm` and the directory `<path>.locks`.
    ///
    /// On a read-only file system (to which the kernel falls back after a disk error) a history
    /// is read and copied, and every write fails with `ReadOnly`. A read-only mount of a file
    /// system that is written elsewhere is refused where reading could miss what is written.
    ///
    /// Fails with `Unusable` (a directory, no permission, a network file system, another
    /// program's database), `ReadOnly` (there is no file, or it cannot be read without writing),
    /// `Full`, `Corrupt` or `NewerSchema`; in each case the file is left as it is.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        blocking(move || {
            let opened = if path.exists() && read_only::is_mounted_so(&path)? {
                read_only::open(&path)?
            } else {
                open::open(&path)?
            };
            let Opened { path, writer } = opened;
            let mut locks = path.as_os_str().to_owned();
            locks.push(".locks");
            let locks = match &writer {
                Some(_) => Locks::in_dir(locks.into())?,
                None => Locks::to_look_at(locks.into()),
            };
            Ok(Self {
                inner: Arc::new(Inner {
                    locks,
                    path,
                    writer: writer.map(|writer| Mutex::new(Writer::new(writer))),
                    readers: Mutex::new(Vec::new()),
                }),
            })
        })
        .await
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Copies the whole history, as it is at one instant, to a new file at `to` (0600), while
    /// programs go on writing. The copy is checked and durable before it gets its name; a
    /// deployment in flight is unfinished there, and its holder dead.
    ///
    /// Fails with `Unusable` if there is a file at `to` already or its directory cannot be
    /// written, `Full`, `Corrupt` if the history is damaged, or `Io`. Then nothing is at `to`
    /// that was not there before.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let to = to.as_ref().to_owned();
        self.run(move |s| {
            let from = s.connect()?;
            backup::backup(&from, &s.path, &to)
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

#[async_trait]
impl HistoryStore for SqliteStore {
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
        self.run(move |s| s.append(&claim, &event)).await
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
            .run(move |s| s.finish(&claim, &settlement, at, &next))
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
            s.read(|c| {
                let by = claim.check(c)?.cancel_by;
                let by = by
                    .map(|by| decode::<Actor>(&claim.workload, &by))
                    .transpose()?;
                Ok(Renewal {
                    cancel_requested_by: by,
                })
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
        self.run(move |s| s.write(|tx| write::request_cancel(tx, &id, &by)))
            .await
    }

    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        let workload = workload.clone();
        self.run(move |s| match s.read(|c| Entry::find(c, &workload))? {
            Some(entry) => s.state(&entry),
            None => Ok(WorkloadState::unseen(workload)),
        })
        .await
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        self.run(|s| {
            let entries = s.read(Entry::all)?;
            let (mut states, mut damaged) = (Vec::with_capacity(entries.len()), Vec::new());
            for entry in &entries {
                match s.state(entry) {
                    Ok(state) => states.push(state),
                    // One unreadable state hides no other.
                    Err(error) if error.kind() == Kind::Corrupt => damaged.push(Damaged {
                        workload: entry.workload.clone(),
                        error,
                    }),
                    Err(e) => return Err(e),
                }
            }
            Ok(States { states, damaged })
        })
        .await
    }

    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError> {
        let state = self.workload(workload).await?;
        check_version(workload, state.version, expected)?;
        let mut settings = Settings::of(&state);
        settings.amend(amendment);
        let workload = workload.clone();
        self.run(move |s| {
            s.write(|tx| match &amendment_column(&settings, &state) {
                Column::Hold => write::set(tx, &workload, Column::Hold, settings.hold.as_ref()),
                Column::Policy => {
                    write::set(tx, &workload, Column::Policy, settings.policy.as_ref())
                }
            })
        })
        .await?;
        Ok(Version(expected.0 + 1))
    }

    async fn abandon(
        &self,
        workload: &WorkloadId,
        _: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        Err(StoreError::new(Kind::NotFound, "nothing can be abandoned").on(workload))
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        Identity::generate().map_err(|e| StoreError::new(Kind::Io, e.to_string()))
    }

    async fn advance(&self, _: Sequence) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<DeploymentId>, StoreError> {
        let page = self.list(&Query::default().limit(1_000)).await?;
        let ids = page.deployments.iter().map(Deployment::id);
        let ids = ids.filter(|id| id.begins(beginning));
        Ok(ids.take(limit).cloned().collect())
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let id = id.clone();
        self.run(move |s| s.read(|c| load(c, &id))).await
    }

    async fn summaries(&self, workload: &WorkloadId) -> Result<Summaries, StoreError> {
        let workload = workload.clone();
        self.run(move |s| s.read(|c| summaries::of(c, &workload)))
            .await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let query = query.clone();
        self.run(move |s| s.read(|c| read::list(c, &query))).await
    }

    async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
        let query = query.clone();
        self.run(move |s| s.read(|c| stats::stats(c, &query))).await
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let (id, what) = (id.clone(), what.clone());
        self.run(move |s| s.write(|tx| write::annotate(tx, &id, &what)))
            .await
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.run(move |s| s.write(|tx| write::forget(tx, &ids)))
            .await
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let workload = workload.clone();
        self.run(move |s| s.exclude(&workload)).await
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        self.run(move |s| s.read(verify::verify)).await
    }
}

fn amendment_column(settings: &Settings, before: &WorkloadState) -> Column {
    if settings.hold == before.hold {
        Column::Policy
    } else {
        Column::Hold
    }
}
