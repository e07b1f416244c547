//! [`JsonStore`]: the store's verbs, each one blocking step off the async threads.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::deployment::{Annotation, Deployment, NewDeployment, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Abandonment, Amendment, Begun, Exclusion, Fault, Finished, HistoryStore, Holder, Identity,
    Lease, Page, Query, Renewal, Sequence, Settings, States, Stats, Summaries, Then, Version,
    WorkloadState, check_version,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::time::Timestamp;
use rollback_fs::{Locks, blocking};

use crate::inner::Inner;
use crate::layout::Layout;
use crate::list;
use crate::open::prepare;
use crate::state::Claim;
use crate::summaries;
use crate::verify;
use crate::write::same_workload;

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

    async fn workloads(&self) -> Result<States, StoreError> {
        self.run(|s| {
            let mut states = Vec::new();
            for workload in s.workloads()? {
                let state = s.state(&workload)?;
                // Made by a begin that was never committed: nothing is known of it.
                if state.version > 0 {
                    states.push(s.shown(&state)?);
                }
            }
            Ok(States {
                states,
                damaged: Vec::new(),
            })
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
        self.run(move |s| {
            check_version(&workload, Version(s.state(&workload)?.version), expected)?;
            s.write(&workload, |w| {
                w.set(|state| {
                    let mut settings = Settings {
                        hold: state.hold.take(),
                        policy: state.policy.take(),
                        amendments: Vec::new(),
                    };
                    settings.amend(&amendment);
                    (state.hold, state.policy) = (settings.hold, settings.policy);
                })
            })?;
            Ok(Version(s.state(&workload)?.version))
        })
        .await
    }

    async fn abandon(
        &self,
        workload: &WorkloadId,
        _: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        Err(StoreError::new(StoreErrorKind::NotFound, "nothing can be abandoned").on(workload))
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        Identity::generate().map_err(|e| StoreError::new(StoreErrorKind::Io, e.to_string()))
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
        self.run(move |s| s.get(&id)).await
    }

    async fn summaries(&self, workload: &WorkloadId) -> Result<Summaries, StoreError> {
        let workload = workload.clone();
        self.run(move |s| summaries::of(&s.folder(&workload), &s.locks))
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
