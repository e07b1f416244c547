//! A stop is heard before each effect: what was cancelled in time is not done.

use std::sync::Arc;
use std::task::{self, Poll, Waker};

use rollback_core::engine::{AutomaticRollback, Report, RollbackEngine, Workload};
use rollback_core::error::StoreError;
use rollback_core::history::HistoryStore;
use rollback_core::prelude::*;
use rollback_testkit::intercept::{Intercept, InterceptedStore, Write};

use crate::support::{Setup, api, me};

/// Another program cancels each deployment as soon as this is on its record.
#[derive(Debug)]
struct CancelledAt(&'static str, Arc<dyn HistoryStore>);

impl Intercept for CancelledAt {
    type Passed = ();

    fn before(&self, _: Write<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn after(&self, write: Write<'_>, (): ()) -> Result<(), StoreError> {
        if write.what == self.0 {
            // A store in memory answers at once.
            let by = me();
            let mut asked = self.1.request_cancel(write.deployment, &by);
            let now = &mut task::Context::from_waker(Waker::noop());
            assert!(matches!(asked.as_mut().poll(now), Poll::Ready(Ok(()))));
        }
        Ok(())
    }
}

/// v1 is live, and this is deployed over it and cancelled then.
async fn cancelled_at(
    event: &'static str,
    setup: &Setup,
    reference: &str,
    adjust: impl FnOnce(Workload) -> Workload,
) -> Report {
    let v1 = setup.engine().deploy("v1").await;
    let cancelled = CancelledAt(event, Arc::clone(&setup.store));
    let store = InterceptedStore::new(Arc::clone(&setup.store), cancelled);
    let engine = RollbackEngine::builder(store)
        .workload(adjust(setup.workload(api())))
        .build()
        .unwrap();
    let run = engine.deploy(&api(), reference, me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Cancelled, "at {event}");
    assert_eq!(report.live().known(), Some(v1.deployment().id()), "{event}");
    report
}

fn names(report: &Report) -> Vec<&'static str> {
    let events = report.deployment().events().iter();
    events.map(|e| e.event.name()).collect()
}

#[tokio::test]
async fn what_was_cancelled_before_an_effect_was_done_all_the_same() {
    for (at, not_done) in [
        ("begun", "prepared"),
        ("prepare-intended", "switch-intended"),
        ("switched", "judged"),
    ] {
        let setup = Setup::new().await;
        let names = names(&cancelled_at(at, &setup, "v2", |w| w).await);
        assert!(names.contains(&"going-back"), "{names:?}");
        assert!(!names.contains(&not_done), "{names:?}");
    }
}

#[tokio::test]
async fn what_was_cancelled_before_its_successor_was_started_was_started_all_the_same() {
    let setup = Setup::new().await.beside();
    let names = names(&cancelled_at("prepare-intended", &setup, "v2", |w| w).await);
    assert!(names.contains(&"going-back"), "{names:?}");
    assert!(!names.contains(&"started"), "{names:?}");
}

#[tokio::test]
async fn who_cancelled_what_had_failed_its_gate_got_an_automatic_rollback() {
    let setup = Setup::new().await;
    let report = cancelled_at("judged", &setup, "broken", Workload::auto_rollback).await;
    let names = names(&report);
    assert!(names.contains(&"switched-back"), "{names:?}");
    assert!(matches!(
        report.automatic_rollback(),
        AutomaticRollback::NotNeeded
    ));
}
