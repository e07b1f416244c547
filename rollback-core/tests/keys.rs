//! Idempotency keys, and awaiting what somebody else has set going.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{AutomaticRollback, NotAttempted, RollbackEngine, Workload};
use rollback_core::guard::{Action, Authorizer, Verb};
use rollback_core::history::{HistoryStore, Holder};
use rollback_core::prelude::*;
use support::{Bench, Shelf, me};

/// Another process on the same history and target.
fn another(b: &Bench) -> RollbackEngine {
    RollbackEngine::builder(b.store.clone())
        .workload(Workload::new(b.shelf.clone()).auto_rollback())
        .build()
        .unwrap()
}

fn keyed(request: Request) -> Request {
    request.idempotency_key("job/7".parse().unwrap())
}

#[tokio::test]
async fn a_request_that_is_sent_again_deploys_nothing_again() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let deploy = || keyed(Request::deploy(b.api.clone(), "v2", me()));
    let first = b.engine.run(deploy()).await.unwrap().await.unwrap();
    assert!(first.succeeded());
    // Also after something else was deployed, from another process, and by a plan of before.
    let stale = b.engine.preview(&deploy()).await;
    b.deploy("v3").await;
    let switches = b.shelf.0.lock().unwrap().switches;
    for engine in [b.engine.clone(), another(&b)] {
        let again = engine.run(deploy()).await.unwrap();
        assert_eq!(again.id(), first.deployment().id());
        assert_eq!(again.await.unwrap(), first);
        if let Ok(plan) = &stale {
            let again = engine.execute(plan.clone()).await.unwrap();
            assert_eq!(again.id(), first.deployment().id());
        }
    }
    assert_eq!(b.shelf.0.lock().unwrap().switches, switches);
    assert_eq!(b.live(), "v3", "the rollback point is not moved either");
}

#[tokio::test]
async fn a_key_that_was_used_for_something_else_is_a_conflict() {
    let b = Bench::new();
    let first = keyed(Request::deploy(b.api.clone(), "v1", me()));
    let first = b.engine.run(first).await.unwrap().await.unwrap();
    for other in [
        Request::deploy(b.api.clone(), "v2", me()),
        Request::rollback(b.api.clone(), Goal::Previous, me()),
        Request::deploy(b.api.clone(), "v1", me()).reapply(),
    ] {
        let e = b.engine.run(keyed(other)).await.unwrap_err();
        assert_eq!((e.kind(), e.http_status()), (ErrorKind::KeyTaken, 409));
        let Some(Refusal::KeyTaken { deployment, .. }) = e.refusal() else {
            panic!("{e}")
        };
        assert_eq!(deployment, first.deployment().id());
    }
    assert_eq!(
        b.engine
            .list(&Query::default())
            .await
            .unwrap()
            .deployments
            .len(),
        1
    );
}

#[tokio::test]
async fn of_two_that_send_one_request_at_once_both_get_one_deployment() {
    let b = Bench::new();
    let other = another(&b);
    let deploy = || keyed(Request::deploy(b.api.clone(), "v1", me()));
    let (one, two) = tokio::join!(b.engine.run(deploy()), other.run(deploy()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.id(), two.id());
    assert_eq!(one.await.unwrap(), two.await.unwrap());
    assert_eq!(
        b.engine
            .list(&Query::default())
            .await
            .unwrap()
            .deployments
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_of_another_process_is_awaited_with_its_automatic_rollback() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let run = b.engine.deploy(&b.api, "sick-v2", me()).await.unwrap();
    let id = run.id().clone();
    let here = b.engine.attach(&id, me()).await.unwrap();
    let there = another(&b).attach(&id, me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(here.await.unwrap(), report);
    assert_eq!(there.await.unwrap(), report);
    // Long after its end.
    b.deploy("v3").await;
    let later = another(&b).attach(&id, me()).await.unwrap().await.unwrap();
    assert_eq!(later, report);
    let none = b
        .engine
        .attach(&DeploymentId::generate(SystemClock.now()), me())
        .await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn why_nothing_was_rolled_back_is_on_record() {
    let b = Bench::new();
    b.deploy("v1").await;
    let report = b.deploy("sick-v2").await;
    let reason = AutomaticRollback::NotAttempted {
        reason: NotAttempted::NotArmed,
    };
    assert_eq!(report.automatic_rollback(), &reason);
    let id = report.deployment().id();
    let later = another(&b).attach(id, me()).await.unwrap().await.unwrap();
    assert_eq!(later, report);
    let record = b.engine.get(id).await.unwrap();
    let settled = record.settlement().unwrap();
    assert_eq!(settled.not_attempted, Some(NotAttempted::NotArmed));
}

#[tokio::test]
async fn what_a_dead_process_was_asked_for_is_recovered_and_then_told() {
    let b = Bench::new();
    b.deploy("v1").await;
    let deploy = || keyed(Request::deploy(b.api.clone(), "v2", me()));
    let plan = b.engine.preview(&deploy()).await.unwrap();
    let new = plan.deployment().clone();
    let holder = Holder::this_process(SystemClock.now());
    drop(b.store.begin(&new, &holder, plan.version()).await.unwrap());
    // CI tries again.
    let again = b.engine.run(deploy()).await.unwrap();
    assert_eq!(again.id(), &new.id);
    let report = again.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Interrupted);
    assert_eq!(b.live(), "v1");
}

/// Never healthy, never sick.
fn slow(b: &Bench, release: &str) {
    let mut target = b.shelf.0.lock().unwrap();
    target.not_yet_of.insert(release.into(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_another_process_can_be_cancelled() {
    let b = Bench::new();
    b.deploy("v1").await;
    slow(&b, "v2");
    let run = b.engine.deploy(&b.api, "v2", me()).await.unwrap();
    let there = another(&b).attach(run.id(), me()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    there.cancel();
    assert_eq!(there.await.unwrap().outcome(), Outcome::Cancelled);
    assert_eq!(run.await.unwrap().outcome(), Outcome::Cancelled);
    assert_eq!(b.shelf.live().as_deref(), Some("v1"));
    let _: &Shelf = &b.shelf;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_was_lost_with_the_handle_that_it_was_given_through() {
    for is_elsewhere in [true, false] {
        let b = Bench::new();
        b.deploy("v1").await;
        slow(&b, "v2");
        let run = b.engine.deploy(&b.api, "v2", me()).await.unwrap();
        let other = another(&b);
        let engine = if is_elsewhere { &other } else { &b.engine };
        let there = engine.attach(run.id(), me()).await.unwrap();
        there.cancel();
        drop(there);
        assert_eq!(run.await.unwrap().outcome(), Outcome::Cancelled);
        assert_eq!(b.shelf.live().as_deref(), Some("v1"));
    }
}

/// Lets nobody cancel.
#[derive(Debug)]
struct NoCancel;

#[async_trait]
impl Authorizer for NoCancel {
    async fn authorize(&self, action: &Action<'_>) -> Result<(), String> {
        match action.verb {
            Verb::Cancel => Err("not you".into()),
            _ => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_cancel_cancelled_by_attaching() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().not_yet_of.insert("v2".into(), 5);
    let engine = RollbackEngine::builder(b.store.clone())
        .workload(Workload::new(b.shelf.clone()))
        .authorizer(NoCancel)
        .build()
        .unwrap();
    let run = engine.deploy(&b.api, "v2", me()).await.unwrap();
    let other = engine.attach(run.id(), me()).await.unwrap();
    other.cancel();
    assert!(other.await.unwrap().succeeded());
    assert!(run.await.unwrap().succeeded());
}
