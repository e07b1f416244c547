//! One target, one store and an engine on both, for tests of what an engine's users see.
#![allow(dead_code)]

mod hooks;
mod registry;

use std::sync::Arc;
use std::time::Duration;

use rollback_core::engine::{EngineBuilder, Report, RollbackEngine, Row, Workload};
use rollback_core::history::{HistoryReader, HistoryStore, WorkloadState};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_sqlite::SqliteStore;
use rollback_testkit::fake::FakeTarget;
use rollback_testkit::faults::{FaultyBackend, FaultyStore, ManualClock, Trap, VerbTrap};

#[allow(unused_imports)]
pub(crate) use hooks::{Door, Log, Logged, Task};
pub(crate) use registry::{Registry, Tagged};

/// The store that a test runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Store {
    Memory,
    Sqlite,
}

/// Runs a test on every store, and says on which one it failed.
pub(crate) async fn on_every_store(test: impl AsyncFn(Setup)) {
    for store in [Store::Memory, Store::Sqlite] {
        let named = Named(store);
        Box::pin(test(Setup::on(store).await)).await;
        drop(named);
    }
}

struct Named(Store);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on the store {:?}", self.0);
        }
    }
}

pub(crate) fn api() -> WorkloadId {
    id("api@fake")
}

pub(crate) fn id(text: &str) -> WorkloadId {
    text.parse().unwrap()
}

pub(crate) fn me() -> Actor {
    Actor::user("ada").unwrap()
}

pub(crate) fn text(text: &str) -> rollback_core::id::ShortText {
    text.parse().unwrap()
}

/// What outlives an engine: the store and the target.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) store: Arc<dyn HistoryStore>,
    pub(crate) target: FakeTarget,
    pub(crate) registry: Registry,
    pub(crate) trap: Trap,
    pub(crate) verbs: VerbTrap,
    pub(crate) clock: Option<ManualClock>,
    _dir: Option<Arc<tempfile::TempDir>>,
}

impl Setup {
    pub(crate) async fn on(store: Store) -> Self {
        let (store, dir): (Arc<dyn HistoryStore>, _) = match store {
            Store::Memory => (Arc::new(MemoryStore::new()), None),
            Store::Sqlite => {
                let dir = tempfile::tempdir().unwrap();
                let store = SqliteStore::open(dir.path().join("history.db")).await;
                (Arc::new(store.unwrap()), Some(Arc::new(dir)))
            }
        };
        Self {
            store,
            target: FakeTarget::replacing(),
            registry: Registry::default(),
            trap: Trap::default(),
            verbs: VerbTrap::default(),
            clock: None,
            _dir: dir,
        }
    }

    /// In memory, for tests that no store can make a difference to.
    pub(crate) async fn new() -> Self {
        Self::on(Store::Memory).await
    }

    /// Both releases run for a while.
    pub(crate) fn beside(mut self) -> Self {
        self.target = FakeTarget::beside();
        self
    }

    /// The platform rolls releases out by itself.
    pub(crate) fn managed(mut self) -> Self {
        self.target = FakeTarget::managed();
        self
    }

    /// The time is what the test says.
    pub(crate) fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// An engine, as a new process would make one.
    pub(crate) fn engine(&self) -> Bench {
        self.with(|workload| workload)
    }

    /// An engine that rolls back by itself.
    pub(crate) fn armed(&self) -> Bench {
        self.with(Workload::auto_rollback)
    }

    /// An engine with a workload of the test's.
    pub(crate) fn with(&self, adjust: impl FnOnce(Workload) -> Workload) -> Bench {
        self.built(|builder| builder.workload(adjust(self.workload(api()))))
    }

    /// This target's workload, quick to judge.
    pub(crate) fn workload(&self, id: WorkloadId) -> Workload {
        let backend = Tagged::new(id, self.target.clone(), self.registry.clone());
        let backend = FaultyBackend::new(Arc::new(backend), self.verbs.clone());
        Workload::new(backend).gate(
            Gate::default()
                .retries(1)
                .interval(Duration::from_millis(1))
                .start_period(Duration::ZERO),
        )
    }

    /// An engine that the test composes.
    pub(crate) fn built(&self, compose: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Bench {
        let store = FaultyStore::new(Arc::clone(&self.store), self.trap.clone());
        let mut builder = RollbackEngine::builder(store);
        if let Some(clock) = &self.clock {
            builder = builder.clock(clock.clone());
        }
        Bench {
            engine: compose(builder).build().unwrap(),
            setup: self.clone(),
        }
    }
}

/// An engine on a setup.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) engine: RollbackEngine,
    pub(crate) setup: Setup,
}

impl Bench {
    pub(crate) async fn run(&self, request: Request) -> Result<Report, Error> {
        self.engine.run(request).await?.await
    }

    pub(crate) async fn deploy(&self, reference: &str) -> Report {
        self.run(Request::deploy(api(), reference, me()))
            .await
            .unwrap()
    }

    pub(crate) async fn back(&self, goal: Goal) -> Result<Report, Error> {
        self.run(Request::rollback(api(), goal, me())).await
    }

    pub(crate) async fn plan_back(&self, goal: Goal) -> Result<Plan, Error> {
        self.engine
            .preview(&Request::rollback(api(), goal, me()))
            .await
    }

    /// What serves.
    pub(crate) fn live(&self) -> String {
        let serving = self.setup.target.serving();
        serving.unwrap_or_else(|| "nothing".to_owned())
    }

    pub(crate) async fn state(&self) -> WorkloadState {
        self.setup.store.workload(&api()).await.unwrap()
    }

    /// The whole history, newest first.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let query = Query::workload(&api()).limit(1_000);
        self.engine.history(&query).await.unwrap().rows
    }

    /// At rest: nothing is in flight, what is on record is what is live, one runs, and the engine
    /// has kept every promise that it gave the backend.
    pub(crate) async fn at_rest(&self) {
        let state = self.state().await;
        assert!(state.in_flight.is_none(), "{:?}", state.in_flight);
        let handle = match &state.live {
            LiveRecord::Known(id) => {
                let live = self.engine.get(id).await.unwrap();
                Some(live.instance().unwrap().handle.clone())
            }
            LiveRecord::Nothing => None,
            LiveRecord::Unknown => panic!("nobody has touched the target by hand"),
        };
        let target = &self.setup.target;
        assert_eq!(target.live(), handle, "the record and the target agree");
        assert_eq!(target.running(), usize::from(handle.is_some()), "one runs");
        assert_eq!(target.violations(), Vec::<String>::new());
    }
}

pub(crate) fn to(report: &Report) -> Goal {
    Goal::To(report.deployment().id().clone())
}

pub(crate) fn digest(d: &Deployment) -> String {
    d.release().unwrap().artifact().digest.clone()
}
