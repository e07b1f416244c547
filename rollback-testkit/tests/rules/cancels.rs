//! A cancel that comes early keeps everything from being touched.

use std::sync::Arc;
use std::task::{self, Poll, Waker};

use rollback_core::engine::RollbackEngine;
use rollback_core::error::StoreError;
use rollback_core::history::HistoryStore;
use rollback_core::prelude::*;
use rollback_testkit::intercept::{Intercept, InterceptedStore, Write};

use crate::support::{Setup, api, me};

/// Another program cancels each deployment as soon as it is there.
#[derive(Debug)]
struct CancelledAtOnce(Arc<dyn HistoryStore>);

impl Intercept for CancelledAtOnce {
    type Passed = ();

    fn before(&self, _: Write<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn after(&self, write: Write<'_>, (): ()) -> Result<(), StoreError> {
        if write.what == "begun" {
            // A store in memory answers at once.
            let by = me();
            let mut asked = self.0.request_cancel(write.deployment, &by);
            let now = &mut task::Context::from_waker(Waker::noop());
            assert!(matches!(asked.as_mut().poll(now), Poll::Ready(Ok(()))));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_deployment_that_was_cancelled_before_its_first_effect_was_prepared_all_the_same() {
    let setup = Setup::new().await;
    let v1 = setup.engine().deploy("v1").await;
    let cancelled = CancelledAtOnce(Arc::clone(&setup.store));
    let store = InterceptedStore::new(Arc::clone(&setup.store), cancelled);
    let engine = RollbackEngine::builder(store)
        .workload(setup.workload(api()))
        .build()
        .unwrap();
    let run = engine.deploy(&api(), "v2", me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Cancelled);
    assert_eq!(report.live().known(), Some(v1.deployment().id()));
    let events = report.deployment().events().iter();
    let names: Vec<_> = events.map(|e| e.event.name()).collect();
    assert!(names.contains(&"going-back"), "{names:?}");
    assert!(!names.contains(&"prepare-intended"), "{names:?}");
}
