//! The engine around a backend that does nothing: what planning, recording and gating cost.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::HistoryStore;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_sqlite::SqliteStore;

use crate::figure::{Figure, compare};
use crate::sqlite::{commit, raw};

/// Does nothing, at once.
#[derive(Debug, Clone)]
struct Noop;

#[async_trait]
impl Backend for Noop {
    fn kind(&self) -> BackendKind {
        "noop".parse().unwrap()
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, reference: &str) -> Result<Release, BackendError> {
        Ok(Release::new(
            self.kind(),
            Artifact::new(reference, reference),
        ))
    }

    async fn observe(&self, _: &Context, ends: &[End]) -> Result<Observation, BackendError> {
        let availability = ends.iter().map(|_| Availability::Local).collect();
        Ok(Observation {
            live: Live::Nothing,
            standbys: Vec::new(),
            availability,
        })
    }

    async fn prepare(&self, _: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let Some(release) = op.to.release().cloned() else {
            panic!("prepare goes somewhere")
        };
        let to = Instance {
            release,
            handle: Handle::new("noop"),
        };
        Ok(Prepared {
            rollout: Rollout::Replace,
            to,
            way_back: WayBack::Exact,
        })
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        Ok(Evidence::default())
    }

    async fn switch(&self, _: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        Ok(Evidence::default())
    }

    async fn retire(&self, _: &Context, _: &Operation) -> Result<(), BackendError> {
        Ok(())
    }

    async fn health(&self, _: &Context, _: &Operation) -> Result<Verdict, BackendError> {
        Ok(Verdict::Passed)
    }

    async fn retain(&self, _: &Context, _: &[Instance]) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A workload a round: the history that is read for a plan stays as long as it was.
fn engine(store: impl HistoryStore + 'static, rounds: usize) -> RollbackEngine {
    let mut builder = RollbackEngine::builder(store);
    for n in 0..rounds {
        builder = builder.workload(Workload::new(workload(n), Noop));
    }
    builder.build().unwrap()
}

fn workload(n: usize) -> WorkloadId {
    format!("w{n}@bench").parse().unwrap()
}

async fn deploy(engine: &RollbackEngine, n: usize) -> usize {
    let actor = Actor::user("bench").unwrap();
    let report = engine
        .deploy(&workload(n), "v1", actor)
        .await
        .unwrap()
        .await
        .unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    report.deployment().events().len()
}

/// The five verbs of a deployment, called directly.
async fn verbs(op: &Operation) {
    let cx = Context::new(std::time::Duration::from_secs(10));
    let prepared = Noop.prepare(&cx, op).await.unwrap();
    let op = Operation {
        to: End::Placed(prepared.to),
        ..op.clone()
    };
    Noop.observe(&cx, &[]).await.unwrap();
    Noop.switch(&cx, &op).await.unwrap();
    Noop.health(&cx, &op).await.unwrap();
    Noop.retire(&cx, &op).await.unwrap();
}

pub(crate) async fn engine_overhead_in_memory() -> Figure {
    let engine = engine(MemoryStore::new(), 1_000);
    let op = Operation {
        deployment: DeploymentId::generate(SystemClock.now()),
        sequence: rollback_core::history::Sequence(1),
        workload: workload(0),
        from: End::Nothing,
        to: End::Planned(
            Noop.resolve(&Context::new(std::time::Duration::MAX), "v1")
                .await
                .unwrap(),
        ),
    };
    let (engine, op) = (&engine, &op);
    compare(
        "engine: a deploy that does nothing, in memory, against the verbs",
        500,
        |n| async move {
            deploy(engine, n).await;
        },
        |_| verbs(op),
    )
    .await
}

pub(crate) async fn engine_overhead_on_sqlite(dir: &Path) -> Figure {
    let engine = engine(SqliteStore::open(dir.join("engine.db")).await.unwrap(), 400);
    // Opening is a durable write too.
    let writes = deploy(&engine, 399).await + 1;
    let raw = Mutex::new(raw(&dir.join("engine-raw.db")));
    let (engine, raw) = (&engine, &raw);
    compare(
        &format!("engine: the same on SQLite, against {writes} raw transactions"),
        200,
        |n| async move {
            deploy(engine, n).await;
        },
        |n| async move {
            for i in 0..writes {
                commit(
                    &mut raw.lock().unwrap(),
                    n * writes + i,
                    "{\"event\":\"of usual length\"}",
                );
            }
        },
    )
    .await
}
