//! What a plan says: what matters stays in sight, and it can be carried to another process.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::plan::Plan;
use rollback_core::prelude::*;
use support::{Bench, me};

#[tokio::test]
async fn after_a_hundred_deployments_a_plan_still_shows_its_warnings() {
    let bench = Bench::new();
    let first = bench.deploy("v1").await;
    for n in 0..60 {
        bench.deploy(&format!("well-{n}")).await;
    }
    let to = Goal::To(first.deployment().id().clone());
    let request = Request::rollback(bench.api.clone(), to, me());
    let plan = bench.engine.preview(&request).await.unwrap();
    assert_eq!(plan.skipped().len(), 60);
    let said = plan.to_string();
    assert!(said.lines().count() <= 20, "{said}");
    assert!(said.contains("\n  skips over: "), "{said}");
    assert!(said.contains("and 57 more\n"), "{said}");
    assert!(said.contains("\n  warning:    "), "{said}");
}

#[tokio::test]
async fn what_is_passed_over_is_counted_by_its_reason() {
    let bench = Bench::new();
    bench.deploy("v1").await;
    for n in 0..30 {
        bench.deploy(&format!("sick-{n}")).await;
    }
    bench.deploy("v2").await;
    let request = Request::rollback(bench.api.clone(), Goal::LastHealthy, me());
    let plan = bench.engine.preview(&request).await.unwrap();
    assert_eq!(plan.passed_over().len(), 30, "{plan}");
    let said = plan.to_string();
    assert!(said.lines().count() <= 20, "{said}");
    let more = "and 27 more (27 failed its health gate)\n";
    assert!(said.contains(more), "{said}");
    assert!(said.contains("\n  warning:    "), "{said}");
}

#[tokio::test]
async fn a_plan_that_was_approved_elsewhere_is_carried_out_as_it_was_shown() {
    let bench = Bench::new();
    for reference in ["v1", "v2"] {
        bench.deploy(reference).await;
    }
    let request = Request::rollback(bench.api.clone(), Goal::LastHealthy, me());
    let plan = bench.engine.preview(&request).await.unwrap();
    let sent = serde_json::to_string(&plan).unwrap();
    let received: Plan = serde_json::from_str(&sent).unwrap();
    assert_eq!(received, plan);
    let again = received.clone();
    let run = bench.engine.execute(received).await.unwrap();
    run.await.unwrap();
    assert_eq!(bench.live(), "v1");
    let stale = bench.engine.execute(again).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Stale);
}
