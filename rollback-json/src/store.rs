//! [`JsonStore`]: the store's verbs, each one blocking step off the async threads.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::deployment::{Annotation, Deployment, Opening, Settlement};
use rollback_core::error::StoreError;
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Abandonment, Amendment, Begun, Exclusion, Fault, Finish, Finished, HistoryReader, HistoryStore,
    Holder, Identity, Lease, Page, Query, Renewal, Sequence, States, Stats, Summaries, Then, Trust,
    Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId, IdempotencyKey, WorkloadId};
use rollback_core::time::Timestamp;
use rollback_fs::{Locks, blocking};

use crate::backup;
use crate::folder::Beginnings;
use crate::inner::Inner;
use crate::layout::Layout;
use crate::list;
use crate::open::{self, prepare};
use crate::summaries;
use crate::verify;

/// Deployment history as a directory of JSON files. Clones share it, and so do several processes.
#[derive(Clone)]
pub struct JsonStore {
    inner: Arc<Inner>,
}

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
    /// A directory that can only be read is opened for reading.
    ///
    /// # Errors
    ///
    /// What is there is left as it is:
    ///
    /// - [`Unusable`](rollback_core::error::StoreErrorKind::Unusable): a file, no permission, a
    ///   network file system, or a directory of something else.
    /// - [`Full`](rollback_core::error::StoreErrorKind::Full): there is no space to make it.
    /// - [`ReadOnly`](rollback_core::error::StoreErrorKind::ReadOnly): there is no history, and
    ///   none can be made.
    /// - [`NewerSchema`](rollback_core::error::StoreErrorKind::NewerSchema): a newer version wrote
    ///   it.
    /// - [`Corrupt`](rollback_core::error::StoreErrorKind::Corrupt): its `format.json` is damaged.
    /// - [`Busy`](rollback_core::error::StoreErrorKind::Busy): another process is opening it, and
    ///   does not go on.
    /// - [`Io`](rollback_core::error::StoreErrorKind::Io): any other failure of the system.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        blocking(move || {
            let (path, inode) = prepare(&path)?;
            let layout = Layout::new(path);
            Ok(Self {
                inner: Arc::new(Inner {
                    locks: Locks::in_dir(layout.locks())?,
                    layout,
                    inode,
                    folders: Mutex::new(HashMap::new()),
                }),
            })
        })
        .await
    }

    /// Copies the history to a new directory `to`, while programs go on writing: each workload as
    /// it is at one instant. The copy is durable before it gets its name; a deployment in flight is
    /// unfinished there, and its holder dead.
    ///
    /// # Errors
    ///
    /// [`Unusable`](rollback_core::error::StoreErrorKind::Unusable) if there is something at `to`
    /// already or its directory cannot be written,
    /// [`ReadOnly`](rollback_core::error::StoreErrorKind::ReadOnly),
    /// [`Full`](rollback_core::error::StoreErrorKind::Full),
    /// [`Io`](rollback_core::error::StoreErrorKind::Io), or
    /// [`Busy`](rollback_core::error::StoreErrorKind::Busy) while a process that writes does not go
    /// on. Then nothing is at `to` that was not there before. Damaged files are copied as they are.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let to = to.as_ref().to_owned();
        self.run(move |s| backup::backup(s, &to)).await
    }

    /// Puts a backup, or any other copy of a history that nobody writes to, in place as the history
    /// in directory `path`, which must not exist: move away what is there first, when no program
    /// has it open. The backup stays as it is.
    ///
    /// It is the same history in a new incarnation: what was published by deployments that the
    /// backup does not have is found to be ahead of it. So it is with a copy that was put in place
    /// by hand, once it is opened.
    ///
    /// # Errors
    ///
    /// As [`backup`](Self::backup) and [`open`](Self::open);
    /// [`Unusable`](rollback_core::error::StoreErrorKind::Unusable) also if there is no history at
    /// `backup`.
    pub async fn restore(
        backup: impl AsRef<Path>,
        path: impl AsRef<Path>,
    ) -> Result<Self, StoreError> {
        let (from, to) = (backup.as_ref().to_owned(), path.as_ref().to_owned());
        let at = to.clone();
        blocking(move || backup::restore(&from, &at)).await?;
        Self::open(to).await
    }

    /// The directory, all links followed.
    pub fn path(&self) -> &Path {
        self.inner.layout.root()
    }

    /// Makes every index anew from the records, and takes the records that are there for all that
    /// there are: after files were put in or taken out by hand.
    ///
    /// # Errors
    ///
    /// As of [all writes](rollback_core::history::HistoryStore#errors-of-all-writes), at the first
    /// workload whose index cannot be made: those before it have theirs anew. No record is changed.
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

#[async_trait]
impl HistoryReader for JsonStore {
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        let workload = workload.clone();
        self.run(move |s| s.state_of(&workload)).await
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        self.run(Inner::states).await
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.run(|s| open::identity(&s.layout)).await
    }

    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        let beginnings = Beginnings::new(beginnings);
        self.run(move |s| s.beginning(&beginnings, limit)).await
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let id = id.clone();
        self.run(move |s| s.get(&id)).await
    }

    async fn keyed(
        &self,
        workload: &WorkloadId,
        key: &IdempotencyKey,
    ) -> Result<Option<DeploymentId>, StoreError> {
        let (workload, key) = (workload.clone(), key.clone());
        self.run(move |s| {
            let folder = s.folder(&workload);
            let mut folder = list::locked(&folder);
            let state = folder.state()?;
            folder.keyed(&state, &key)
        })
        .await
    }

    async fn summaries(
        &self,
        workload: &WorkloadId,
        limit: usize,
    ) -> Result<Summaries, StoreError> {
        let workload = workload.clone();
        self.run(move |s| summaries::of(&s.folder(&workload), limit, &s.locks))
            .await
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

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        self.run(verify::verify).await
    }
}

#[async_trait]
impl HistoryStore for JsonStore {
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
        let by = self.run(move |s| s.write(claim.workload(), |w| w.append(&claim, &events)));
        Ok(Renewal::new(Trust::WhileHeld, by.await?))
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
        let opened = self
            .run(move |s| {
                if let Some((failed, _)) = finish.amends()
                    && let Some((of, _)) = s.find(failed)?
                {
                    finish.claim().reaches(failed, &of)?;
                }
                s.write(finish.claim().workload(), |w| {
                    w.finish(&finish, |new, own| s.number_for(new, own))
                })
            })
            .await?;
        Ok(asked.done(lease, opened))
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let claim = lease.claim().clone();
        self.run(move |s| {
            let state = s.state(claim.workload())?;
            let by = state.check(&claim)?.cancel_by.clone();
            Ok(Renewal::new(Trust::WhileHeld, by))
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

    async fn amend(
        &self,
        workload: &WorkloadId,
        expected: Version,
        amendment: &Amendment,
    ) -> Result<Version, StoreError> {
        let (workload, amendment) = (workload.clone(), amendment.clone());
        self.run(move |s| s.write(&workload, |w| w.amend(expected, &amendment)))
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
        self.run(move |s| {
            s.check_place()?;
            open::change(&s.layout, |marker| marker.past = marker.past.max(past)).map(drop)
        })
        .await
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let (id, what) = (id.clone(), what.clone());
        self.run(move |s| match s.find(&id)? {
            Some((workload, _)) => s.write(&workload, |w| w.annotate(&id, &what)),
            None => Err(StoreError::unknown(&id)),
        })
        .await
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.run(move |s| s.forget(&ids)).await
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let workload = workload.clone();
        self.run(move |s| {
            let lock = s.lock_idle(&workload)?;
            Ok(Exclusion::new(workload, lock))
        })
        .await
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
