//! A lease lives as long as its effects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::HistoryReader;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;

use crate::support::{Shelf, me};

/// A shelf whose switch blocks a thread, as file work does, and goes on when nobody waits for it.
#[derive(Debug, Clone, Default)]
struct Blocking {
    shelf: Shelf,
    told: Arc<AtomicUsize>,
}

#[async_trait]
impl Backend for Blocking {
    fn kind(&self) -> BackendKind {
        self.shelf.kind()
    }

    fn workload(&self) -> &WorkloadId {
        self.shelf.workload()
    }

    fn place(&self) -> Place {
        self.shelf.place()
    }

    fn rollout(&self) -> Rollout {
        self.shelf.rollout()
    }
    fn default_restore(&self) -> Restore {
        self.shelf.default_restore()
    }
    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        self.shelf.resolve(cx, reference).await
    }
    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        self.shelf.observe(cx).await
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        self.shelf.availability(cx, candidate).await
    }
    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        self.shelf.prepare(cx, op).await
    }
    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        self.shelf.start(cx, op).await
    }
    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        if self.told.load(Ordering::SeqCst) > 0 {
            return self.shelf.switch(cx, op).await;
        }
        let (own, told) = (cx.clone(), Arc::clone(&self.told));
        tokio::task::spawn_blocking(move || {
            while own.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(300));
            told.fetch_add(1, Ordering::SeqCst);
        })
        .await
        .unwrap();
        cx.check()?;
        Ok(Evidence::default())
    }
    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        self.shelf.retire(cx, op).await
    }
    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        self.shelf.health(cx, instance).await
    }
    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        self.shelf.retain(cx, window).await
    }
    async fn configured(
        &self,
        cx: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        self.shelf.configured(cx, live).await
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn a_lease_was_free_while_a_step_of_a_dropped_runtime_went_on() {
    let (blocking, store) = (Blocking::default(), MemoryStore::new());
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let engine = RollbackEngine::builder(store.clone())
        .workload(Workload::new(blocking.clone()))
        .build()
        .unwrap();
    let first = runtime();
    first.block_on(async {
        let _run = engine.deploy(&api, "v1", me()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    first.shutdown_background();
    runtime().block_on(async {
        let liveness = async || {
            let in_flight = store.workload(&api).await.unwrap().in_flight;
            in_flight.unwrap().liveness
        };
        assert_eq!(liveness().await, rollback_core::history::Liveness::Alive);
        assert!(engine.recover().await.unwrap().is_empty());
        // It is told to stop, and the lease ends with it.
        while blocking.told.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while liveness().await == rollback_core::history::Liveness::Alive {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let recovered = engine.recover().await.unwrap();
        assert!(recovered[0].result.is_ok());
        assert!(store.workload(&api).await.unwrap().in_flight.is_none());
    });
}
