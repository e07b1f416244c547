//! Records that cannot be read stop nothing that does not need them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::{HookError, StoreError, StoreErrorKind};
use rollback_core::guard::Remediation;
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
