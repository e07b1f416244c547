//! What is asked of a workload as its history grows: a preview and a whole deploy at many records,
//! against the same at few.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollback_core::deployment::{LiveRecord, Opening, Outcome};
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::HistoryStore;
use rollback_core::prelude::*;
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::settlement;

use crate::figure::{Figure, Unit, compare, timed};
use crate::noop::{Noop, actor, release};
use crate::reads::{self, Subject};
use crate::seed::{self, Record, Timeline};

const FEW: usize = 100;
const MANY: usize = 10_000;
/// Retention keeps them all.
const SPAN: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// The stores that are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Sqlite,
    Json,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Json => "json",
        }
    }

    async fn open(self, at: &Path) -> Arc<dyn HistoryStore> {
        match self {
            Self::Sqlite => Arc::new(SqliteStore::open(at.join("history.db")).await.unwrap()),
            Self::Json => Arc::new(JsonStore::open(at.join("history")).await.unwrap()),
        }
    }
}

fn api() -> WorkloadId {
    "api@bench".parse().unwrap()
}

/// One workload's successful deployments, oldest first, each in place of the one before: of two
/// releases in turns.
fn records(count: usize) -> impl Iterator<Item = Record> {
    let (begin, step) = (seed::ago(SPAN), SPAN / u32::try_from(count).unwrap());
    let mut before: Option<(DeploymentId, Instance)> = None;
    (0..count).map(move |n| {
        let opened_at = begin.plus(step * u32::try_from(n).unwrap());
        let id = DeploymentId::generate(opened_at);
        let mut new = Opening::new(id, api(), Trigger::Deploy, actor(), opened_at);
        let to = release(["v1", "v2"][n % 2]);
        new.to = End::Planned(to.clone());
        if let Some((id, instance)) = &before {
            new.replaces = LiveRecord::Known(id.clone());
            new.fallback = LiveRecord::Known(id.clone());
            new.from = End::Placed(instance.clone());
        }
        before = Some((new.id.clone(), Instance::new(to, Handle::new("place"))));
        Record {
            settled_at: opened_at.plus(Duration::from_secs(20)),
            settlement: settlement(&new.id, Outcome::Succeeded),
            events: seed::events(&new, Timeline::Whole),
            new,
        }
    })
}

/// An engine on a copy of such a history, made in memory, where nothing waits for a disk.
async fn engine(kind: Kind, dir: &Path, count: usize) -> RollbackEngine {
    let memory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in("/dev/shm")
        .unwrap();
    seed::through(&*kind.open(memory.path()).await, records(count)).await;
    let own = dir.join(format!("growth-{}-{count}", kind.name()));
    copy(memory.path(), &own);
    let live = Instance::new(release("v2"), Handle::new("place"));
    RollbackEngine::builder(kind.open(&own).await)
        .workload(Workload::new(Noop::running(api(), live)))
        .build()
        .unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A preview of a rollback, a deploy of what is live, and one of what was live before.
pub(crate) async fn figures(kind: Kind, dir: &Path) -> Vec<Figure> {
    let many = &engine(kind, dir, MANY).await;
    let few = &engine(kind, dir, FEW).await;
    let name = |what| {
        let store = kind.name();
        format!("{store}: {what} at {MANY} records of one workload, against {FEW}")
    };
    let preview = compare(
        name("preview of a rollback"),
        Unit::Micros,
        100,
        |_| preview(many),
        |_| preview(few),
    );
    let same = compare(
        name("a deploy of what is live"),
        Unit::Millis,
        60,
        |_| deploy(many, "v2"),
        |_| deploy(few, "v2"),
    );
    let other = compare(
        name("a deploy of a new release"),
        Unit::Millis,
        30,
        |n| deploy(many, format!("new{n}").leak()),
        |n| deploy(few, format!("new{n}").leak()),
    );
    vec![
        preview.await.at_most("1.2"),
        same.await.at_most("1.2"),
        other.await,
    ]
}

/// The newest page of both stores with the same records of sixty workloads.
pub(crate) async fn newest() -> Figure {
    let memory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let subject = async |kind: Kind| {
        let store = kind.open(memory.path()).await;
        seed::through(&*store, seed::records(2_000, Timeline::Whole)).await;
        let name = kind.name();
        Subject { name, store }
    };
    let (json, sqlite) = (subject(Kind::Json).await, subject(Kind::Sqlite).await);
    let figure = reads::newest_against(&json, &sqlite, "2,000").await;
    figure.at_most("3")
}

async fn preview(engine: &RollbackEngine) -> Duration {
    let request = Request::rollback(api(), Goal::LastHealthy, actor());
    let (time, plan) = timed(Box::pin(engine.preview(&request))).await;
    plan.unwrap();
    time
}

async fn deploy(engine: &RollbackEngine, reference: &str) -> Duration {
    let whole = async {
        let run = engine.deploy(&api(), reference, actor()).await.unwrap();
        run.await.unwrap()
    };
    let (time, report) = timed(Box::pin(whole)).await;
    assert!(report.succeeded(), "{}", report.summary());
    time
}
