//! Records that cannot be read stop nothing that does not need them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::{HookError, StoreError, StoreErrorKind};
use rollback_core::guard::Remediation;
use rollback_core::history::HistoryStore;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_testkit::fake::{FakeBackend, FakeTarget};
use rollback_testkit::intercept::{Intercept, InterceptedStore, Write};

use crate::support::{api, me};

/// Records that cannot be read, as one finds out who reads them, and why.
#[derive(Debug, Clone)]
struct Damage(StoreErrorKind, Arc<Mutex<BTreeSet<DeploymentId>>>);

impl Intercept for Damage {
    type Passed = ();

    fn before(&self, _: Write<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn reads(&self, id: &DeploymentId) -> Result<(), StoreError> {
        match self.1.lock().unwrap().contains(id) {
            true => Err(StoreError::new(self.0, "it cannot be read").on(id)),
            false => Ok(()),
        }
    }

    fn after(&self, _: Write<'_>, (): ()) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Does nothing, and says that it did.
#[derive(Debug)]
struct Idle;

#[async_trait]
impl Remediation for Idle {
    fn name(&self) -> String {
        "idle".into()
    }

    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        Ok("nothing".into())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

async fn deployed(engine: &RollbackEngine, reference: &str) -> Report {
    let run = engine.deploy(&api(), reference, me()).await.unwrap();
    run.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_damaged_record_left_a_sick_release_live() {
    goes_back_past(StoreErrorKind::Corrupt).await;
}

#[tokio::test(start_paused = true)]
async fn one_record_of_a_newer_version_left_a_sick_release_live() {
    goes_back_past(StoreErrorKind::NewerSchema).await;
}

async fn goes_back_past(kind: StoreErrorKind) {
    let (damage, target) = (Damage(kind, Arc::default()), FakeTarget::replacing());
    let store = InterceptedStore::new(Arc::new(MemoryStore::new()), damage.clone());
    let workload = Workload::new(FakeBackend::new(api(), target.clone()))
        .remediation(Idle)
        .auto_rollback();
    let engine = RollbackEngine::builder(store)
        .workload(workload)
        .build()
        .unwrap();
    assert!(deployed(&engine, "v1").await.succeeded());
    let second = deployed(&engine, "v2").await;
    // Its record says of a remediation, and where an automatic rollback would go first.
    let sick = deployed(&engine, "broken3").await;
    assert_eq!(sick.outcome(), Outcome::FailedAndRolledBack);
    let damaged = [second.deployment().id(), sick.deployment().id()];
    damage
        .1
        .lock()
        .unwrap()
        .extend(damaged.into_iter().cloned());
    let report = deployed(&engine, "broken4").await;
    assert_eq!(
        report.outcome(),
        Outcome::FailedAndRolledBack,
        "{}",
        report.summary()
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_gave_up_when_the_store_was_away_or_never_did() {
    let damage = Damage(StoreErrorKind::Io, Arc::default());
    let memory: Arc<dyn HistoryStore> = Arc::new(MemoryStore::new());
    let store = InterceptedStore::new(Arc::clone(&memory), damage.clone());
    let workload = || Workload::new(FakeBackend::new(api(), FakeTarget::replacing()));
    let long = Gate::default().timeout(Duration::from_secs(200));
    let slow = workload().check(Never).gate(long);
    let engine = RollbackEngine::builder(memory).workload(slow).build();
    let other = RollbackEngine::builder(store).workload(workload()).build();
    let (engine, other) = (engine.unwrap(), other.unwrap());
    let run = engine.deploy(&api(), "v1", me()).await.unwrap();
    let (first, second) = (
        other.attach(run.id(), me()).await.unwrap(),
        other.attach(run.id(), me()).await.unwrap(),
    );
    let away = |is_away: bool| {
        let mut away = damage.1.lock().unwrap();
        away.clear();
        away.extend(is_away.then(|| run.id().clone()));
    };
    // For a while, and it goes on.
    away(true);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!first.is_finished());
    away(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.cancel();
    assert_eq!(first.await.unwrap().outcome(), Outcome::Cancelled);
    assert_eq!(second.await.unwrap().outcome(), Outcome::Cancelled);
    // For good.
    let run = engine.deploy(&api(), "v2", me()).await.unwrap();
    let third = other.attach(run.id(), me()).await.unwrap();
    damage.1.lock().unwrap().insert(run.id().clone());
    let began = tokio::time::Instant::now();
    let gone = third.await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Store(StoreErrorKind::Io), "{gone}");
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(290) && took < Duration::from_secs(400),
        "{took:?}"
    );
    assert_eq!(
        run.await.unwrap().outcome(),
        Outcome::Failed,
        "its gate gave up"
    );
}

/// Says neither yes nor no.
#[derive(Debug)]
struct Never;

#[async_trait]
impl HealthCheck for Never {
    fn name(&self) -> String {
        "never".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        std::future::pending().await
    }
}

/// No room for what only tells.
#[derive(Debug)]
struct Full;

impl Intercept for Full {
    type Passed = ();

    fn before(&self, write: Write<'_>) -> Result<(), StoreError> {
        match write.what {
            "diagnosed" => Err(StoreError::new(StoreErrorKind::Full, "the disk is full")),
            _ => Ok(()),
        }
    }

    fn after(&self, _: Write<'_>, (): ()) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_diagnosis_that_had_no_room_left_a_sick_release_live() {
    let store = InterceptedStore::new(Arc::new(MemoryStore::new()), Full);
    let backend = FakeBackend::new(api(), FakeTarget::replacing());
    let engine = RollbackEngine::builder(store)
        .workload(Workload::new(backend).auto_rollback())
        .build()
        .unwrap();
    assert!(deployed(&engine, "v1").await.succeeded());
    let sick = deployed(&engine, "broken2").await;
    assert_eq!(sick.outcome(), Outcome::FailedAndRolledBack);
    let told = |e: &TimedEvent| e.event.name() == "diagnosed";
    assert!(!sick.deployment().events().iter().any(told));
}
