//! The engine around a backend that does nothing: what planning, recording and gating cost.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::deployment::Deployment;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::{HistoryStore, Sequence};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_sqlite::SqliteStore;

use crate::figure::{Figure, Unit, clocked, compare, timed, warm_up};
use crate::raw::{DeploymentRow, EventRow, Raw, transactions};

/// Does nothing, at once; remembers what it has switched to, if it is to.
#[derive(Debug)]
pub(crate) struct Noop {
    workload: WorkloadId,
    live: Option<Mutex<Instance>>,
}

impl Noop {
    /// Nothing is ever live.
    fn forgetful(workload: WorkloadId) -> Self {
        let live = None;
        Self { workload, live }
    }

    /// This is live.
    pub(crate) fn running(workload: WorkloadId, live: Instance) -> Self {
        let live = Some(Mutex::new(live));
        Self { workload, live }
    }
}

/// What a reference means.
pub(crate) fn release(reference: &str) -> Release {
    let kind = "noop".parse().unwrap();
    Release::new(kind, Artifact::new(reference, reference))
}

pub(crate) fn actor() -> Actor {
    Actor::user("bench").unwrap()
}

#[async_trait]
impl Backend for Noop {
    fn kind(&self) -> BackendKind {
        "noop".parse().unwrap()
    }

    fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    fn place(&self) -> Place {
        Place::new("noop", self.workload.to_string())
    }

    fn rollout(&self) -> Rollout {
        Rollout::Replace
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, reference: &str) -> Result<Release, BackendError> {
        Ok(release(reference))
    }

    async fn observe(&self, _: &Context) -> Result<Observation, BackendError> {
        let live = self.live.as_ref().map_or(Live::Nothing, |live| {
            let instance = live.lock().unwrap().clone();
            Live::One(Sighting::new(instance, Running::NotApplicable))
        });
        Ok(Observation::new(live, None))
    }

    async fn availability(&self, _: &Context, _: &End) -> Result<Availability, BackendError> {
        Ok(Availability::Local)
    }

    async fn prepare(&self, _: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let Some(release) = op.to.release().cloned() else {
            panic!("prepare goes somewhere")
        };
        let to = Instance::new(release, Handle::new("noop"));
        Ok(Prepared::new(Rollout::Replace, to))
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    async fn switch(&self, _: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        if let (Some(live), Some(to)) = (&self.live, op.to.instance()) {
            *live.lock().unwrap() = to.clone();
        }
        Ok(Evidence::default())
    }

    async fn retire(&self, _: &Context, _: &Operation) -> Result<(), BackendError> {
        Ok(())
    }

    async fn health(&self, _: &Context, _: &Instance) -> Result<View, BackendError> {
        Ok(View::Healthy)
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }

    async fn retain(&self, _: &Context, _: &[Instance]) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A workload a round: the history that is read for a plan stays as long as it was.
fn engine(store: impl HistoryStore + 'static, rounds: usize) -> RollbackEngine {
    let mut builder = RollbackEngine::builder(store);
    for n in 0..rounds {
        builder = builder.workload(Workload::new(Noop::forgetful(workload(n))));
    }
    builder.build().unwrap()
}

fn workload(n: usize) -> WorkloadId {
    format!("w{n}@bench").parse().unwrap()
}

async fn deploy(engine: &RollbackEngine, n: usize) -> Deployment {
    let report = engine
        .deploy(&workload(n), "v1", actor())
        .await
        .unwrap()
        .await
        .unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    report.deployment().clone()
}

/// The verbs that the engine calls for a deployment, in its order, called directly.
async fn verbs(backend: &dyn Backend) {
    let cx = Context::new(Duration::from_secs(10));
    let release = backend.resolve(&cx, "v1").await.unwrap();
    let planned = End::Planned(release);
    backend.observe(&cx).await.unwrap();
    backend.availability(&cx, &planned).await.unwrap();
    let deployment = DeploymentId::generate(SystemClock.now());
    let op = Operation::new(workload(0), deployment, Sequence(1), End::Nothing, planned);
    let to = backend.prepare(&cx, &op).await.unwrap().to;
    let op = op.to(End::Placed(to.clone()));
    backend.switch(&cx, &op).await.unwrap();
    backend.health(&cx, &to).await.unwrap();
    backend.retire(&cx, &op).await.unwrap();
    backend.retain(&cx, &[to]).await.unwrap();
}

pub(crate) async fn engine_overhead_in_memory() -> Figure {
    let rounds = 500;
    let engine = engine(MemoryStore::new(), rounds + warm_up(rounds));
    let engine = &engine;
    compare(
        "engine: a whole deploy in memory, against its verbs alone",
        Unit::Micros,
        rounds,
        |n| async move { timed(Box::pin(deploy(engine, n))).await.0 },
        |_| async { timed(verbs(&Noop::forgetful(workload(0)))).await.0 },
    )
    .await
}

/// Whether a workload has its lock file, which is made once for each and never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locks {
    /// It is made within what is measured; the raw side has nothing like it.
    Made,
    Stand,
}

pub(crate) async fn engine_overhead_on_sqlite(dir: &Path, locks: Locks) -> Figure {
    let rounds = 300;
    let all = rounds + warm_up(rounds);
    let (file, which) = match locks {
        Locks::Made => ("engine", "the first of a workload"),
        Locks::Stand => ("engine-again", "of one that was locked before"),
    };
    let store = SqliteStore::open(dir.join(format!("{file}.db")))
        .await
        .unwrap();
    if locks == Locks::Stand {
        for n in 0..all {
            let exclusion = store.exclude(&workload(n)).await.unwrap();
            store.readmit(exclusion).await.unwrap();
        }
    }
    let engine = engine(store, all + 1);
    // The rows are those that the engine itself writes.
    let sample = deploy(&engine, all).await;
    let events: Vec<EventRow> = sample.events().iter().map(EventRow::from).collect();
    let row = DeploymentRow::from(sample.opening());
    let steps = transactions(&events);
    let (durable, transactions) = (events.len(), steps.len() + 1);
    let raw = Mutex::new(Raw::open(&dir.join(format!("{file}-raw.db"))).await);
    let (engine, raw, steps, row) = (&engine, &raw, &steps, &row);
    compare(
        format!(
            "engine: on SQLite ({durable} events), {which}, against {transactions} raw transactions"
        ),
        Unit::Micros,
        rounds,
        |n| async move { timed(Box::pin(deploy(engine, n))).await.0 },
        |n| async move {
            let row = row.renamed(&DeploymentId::generate(SystemClock.now()), n);
            let raw = &mut *raw.lock().unwrap();
            clocked(|| raw.deploy(&row, steps))
        },
    )
    .await
}
