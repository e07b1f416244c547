//! [`SqliteStore`]: the store's verbs, each one blocking step off the async threads.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::deployment::{Deployment, Opening, Settlement};
use rollback_core::error::StoreError;
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Abandonment, Amendment, Annotation, Begun, Exclusion, Fault, Finish, Finished, HistoryReader,
    HistoryStore, Holder, Identity, Lease, Page, Query, Renewal, Sequence, States, Stats,
    Summaries, Then, Trust, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, IdempotencyKey, WorkloadId};
use rollback_core::time::Timestamp;
use rollback_fs::blocking;
use rusqlite::Connection;

use crate::identity::identity;
use crate::inner::Inner;
use crate::open::Opened;
use crate::place::locks_beside;
use crate::record::{keyed, load};
use crate::room::Room;
use crate::write;
use crate::writer::Writer;
use crate::{find, open, read, restore, stats, summaries, verify};

/// Deployment history in one SQLite file. Clones share it, and so do several processes.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.path())
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the history at `path`; makes the file (0600) and its directory (0700) if they do not
    /// exist. Beside it stand SQLite's `-wal` and `-shm` and the directory `<path>.locks`.
    ///
    /// Whatever links lead to it, the file has one name, one log and one set of locks. While it is
    /// open it is copied with [`backup`](Self::backup) alone: a program that copies or reads it by
    /// other means in the same process (a second SQLite library is one) takes back SQLite's locks
    /// on it, as the kernel has it. A copy is
    /// put in its place with [`restore`](Self::restore) alone. A file that is moved, replaced or
    /// deleted while it is open is not written to any more: every verb fails with `Unusable`.
    ///
    /// Files that root makes are given to the owner of the directory around them.
    ///
    /// On a read-only file system (to which the kernel falls back after a disk error), and on a
    /// read-only mount, a history is read and copied, and every write fails with `ReadOnly`.
    ///
    /// # Errors
    ///
    /// [`Unusable`](rollback_core::error::StoreErrorKind::Unusable) (a directory, no permission, a
    /// network file system or one that a program serves, another program's database, a file with
    /// two names or mounted by itself),
    /// [`ReadOnly`](rollback_core::error::StoreErrorKind::ReadOnly) (there is no file, or it cannot
    /// be read without writing), [`Full`](rollback_core::error::StoreErrorKind::Full),
    /// [`Corrupt`](rollback_core::error::StoreErrorKind::Corrupt) (also of a file without a byte),
    /// [`NewerSchema`](rollback_core::error::StoreErrorKind::NewerSchema), or
    /// [`Busy`](rollback_core::error::StoreErrorKind::Busy) while it is being restored; in each
    /// case the file is left as it is.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        blocking(move || {
            let Opened {
                place,
                locks,
                writer,
                shared,
            } = open::open(&path)?;
            let room = Room::in_dir(&locks_beside(place.path()));
            if writer.is_some() {
                // No deployment begins without it; reading and ending do.
                let _ = room.keep();
            }
            Ok(Self {
                inner: Arc::new(Inner {
                    place,
                    locks,
                    room,
                    writer: writer.map(|writer| Mutex::new(Writer::new(writer))),
                    readers: Mutex::new(Vec::new()),
                    _shared: shared,
                }),
            })
        })
        .await
    }

    /// The history's file, all links followed.
    pub fn path(&self) -> &Path {
        self.inner.path()
    }

    /// Copies the whole history, as it is at one instant, to a new file at `to` (0600), while
    /// programs go on writing. The copy is checked and durable before it gets its name; a
    /// deployment in flight is unfinished there, and its holder dead. A history whose file was
    /// deleted while it was open can still be copied.
    ///
    /// # Errors
    ///
    /// [`Unusable`](rollback_core::error::StoreErrorKind::Unusable) if there is a file at `to`
    /// already or its directory cannot be written,
    /// [`Full`](rollback_core::error::StoreErrorKind::Full),
    /// [`Corrupt`](rollback_core::error::StoreErrorKind::Corrupt) if the history is damaged, or
    /// [`Io`](rollback_core::error::StoreErrorKind::Io). Then nothing is at `to` that was not there
    /// before.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let to = to.as_ref().to_owned();
        self.run(move |s| s.backup(&to)).await
    }

    /// Puts a copy in the place of the history at `to`, or where there is none: whole or not at
    /// all, and durable. The history is in a new life from then on (see [`Identity::restored`]),
    /// and what was in flight in the copy is there with its holder dead. What was at `to` before
    /// is kept beside it, with what was in its log; gives its path.
    ///
    /// # Errors
    ///
    /// [`Conflict`](rollback_core::error::StoreErrorKind::Conflict) or
    /// [`Busy`](rollback_core::error::StoreErrorKind::Busy), and nothing is changed, while any
    /// program has the history at `to` open or somebody runs a deployment of it;
    /// [`Corrupt`](rollback_core::error::StoreErrorKind::Corrupt) if the copy is damaged,
    /// [`NewerSchema`](rollback_core::error::StoreErrorKind::NewerSchema) or
    /// [`Unusable`](rollback_core::error::StoreErrorKind::Unusable) if it is no copy of a history
    /// that this version reads; [`Full`](rollback_core::error::StoreErrorKind::Full),
    /// [`ReadOnly`](rollback_core::error::StoreErrorKind::ReadOnly) or
    /// [`Io`](rollback_core::error::StoreErrorKind::Io), and then the history is as it was.
    pub async fn restore(
        backup: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<Option<PathBuf>, StoreError> {
        let (backup, to) = (backup.as_ref().to_owned(), to.as_ref().to_owned());
        blocking(move || restore::restore(&backup, &to)).await
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
impl HistoryReader for SqliteStore {
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        let workload = workload.clone();
        self.run(move |s| s.state_of(&workload)).await
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        self.run(Inner::states).await
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.run(|s| s.read(identity)).await
    }

    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        let beginnings: Vec<String> = beginnings.iter().map(|b| (*b).to_owned()).collect();
        let find = move |c: &Connection| {
            let found = beginnings.iter().map(|text| find::find(c, text, limit));
            found.collect()
        };
        self.run(move |s| s.read(find)).await
    }

    async fn keyed(
        &self,
        workload: &WorkloadId,
        key: &IdempotencyKey,
    ) -> Result<Option<DeploymentId>, StoreError> {
        let (workload, key) = (workload.clone(), key.clone());
        self.run(move |s| s.read(|c| keyed(c, &workload, &key)))
            .await
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let id = id.clone();
        self.run(move |s| s.read(|c| load(c, &id))).await
    }

    async fn summaries(
        &self,
        workload: &WorkloadId,
        limit: usize,
    ) -> Result<Summaries, StoreError> {
        let workload = workload.clone();
        self.run(move |s| s.read(|c| summaries::of(c, &workload, limit)))
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

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        self.run(move |s| s.read(verify::verify)).await
    }
}

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let (new, holder) = (new.clone(), holder.clone());
        self.run(move |s| s.begin(&new, &holder, expected)).await
    }

    async fn append(&self, lease: &Lease, events: &[TimedEvent]) -> Result<Renewal, StoreError> {
        let (claim, events) = (lease.claim().clone(), events.to_vec());
        let by = self.run(move |s| s.append(&claim, &events)).await?;
        Ok(Renewal::new(Trust::WhileHeld, by))
    }

    async fn finish(
        &self,
        lease: &Lease,
        last: &[TimedEvent],
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, StoreError> {
        let asked = Finish::new(lease, last, settlement, at, then)?;
        let finish = asked.clone();
        let opened = self.run(move |s| s.finish(&finish)).await?;
        Ok(asked.done(lease, opened))
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let claim = lease.claim().clone();
        let by = self.run(move |s| s.read(|c| write::renew(c, &claim)));
        Ok(Renewal::new(Trust::WhileHeld, by.await?))
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

    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError> {
        let (workload, amendment) = (workload.clone(), amendment.clone());
        self.run(move |s| s.write(|tx| write::amend(tx, &workload, expected, &amendment)))
            .await
    }

    async fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        let (workload, abandonment) = (workload.clone(), abandonment.clone());
        self.run(move |s| s.abandon(&workload, &abandonment)).await
    }

    async fn advance(&self, past: Sequence) -> Result<(), StoreError> {
        self.run(move |s| s.write(|tx| write::advance(tx, past)))
            .await
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let (id, what) = (id.clone(), what.clone());
        self.run(move |s| s.write(|tx| write::annotate(tx, &id, &what)))
            .await
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.run(move |s| s.forget(&ids)).await
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let workload = workload.clone();
        self.run(move |s| s.exclude(&workload)).await
    }

    async fn renew_exclusion(&self, _: &Exclusion) -> Result<Trust, StoreError> {
        // It is a lock, and who holds that need not say so again.
        Ok(Trust::WhileHeld)
    }

    async fn readmit(&self, exclusion: Exclusion) -> Result<(), StoreError> {
        drop(exclusion);
        Ok(())
    }
}
