//! A history on a Postgres server, shared by hosts: its leases expire.
//!
//! On paper: the server sees no process die, so `begin`, `renew` and `take_over` each are one statement
//! that acts on exactly one epoch and puts the end of the lease at the server's `now() + span`. The
//! answer carries the span alone (`Trust::For`): no clock of a program is compared with the server's.
//! `exclude` is a lease of another kind, with an epoch of its own, renewed and readmitted by it.
//! `append` and `finish` carry the epoch in their `where`: a row count of 0 is `Fenced`.
//! Awkward: `Liveness` is read at one instant of the server's clock, so an `InFlight` that is `Alive` may
//! be dead when it arrives; `take_over` asks again. A `Holder` has a pid and a boot, which mean nothing
//! elsewhere: they are for people. Sequences of Postgres have gaps, and may be seen out of the order of
//! their commits: the sequence has to come from a row of the history that `begin` locks.

use std::time::Duration;

use async_trait::async_trait;
use rollback_core::deployment::{Annotation, Annotations, Trigger};
use rollback_core::history::{
    Abandonment, Amendment, Begun, Epoch, Exclusion, Fault, Finished, Holder, Identity, InFlight,
    Lease, Liveness, Page, Renewal, Sequence, States, Stats, Then, Trust, Version, WorkloadState,
};
use rollback_core::prelude::*;

use crate::{ada, workload};

/// Its rows. JSON columns hold what the embedded stores keep, and are read by the same rules.
const SCHEMA: &str = "
create table history (one boolean primary key default true check (one), history text not null,
  incarnation text not null, last_sequence bigint not null);
create table workload (id text primary key, version bigint not null, live jsonb not null,
  settings jsonb not null, epoch bigint not null, deployment text, holder jsonb,
  cancel_by jsonb, held_until timestamptz, excluded_epoch bigint, excluded_until timestamptz);
create table deployment (id text primary key, workload text not null references workload,
  sequence bigint not null unique, opened jsonb not null, key text, annotations jsonb not null,
  summary jsonb, unique (workload, key));
create table event (deployment text not null references deployment, number int not null,
  event jsonb not null, primary key (deployment, number));
";

/// Confirms exactly this epoch, and no other.
const RENEW: &str = "update workload set held_until = now() + $3 \
    where id = $1 and epoch = $2 returning cancel_by";

/// Takes what is over, by the server's clock, and ends the epoch of whoever had it.
const TAKE_OVER: &str = "update workload set epoch = epoch + 1, holder = $2, held_until = now() + $3 \
    where id = $1 and deployment is not null and held_until < now() returning deployment, epoch";

/// What of a workload's row says who may write.
#[derive(Debug, Clone)]
struct LeaseRow {
    workload: WorkloadId,
    deployment: DeploymentId,
    epoch: i64,
    holder: Holder,
    /// `held_until < now()`.
    is_over: bool,
}

impl LeaseRow {
    fn epoch(&self) -> Epoch {
        Epoch(self.epoch.unsigned_abs())
    }

    /// Nothing has to be kept for it to live, so that there is no guard.
    fn lease(&self, span: Duration) -> Lease {
        Lease::new(
            self.workload.clone(),
            self.deployment.clone(),
            self.epoch(),
            (),
        )
        .trusted_for(span)
    }

    fn in_flight(&self) -> InFlight {
        InFlight::new(
            self.deployment.clone(),
            self.holder.clone(),
            match self.is_over {
                true => Liveness::Dead,
                false => Liveness::Alive,
            },
            self.epoch(),
        )
    }
}

/// What a record's rows hold.
#[derive(Debug, Clone)]
struct RecordRows {
    opened: Opening,
    sequence: i64,
    events: Vec<TimedEvent>,
    annotations: Annotations,
}

impl RecordRows {
    fn record(self) -> Result<Deployment, StoreError> {
        let sequence = Sequence(self.sequence.unsigned_abs());
        Deployment::replay(self.opened, sequence, self.events, self.annotations).map_err(|e| {
            StoreError::new(
                StoreErrorKind::Corrupt,
                "the record's events cannot have happened",
            )
            .because(e)
        })
    }
}

/// A store without a server.
#[derive(Debug, Clone)]
struct Postgres {
    span: Duration,
}

fn sketched<T>(statement: &str) -> Result<T, StoreError> {
    Err(StoreError::new(StoreErrorKind::Unusable, "this is a sketch").on(statement))
}

#[async_trait]
impl HistoryReader for Postgres {
    async fn identity(&self) -> Result<Identity, StoreError> {
        sketched("select history, incarnation from history")
    }

    async fn workload(&self, _: &WorkloadId) -> Result<WorkloadState, StoreError> {
        sketched("select *, held_until < now() as is_over from workload where id = $1")
    }

    async fn workloads(&self) -> Result<States, StoreError> {
        sketched("select *, held_until < now() as is_over from workload order by id")
    }

    async fn get(&self, _: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        sketched("a deployment's row and its events, of one snapshot")
    }

    async fn list(&self, _: &Query) -> Result<Page, StoreError> {
        sketched("deployments by the query, order by sequence desc limit $n")
    }

    async fn stats(&self, _: &Query) -> Result<Stats, StoreError> {
        sketched("the same rows, counted as Stats::of does")
    }

    async fn find_each(&self, _: &[&str], _: usize) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        sketched("select id from deployment where id like any ($1)")
    }

    async fn verify(&self) -> Result<Vec<Fault>, StoreError> {
        sketched("every row, read")
    }
}

#[async_trait]
impl HistoryStore for Postgres {
    async fn begin(&self, _: &Opening, _: &Holder, _: Version) -> Result<Begun, StoreError> {
        sketched("update workload … where version = $1 and deployment is null; insert")
    }

    async fn append(&self, _: &Lease, _: &[TimedEvent]) -> Result<Renewal, StoreError> {
        sketched("insert into event … where the workload's epoch = $1")
    }

    async fn finish(
        &self,
        _: &Lease,
        _: &[TimedEvent],
        _: &Settlement,
        _: Timestamp,
        _: &Then,
    ) -> Result<Finished, StoreError> {
        sketched("one transaction, on the workload's row of this epoch")
    }

    async fn renew(&self, _: &Lease) -> Result<Renewal, StoreError> {
        sketched(RENEW)
    }

    async fn take_over(&self, _: &WorkloadId, _: &Holder) -> Result<Lease, StoreError> {
        sketched(TAKE_OVER)
    }

    async fn request_cancel(&self, _: &DeploymentId, _: &Actor) -> Result<(), StoreError> {
        sketched("update workload set cancel_by = $2 where deployment = $1")
    }

    async fn amend(
        &self,
        _: &WorkloadId,
        _: Version,
        _: &Amendment,
    ) -> Result<Version, StoreError> {
        sketched("update workload set settings = $3 … where version = $2")
    }

    async fn abandon(&self, _: &WorkloadId, _: &Abandonment) -> Result<DeploymentId, StoreError> {
        sketched("one transaction, where held_until < now()")
    }

    async fn advance(&self, _: Sequence) -> Result<(), StoreError> {
        sketched("update history set last_sequence = greatest(last_sequence, $1)")
    }

    async fn annotate(&self, _: &DeploymentId, _: &Annotation) -> Result<(), StoreError> {
        sketched("select … for update, then update deployment set annotations = $2")
    }

    async fn forget(&self, _: &[DeploymentId]) -> Result<u64, StoreError> {
        sketched("delete from deployment where id = any ($1)")
    }

    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError> {
        // As if the row had answered: `excluded_epoch + 1`.
        Ok(Exclusion::leased(workload.clone(), Epoch(1), self.span))
    }

    async fn renew_exclusion(&self, exclusion: &Exclusion) -> Result<Trust, StoreError> {
        match exclusion.epoch() {
            Some(_) => Ok(Trust::For(self.span)),
            None => Err(StoreError::new(
                StoreErrorKind::Fenced,
                "the exclusion is not of this store",
            )),
        }
    }

    async fn readmit(&self, _: Exclusion) -> Result<(), StoreError> {
        sketched("update workload set excluded_until = null where excluded_epoch = $2")
    }
}

const SPAN: Duration = Duration::from_secs(15);

fn id() -> DeploymentId {
    "deploy-20260315-143022-a3f2b901".parse().unwrap()
}

#[tokio::test]
async fn an_engine_runs_on_a_history_whose_leases_expire() {
    let engine = RollbackEngine::builder(Postgres { span: SPAN })
        .build()
        .unwrap();
    let e = engine.list(&Query::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Store(StoreErrorKind::Unusable), "{e}");
}

#[tokio::test]
async fn what_a_row_grants_is_held_for_a_span_and_by_its_epoch() {
    let mut row = LeaseRow {
        workload: workload("api@web-1"),
        deployment: id(),
        epoch: 3,
        holder: Holder::this_process(Timestamp::UNIX_EPOCH),
        is_over: false,
    };
    let lease = row.lease(SPAN);
    assert_eq!((lease.trust(), lease.epoch()), (Trust::For(SPAN), Epoch(3)));
    assert_eq!(lease.pass_on(id()).trust(), Trust::For(SPAN));
    assert_eq!(row.in_flight().liveness, Liveness::Alive);
    row.is_over = true;
    assert_eq!(row.in_flight().liveness, Liveness::Dead);

    let store = Postgres { span: SPAN };
    let exclusion = store.exclude(&row.workload).await.unwrap();
    assert_eq!(exclusion.trust(), Trust::For(SPAN));
    let trust = store.renew_exclusion(&exclusion).await.unwrap();
    assert_eq!(Renewal::new(trust, Some(ada())).trust, Trust::For(SPAN));
    let held = Exclusion::new(row.workload, ());
    let e = store.renew_exclusion(&held).await.unwrap_err();
    assert_eq!(e.kind(), StoreErrorKind::Fenced);
}

#[test]
fn a_record_is_folded_of_its_rows() {
    let at = Timestamp::UNIX_EPOCH;
    let opened = Opening::new(id(), workload("api@web-1"), Trigger::Deploy, ada(), at);
    let event = |event| TimedEvent::new(at, event);
    let rows = RecordRows {
        opened,
        sequence: 7,
        events: vec![event(Event::PrepareIntended)],
        annotations: Annotations::default(),
    };
    let mut torn = rows.clone();
    torn.events = vec![event(Event::Retired), event(Event::PrepareIntended)];
    let record = rows.record().unwrap();
    assert_eq!(record.sequence(), Sequence(7));
    let e = torn.record().unwrap_err();
    assert_eq!(e.kind(), StoreErrorKind::Corrupt);
    // What each statement needs, the schema has.
    for column in ["held_until", "epoch", "cancel_by", "holder", "deployment"] {
        assert!(SCHEMA.contains(column));
        assert!(RENEW.contains(column) || TAKE_OVER.contains(column));
    }
}
