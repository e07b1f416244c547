//! In how many atomic steps a deployment is recorded: each costs a disk or a server a moment.

use std::sync::{Arc, Mutex};

use rollback_core::engine::RollbackEngine;
use rollback_core::error::StoreError;
use rollback_testkit::intercept::{Intercept, InterceptedStore, Write};

use crate::support::{Setup, api, me};

/// What each step wrote.
#[derive(Debug, Clone, Default)]
struct Steps(Arc<Mutex<Vec<String>>>);

impl Intercept for Steps {
    type Passed = ();

    fn before(&self, _: Write<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn made(&self, what: &[&str]) {
        self.0.lock().unwrap().push(what.join(" "));
    }

    fn after(&self, _: Write<'_>, (): ()) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn steps(setup: &Setup, reference: &str) -> Vec<String> {
    let steps = Steps::default();
    let store = InterceptedStore::new(Arc::clone(&setup.store), steps.clone());
    let engine = RollbackEngine::builder(store)
        .workload(setup.workload(api()))
        .build()
        .unwrap();
    engine
        .deploy(&api(), reference, me())
        .await
        .unwrap()
        .await
        .unwrap();
    std::mem::take(&mut *steps.0.lock().unwrap())
}

#[tokio::test]
async fn a_plain_deployment_is_six_atomic_steps() {
    let wanted = [
        "begun",
        "prepare-intended",
        "prepared switch-intended",
        "switched",
        "judged retire-intended",
        "retired settled",
    ];
    assert_eq!(steps(&Setup::new().await, "v1").await, wanted);
}

#[tokio::test]
async fn a_switch_a_start_and_a_bad_verdict_are_on_record_before_anything_follows() {
    let beside = steps(&Setup::new().await.beside(), "v1").await;
    assert!(beside.contains(&"started".to_owned()), "{beside:?}");
    let setup = Setup::new().await;
    setup.target.sicken("v1");
    let sick = steps(&setup, "v1").await;
    for alone in ["switched", "judged"] {
        assert!(sick.contains(&alone.to_owned()), "{sick:?}");
    }
}
