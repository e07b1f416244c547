//! Who may, who did, and what is asked of them before it is done.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::guard::{Action, Authorizer};
use rollback_core::id::GuardName;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use support::{Bench, Shelf, me};

fn api() -> WorkloadId {
    "api@web-1".parse().unwrap()
}

/// A target, and how many guards are forced.
type About = (Option<DeploymentId>, usize);

/// Allows everything until the shift is over; writes down the targets it is asked about.
#[derive(Debug, Clone, Default)]
struct Shift {
    over: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<About>>>,
}

#[async_trait]
impl Authorizer for Shift {
    async fn authorize(&self, action: &Action<'_>) -> Result<(), String> {
        let about = (action.deployment.cloned(), action.forced.len());
        self.asked.lock().unwrap().push(about);
        match self.over.load(Ordering::SeqCst) {
            true => Err("the shift is over".into()),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_plan_was_carried_out_for_somebody_who_may_no_more() {
    let shift = Shift::default();
    let shelf = Shelf::default();
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(shelf.clone()))
        .authorizer(shift.clone())
        .build()
        .unwrap();
    let mut first = None;
    for reference in ["v1", "v2"] {
        let run = engine.deploy(&api(), reference, me()).await.unwrap();
        let report = run.await.unwrap();
        first.get_or_insert(report.deployment().id().clone());
    }
    let request = Request::rollback(api(), Goal::LastHealthy, me());
    let request = request.force(GuardName::dependencies());
    let plan = engine.preview(&request).await.unwrap();
    shift.asked.lock().unwrap().clear();
    shift.over.store(true, Ordering::SeqCst);
    let e = engine.execute(plan).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::Unauthorized { .. })));
    assert_eq!(shelf.live().as_deref(), Some("v2"));
    // Asked with the target that was found, and with what is forced.
    assert_eq!(*shift.asked.lock().unwrap(), [(first, 1)]);
}

#[tokio::test]
async fn a_guard_that_there_is_not_could_be_forced() {
    let b = Bench::new();
    let request = Request::deploy(b.api.clone(), "v1", me()).force("migration".parse().unwrap());
    let e = b.engine.preview(&request).await.unwrap_err();
    assert_eq!(e.http_status(), 400);
    assert_eq!(
        e.to_string(),
        "there is no guard migration to force; there are dependencies, migrations, hold, recall, floor, way-back, drill"
    );
}

#[tokio::test]
async fn a_hold_replaced_somebody_elses() {
    let b = Bench::new();
    let why = |text: &str| text.parse().unwrap();
    b.engine.hold(&b.api, why("freeze"), me()).await.unwrap();
    let bob = Actor::user("bob").unwrap();
    let e = b.engine.hold(&b.api, why("mine"), bob).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::Held { by, .. }) if by == "ada"));
    // One's own can be put better.
    b.engine
        .hold(&b.api, why("until monday"), me())
        .await
        .unwrap();
    let hold = b.engine.state(&b.api).await.unwrap().hold.unwrap();
    assert_eq!(
        (hold.by, hold.why.to_string()),
        (me(), "until monday".into())
    );
}

#[tokio::test]
async fn a_catalog_could_hold_a_policy_that_configure_refuses() {
    let gate = Gate::default().soak(Duration::from_secs(3_600));
    let e = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(Shelf::default()).gate(gate))
        .build()
        .unwrap_err();
    assert!(e.to_string().contains("raise deadlines.gate"), "{e}");
    assert!(e.to_string().contains("api@web-1"), "{e}");
}

/// A check that waits until it is told to stop.
#[derive(Debug)]
struct Waiting;

#[async_trait]
impl HealthCheck for Waiting {
    fn name(&self) -> String {
        "waiting".into()
    }

    async fn check(&self, cx: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        cx.cancellation().cancelled().await;
        Err(Unhealthy::new("told to stop"))
    }
}

#[tokio::test(start_paused = true)]
async fn an_adoption_that_was_cancelled_was_recorded_as_a_success_that_is_unhealthy() {
    let b = Bench::new();
    b.deploy("v1").await;
    // Another engine, which has no record of it.
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(b.shelf.clone()).check(Waiting))
        .build()
        .unwrap();
    let adoption = tokio::spawn({
        let engine = engine.clone();
        async move { engine.adopt(&api(), me()).await?.await }
    });
    let id = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Some(in_flight) = engine.state(&api()).await.unwrap().in_flight {
            break in_flight.deployment;
        }
    };
    engine.cancel(&id, &me()).await.unwrap();
    let report = adoption.await.unwrap().unwrap();
    assert_eq!(report.outcome(), Outcome::Cancelled);
    assert_eq!(*report.live(), LiveRecord::Nothing);
    assert_eq!(*report.deployment().verdict(), Verdict::Unknown);
    assert_eq!(b.live(), "v1");
}
