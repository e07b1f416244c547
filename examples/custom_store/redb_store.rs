//! A whole store: a history in one file of redb, an embedded key-value store.
//!
//! redb lets one process at a time open a file, by a kernel lock. So everybody who lives is in this
//! process, and what is on record as held by nobody here is surely dead: that is the proof that a
//! take-over needs. Each value of the store that is to share the file is a clone of the first.
//!
//! Two promises are left out: room for the end of a deployment is not reserved, and a workload whose
//! own row is damaged cannot be abandoned. Lists read every record: for thousands, keep summaries.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use rollback_core::deployment::{Deployment, LiveRecord, Opening, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Abandonment, Amendment, Annotation, Begun, Damaged, Exclusion, Fault, Finish, Finished,
    HistoryReader, HistoryStore, Holder, Identity, InFlight, Lease, Liveness, Page, Query, Renewal,
    Sequence, Settings, States, Stats, Then, Trust, Version, WorkloadState, check_version,
    may_be_forgotten,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::time::Timestamp;

use crate::tables::{
    IDS, META, RECORDS, Row, WORKLOADS, Write, broken, from_json, parse, record_of, row_of, to_json,
};

/// The history in one file.
#[derive(Debug, Clone)]
pub(crate) struct RedbStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    /// Who lives, or excludes: each of them has an `Alive` of its own.
    here: Mutex<BTreeMap<WorkloadId, Here>>,
}

#[derive(Debug, Default)]
struct Here {
    holder: Weak<Alive>,
    excluder: Weak<Alive>,
}

/// As long as it lives, its holder does. It keeps the file open, and so locked, after the store was
/// dropped: otherwise the next process would take a living holder for dead.
#[derive(Debug)]
struct Alive(#[allow(dead_code)] Arc<Inner>);

impl RedbStore {
    /// Opens a history, or makes one. `Busy` while another process has it open.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        blocking(move || {
            let database = Database::create(path).map_err(broken)?;
            let tx = database.begin_write().map_err(broken)?;
            tx.open_table(RECORDS).map_err(broken)?;
            tx.open_table(IDS).map_err(broken)?;
            tx.open_table(WORKLOADS).map_err(broken)?;
            let mut meta = tx.open_table(META).map_err(broken)?;
            if meta.get("identity").map_err(broken)?.is_none() {
                let identity = Identity::generate()
                    .map_err(|e| StoreError::new(Kind::Io, "no random bytes").because(e))?;
                let json = to_json(&identity)?;
                meta.insert("identity", &*json).map_err(broken)?;
            }
            drop(meta);
            tx.commit().map_err(broken)?;
            let here = Mutex::default();
            Ok(Self(Arc::new(Inner { database, here })))
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Inner, ReadTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || read(&inner, inner.database.begin_read().map_err(broken)?)).await
    }

    /// One write after the other; what fails leaves nothing. It goes on if its caller goes away.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Arc<Inner>, &Write) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let tx = Write(inner.database.begin_write().map_err(broken)?);
            let done = write(&inner, &tx)?;
            tx.0.commit().map_err(broken)?;
            Ok(done)
        })
        .await
    }

    /// The records that a query means, newest first, and which cannot be read.
    async fn matching(&self, query: &Query) -> Result<(Vec<Deployment>, Vec<Fault>), StoreError> {
        let query = query.clone();
        self.read(move |_, tx| {
            let records = tx.open_table(RECORDS).map_err(broken)?;
            let before = query.before.map_or(u64::MAX, |b| b.0);
            let (mut found, mut unreadable) = (Vec::new(), Vec::new());
            for entry in records.range(..before).map_err(broken)?.rev() {
                let (sequence, json) = entry.map_err(broken)?;
                match parse(sequence.value(), json.value()) {
                    Ok(d) if query.matches(&d) => found.push(d),
                    Ok(_) => {}
                    Err(e) => {
                        unreadable.push(Fault::new(sequence.value().to_string(), e.to_string()))
                    }
                }
            }
            Ok((found, unreadable))
        })
        .await
    }
}

impl Inner {
    fn here<T>(&self, workload: &WorkloadId, with: impl FnOnce(&mut Here) -> T) -> T {
        // Each change is a single assignment, so a poisoned map is still a whole one.
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        with(here.entry(workload.clone()).or_default())
    }

    /// The state as it is now: who is in flight lives, or not.
    fn now(&self, mut state: WorkloadState) -> WorkloadState {
        let alive = self.here(&state.workload, |h| h.holder.strong_count() > 0);
        if let Some(in_flight) = &mut state.in_flight {
            in_flight.liveness = if alive {
                Liveness::Alive
            } else {
                Liveness::Dead
            };
        }
        state
    }

    /// Refuses while a deployment is in flight, or somebody excludes them.
    fn is_free(&self, tx: &Write, row: &Row) -> Result<(), StoreError> {
        let state = self.now(row.state.clone());
        state.check_idle(|id| tx.phase(id))?;
        if self.here(&state.workload, |h| h.excluder.strong_count() > 0) {
            return Err(StoreError::excluded(&state.workload));
        }
        Ok(())
    }

    /// The deployment that a dead holder has left in flight.
    fn left(&self, tx: &Write, row: &Row) -> Result<DeploymentId, StoreError> {
        let state = self.now(row.state.clone());
        let left = state.left_by_the_dead(|id| tx.phase(id))?;
        Ok(left.deployment.clone())
    }

    /// Makes this process the holder.
    fn hold(self: &Arc<Self>, row: &mut Row, deployment: &DeploymentId, holder: Holder) -> Lease {
        let alive = Arc::new(Alive(Arc::clone(self)));
        let workload = row.state.workload.clone();
        self.here(&workload, |h| h.holder = Arc::downgrade(&alive));
        row.epoch.0 += 1;
        row.state.in_flight = Some(InFlight::new(
            deployment.clone(),
            holder,
            Liveness::Alive,
            row.epoch,
        ));
        Lease::new(workload, deployment.clone(), row.epoch, alive)
    }
}

#[async_trait]
impl HistoryReader for RedbStore {
    async fn identity(&self) -> Result<Identity, StoreError> {
        self.read(|_, tx| {
            let meta = tx.open_table(META).map_err(broken)?;
            let json = meta.get("identity").map_err(broken)?;
            let gone = || StoreError::new(Kind::Corrupt, "the history has no identity");
            from_json("identity", json.ok_or_else(gone)?.value())
        })
        .await
    }

    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError> {
        let mut dead = None;
        loop {
            let id = workload.clone();
            let read = self.read(move |inner, tx| {
                let table = tx.open_table(WORKLOADS).map_err(broken)?;
                Ok(inner.now(row_of(&table, &id)?.state))
            });
            let state = read.await?;
            // Who has settled since the row was read holds nothing any more, and is not dead: a
            // death is believed when it is seen twice.
            match state
                .in_flight
                .as_ref()
                .filter(|f| f.liveness == Liveness::Dead)
            {
                Some(f) if dead != Some(f.epoch) => dead = Some(f.epoch),
                _ => return Ok(state),
            }
        }
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        let all = self.read(|inner, tx| {
            let table = tx.open_table(WORKLOADS).map_err(broken)?;
            let mut states = States::default();
            for entry in table.iter().map_err(broken)? {
                let (key, json) = entry.map_err(broken)?;
                let Ok(workload) = key.value().parse() else {
                    continue; // no key of ours
                };
                match from_json::<Row>(key.value(), json.value()) {
                    Ok(row) => states.states.push(inner.now(row.state)),
                    Err(error) => states.damaged.push(Damaged::new(workload, error)),
                }
            }
            // The keys' order is not that of ids: `@` comes after `-` and the digits.
            states.states.sort_by(|a, b| a.workload.cmp(&b.workload));
            states.damaged.sort_by(|a, b| a.workload.cmp(&b.workload));
            Ok(states)
        });
        let mut all = all.await?;
        for state in &mut all.states {
            let seen = state.in_flight.as_ref().map(|f| f.liveness);
            if seen == Some(Liveness::Dead) {
                *state = self.workload(&state.workload).await?;
            }
        }
        Ok(all)
    }

    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let id = id.clone();
        self.read(move |_, tx| {
            let ids = tx.open_table(IDS).map_err(broken)?;
            record_of(&ids, &tx.open_table(RECORDS).map_err(broken)?, &id)
        })
        .await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let (mut deployments, unreadable) = self.matching(query).await?;
        let limit = query.limit.clamp(1, 1_000);
        let more = deployments.len() > limit;
        deployments.truncate(limit);
        let last = deployments.last().filter(|_| more);
        let next = last.map(Deployment::sequence);
        Ok(Page::new(deployments, next, unreadable))
    }

    async fn stats(&self, query: &Query) -> Result<Stats, StoreError> {
        // Of a page counts know nothing.
        let mut query = query.clone();
        query.before = None;
        Ok(Stats::of(&self.matching(&query).await?.0))
    }

    async fn find_each(
        &self,
        beginnings: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        let (all, _) = self.matching(&Query::default()).await?;
        let find = |beginning: &&str| {
            let ids = all.iter().map(Deployment::id);
            let mut found: Vec<_> = ids.filter(|id| id.begins(beginning)).collect();
            found.sort_by_key(|id| id.as_str() != *beginning);
            found.into_iter().take(limit).cloned().collect()
        };
        Ok(beginnings.iter().map(find).collect())
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        let (_, mut faults) = self.matching(&Query::default()).await?;
        let damaged = self.workloads().await?.damaged;
        faults.extend(
            damaged
                .into_iter()
                .map(|d| Fault::new(d.workload.to_string(), d.error.to_string())),
        );
        Ok(faults)
    }
}

#[async_trait]
impl HistoryStore for RedbStore {
    async fn begin(
        &self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError> {
        let (new, holder) = (new.clone(), holder.clone());
        self.write(move |inner, tx| {
            let mut row = tx.row(&new.workload)?;
            inner.is_free(tx, &row)?;
            check_version(&new.workload, row.state.version, expected)?;
            let sequence = tx.open(&new)?;
            let lease = inner.hold(&mut row, &new.id, holder);
            row.state.version.0 += 1;
            row.cancel_requested_by = None;
            tx.put_row(&row)?;
            Ok(Begun::new(lease, sequence))
        })
        .await
    }

    async fn append(&self, lease: &Lease, events: &[TimedEvent]) -> Result<Renewal, StoreError> {
        let (lease, events) = (same(lease), events.to_vec());
        self.write(move |_, tx| {
            let row = tx.row(lease.workload())?;
            row.fence(lease.claim())?;
            let record = tx.record(lease.deployment())?;
            // None of them is, after a commit that was not heard of.
            let unwritten = lease.claim().unwritten(&record, &events)?;
            tx.apply(lease.deployment(), unwritten)?;
            Ok(Renewal::new(Trust::WhileHeld, row.cancel_requested_by))
        })
        .await
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
        let (own, wanted) = (same(lease), asked.clone());
        let opened = self.write(move |_, tx| {
            let _held = own;
            finish(tx, &wanted)
        });
        Ok(asked.done(lease, opened.await?))
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let lease = same(lease);
        self.read(move |_, tx| {
            let row = row_of(&tx.open_table(WORKLOADS).map_err(broken)?, lease.workload())?;
            row.fence(lease.claim())?;
            Ok(Renewal::new(Trust::WhileHeld, row.cancel_requested_by))
        })
        .await
    }

    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError> {
        let (workload, holder) = (workload.clone(), holder.clone());
        self.write(move |inner, tx| {
            let mut row = tx.row(&workload)?;
            let left = inner.left(tx, &row)?;
            let lease = inner.hold(&mut row, &left, holder);
            tx.put_row(&row)?;
            Ok(lease)
        })
        .await
    }

    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError> {
        let (id, by) = (id.clone(), by.clone());
        self.write(move |_, tx| {
            let mut row = tx.row(tx.record(&id)?.workload())?;
            if row.in_flight() != Some(&id) {
                return Err(StoreError::not_in_flight(&id));
            }
            row.cancel_requested_by.get_or_insert(by);
            tx.put_row(&row)
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
        self.write(move |_, tx| {
            let mut row = tx.row(&workload)?;
            check_version(&workload, row.state.version, expected)?;
            row.state.version.0 += 1;
            set(&mut row, |settings| settings.amend(&amendment));
            tx.put_row(&row)?;
            Ok(row.state.version)
        })
        .await
    }

    async fn abandon(
        &self,
        workload: &WorkloadId,
        abandonment: &Abandonment,
    ) -> Result<DeploymentId, StoreError> {
        let (workload, abandonment) = (workload.clone(), abandonment.clone());
        self.write(move |inner, tx| {
            let mut row = tx.row(&workload)?;
            let id = inner.left(tx, &row)?;
            // A record that cannot be read is left as it is.
            if let Ok(deployment) = tx.record(&id) {
                tx.apply(&id, &[abandonment.settled(&deployment)])?;
            }
            row.state.version.0 += 1;
            row.epoch.0 += 1;
            row.state.live = LiveRecord::Unknown;
            row.state.in_flight = None;
            set(&mut row, |settings| settings.abandoned(&id, &abandonment));
            tx.put_row(&row)?;
            Ok(id)
        })
        .await
    }

    async fn advance(&self, past: Sequence) -> Result<(), StoreError> {
        self.write(move |_, tx| tx.set_sequence(tx.sequence()?.max(past)))
            .await
    }

    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError> {
        let (id, what) = (id.clone(), what.clone());
        self.write(move |_, tx| {
            let deployment = tx.record(&id)?;
            tx.put_record(&deployment.annotated(&what)?)
        })
        .await
    }

    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.write(move |_, tx| {
            let mut forgotten = 0;
            for id in ids {
                let deployment = match tx.record(&id) {
                    Err(e) if e.kind() == Kind::NotFound => continue,
                    other => other?,
                };
                let row = tx.row(deployment.workload())?;
                let added = Some(deployment.annotations());
                may_be_forgotten(&id, added, &row.state.live, row.in_flight())?;
                let mut names = tx.0.open_table(IDS).map_err(broken)?;
                names.remove(id.as_str()).map_err(broken)?;
                let mut records = tx.0.open_table(RECORDS).map_err(broken)?;
                records.remove(deployment.sequence().0).map_err(broken)?;
                forgotten += 1;
            }
            Ok(forgotten)
        })
        .await
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        let workload = workload.clone();
        // A write, though nothing is written: so no deployment begins meanwhile.
        self.write(move |inner, tx| {
            inner.is_free(tx, &tx.row(&workload)?)?;
            let alive = Arc::new(Alive(Arc::clone(inner)));
            inner.here(&workload, |h| h.excluder = Arc::downgrade(&alive));
            Ok(Exclusion::new(workload, alive))
        })
        .await
    }

    async fn renew_exclusion(&self, _: &Exclusion) -> Result<Trust, StoreError> {
        Ok(Trust::WhileHeld)
    }

    async fn readmit(&self, exclusion: Exclusion) -> Result<(), StoreError> {
        drop(exclusion);
        Ok(())
    }
}

/// Settles, and gives the successor's place if one was opened.
fn finish(tx: &Write, finish: &Finish) -> Result<Option<Sequence>, StoreError> {
    let claim = finish.claim();
    let mut row = tx.row(claim.workload())?;
    let this = Some((claim.deployment().clone(), claim.epoch()));
    if row.finished == this {
        let own = tx.record(claim.deployment())?;
        let in_flight = row.in_flight().filter(|_| row.epoch == claim.epoch());
        if let Some(done) = finish.was_made(&own, in_flight, |id| tx.record(id).map(Some))? {
            return Ok(done);
        }
    }
    row.fence(claim)?;
    tx.apply(claim.deployment(), finish.events())?;
    if let Some((failed, event)) = finish.amends() {
        claim.reaches(failed, tx.record(failed)?.workload())?;
        tx.apply(failed, &[event])?;
    }
    let opened = finish.opens().map(|new| tx.open(new)).transpose()?;
    match (finish.opens(), &mut row.state.in_flight) {
        (Some(new), Some(in_flight)) => in_flight.deployment = new.id.clone(),
        (_, in_flight) => *in_flight = None,
    }
    row.cancel_requested_by = None;
    row.state.version.0 += 1;
    row.state.live = finish.live().clone();
    row.finished = this;
    tx.put_row(&row)?;
    Ok(opened)
}

/// Changes what people have set.
fn set(row: &mut Row, change: impl FnOnce(&mut Settings)) {
    let mut settings = row.state.settings();
    change(&mut settings);
    row.state = row.state.clone().with_settings(settings);
}

/// The same lease, to go with a write into another thread: what is at work there holds the workload.
fn same(lease: &Lease) -> Lease {
    lease.pass_on(lease.deployment().clone())
}

/// redb waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(StoreError::new(Kind::Io, "the store's thread ended").because(e)))
}
