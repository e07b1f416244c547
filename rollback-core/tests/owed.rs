//! What is live only for now: what nobody confirms, and drills.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use rollback_core::deployment::Purpose;
use rollback_core::engine::{Drill, RollbackEngine, Workload};
use rollback_core::id::ShortText;
use rollback_core::plan::Extent;
use rollback_core::policy::{DrillRule, OnOverdue};
use rollback_core::prelude::*;
use support::{Bench, me};

const SOON: Duration = Duration::from_millis(80);
const LATER: Duration = Duration::from_secs(3600);

fn why() -> ShortText {
    "it serves".parse().unwrap()
}

async fn deploy_within(b: &Bench, reference: &str, span: Duration) -> Deployment {
    let request = Request::deploy(b.api.clone(), reference, me()).confirm_within(span);
    let report = b.engine.run(request).await.unwrap().await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    report.deployment().clone()
}

async fn newest(b: &Bench) -> Deployment {
    let page = b.engine.list(&Query::workload(&b.api)).await.unwrap();
    page.deployments.into_iter().next().unwrap()
}

/// Until something else is live, and settled.
async fn until_live(b: &Bench, what: &str) {
    for _ in 0..500 {
        if b.live() == what && newest(b).await.settlement().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} is live", b.live());
}

/// Another process on the same history and target.
fn another(b: &Bench) -> RollbackEngine {
    RollbackEngine::builder(b.store.clone())
        .workload(Workload::new(b.shelf.clone()))
        .build()
        .unwrap()
}

#[tokio::test]
async fn what_nobody_confirms_goes_back_by_itself_once() {
    let b = Bench::new();
    b.deploy("v1").await;
    let v2 = deploy_within(&b, "v2", SOON).await;
    assert_eq!(b.live(), "v2");
    until_live(&b, "v1").await;
    let back = newest(&b).await;
    let deployment = v2.id().clone();
    assert_eq!(back.purpose(), Some(&Purpose::Unconfirmed { deployment }));
    assert!(back.actor().to_string().contains("dead-man"));
    assert_eq!(back.trigger().restores(), v2.opening().replaces.known());
    // What came back is not taken back in turn.
    assert_eq!(b.engine.recover().await.unwrap().len(), 0);
    let e = b.engine.confirm(v2.id(), why(), &me()).await.unwrap_err();
    assert!(e.to_string().contains("too late"), "{e}");
}

#[tokio::test]
async fn what_is_confirmed_stays() {
    let b = Bench::new();
    b.deploy("v1").await;
    let v2 = deploy_within(&b, "v2", SOON).await;
    b.engine.confirm(v2.id(), why(), &me()).await.unwrap();
    tokio::time::sleep(SOON * 3).await;
    assert_eq!(b.live(), "v2");
    assert_eq!(another(&b).recover().await.unwrap().len(), 0);
    let record = b.engine.get(v2.id()).await.unwrap();
    assert_eq!(record.annotations().confirmed.as_ref().unwrap().by, me());
    // There is nothing to confirm of what was deployed for good.
    let v3 = b.deploy("v3").await;
    let e = b.engine.confirm(v3.deployment().id(), why(), &me()).await;
    assert!(e.unwrap_err().to_string().contains("need not be confirmed"));
}

#[tokio::test]
async fn what_nobody_confirmed_while_no_engine_ran_goes_back_as_soon_as_one_does() {
    let b = Bench::new();
    b.deploy("v1").await;
    let (shelf, store, api) = (b.shelf.clone(), b.store.clone(), b.api.clone());
    // Its runtime is gone, and the timer with it.
    let gone = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let engine = RollbackEngine::builder(store)
                .workload(Workload::new(shelf))
                .build()
                .unwrap();
            let request = Request::deploy(api, "v2", me()).confirm_within(SOON);
            engine.run(request).await.unwrap().await.unwrap();
        });
    });
    gone.join().unwrap();
    tokio::time::sleep(SOON * 2).await;
    assert_eq!(b.live(), "v2");
    let recovered = another(&b).recover().await.unwrap();
    assert_eq!(recovered.len(), 1);
    assert!(recovered[0].result.as_ref().unwrap().succeeded());
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn what_is_not_due_yet_is_waited_for_by_who_recovers() {
    let b = Bench::new();
    b.deploy("v1").await;
    deploy_within(&b, "v2", LATER).await;
    let other = another(&b);
    assert_eq!(other.recover().await.unwrap().len(), 0);
    assert_eq!(b.live(), "v2");
    // Nothing newer is ever taken back.
    let v3 = b.deploy("v3").await;
    assert!(v3.succeeded());
    assert_eq!(other.recover().await.unwrap().len(), 0);
    assert_eq!(b.live(), "v3");
}

#[tokio::test]
async fn a_way_back_that_fails_is_not_tried_for_ever() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().switch_fails.insert("v1".into());
    deploy_within(&b, "v2", SOON).await;
    tokio::time::sleep(SOON * 4).await;
    for _ in 0..3 {
        another(&b).recover().await.unwrap();
    }
    assert_eq!(b.live(), "v2");
    let page = b.engine.list(&Query::workload(&b.api)).await.unwrap();
    let tries = page
        .deployments
        .iter()
        .filter(|d| matches!(d.purpose(), Some(Purpose::Unconfirmed { .. })));
    assert_eq!(tries.count(), 1);
}

#[tokio::test]
async fn the_first_deployment_stays_for_there_is_nothing_to_go_back_to() {
    let b = Bench::new();
    let request = Request::deploy(b.api.clone(), "v1", me()).confirm_within(SOON);
    let plan = b.engine.preview(&request).await.unwrap();
    assert!(
        plan.to_string().contains("confirm:    not needed"),
        "{plan}"
    );
    deploy_within(&b, "v1", SOON).await;
    tokio::time::sleep(SOON * 2).await;
    assert_eq!(another(&b).recover().await.unwrap().len(), 0);
    assert_eq!(b.live(), "v1");
}

fn now() -> std::ops::Range<Timestamp> {
    let now = SystemClock.now();
    now..now.plus(LATER)
}

#[tokio::test]
async fn a_drill_goes_there_and_back_and_plans_say_so() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let rollback = || Request::rollback(b.api.clone(), Goal::Previous, me());
    let report = b
        .engine
        .drill(rollback(), &Drill::Real { window: now() })
        .await
        .unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!((report.there.len(), report.back.len()), (1, 1));
    assert_eq!(b.live(), "v2");
    let plan = b.engine.preview(&rollback()).await.unwrap();
    let practised = plan.practised().unwrap();
    assert_eq!(practised.extent, Extent::Real);
    assert!(
        plan.to_string().contains("practised:  today, in "),
        "{plan}"
    );
    // It is no change to undo.
    b.rollback(Goal::Undo).await.unwrap();
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn a_dry_drill_switches_nothing() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let switches = b.shelf.0.lock().unwrap().switches;
    let rollback = Request::rollback(b.api.clone(), Goal::Previous, me());
    let report = b.engine.drill(rollback.clone(), &Drill::Dry).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(b.shelf.0.lock().unwrap().switches, switches);
    assert_eq!(b.live(), "v2");
    let plan = b.engine.preview(&rollback).await.unwrap();
    assert_eq!(plan.practised().unwrap().extent, Extent::Dry);
}

#[tokio::test]
async fn a_drill_that_fails_is_its_result_and_not_one_that_was_held() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.deploy("v2").await;
    b.shelf.0.lock().unwrap().switch_fails.insert("v1".into());
    let rollback = Request::rollback(b.api.clone(), Goal::Previous, me());
    let report = b
        .engine
        .drill(rollback.clone(), &Drill::Real { window: now() })
        .await
        .unwrap();
    assert!(!report.passed());
    assert_eq!(b.live(), "v2");
    let plan = b.engine.preview(&rollback).await.unwrap();
    assert_eq!(plan.practised(), None);
}

#[tokio::test]
async fn who_died_in_the_middle_of_a_drill_is_brought_back() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    // For a while it is not told whether it is well there.
    let not_yet = ("v1".to_owned(), 3);
    b.shelf.0.lock().unwrap().not_yet_of.extend([not_yet]);
    let (shelf, store, api) = (b.shelf.clone(), b.store.clone(), b.api.clone());
    let gone = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let engine = RollbackEngine::builder(store)
            .workload(Workload::new(shelf.clone()))
            .build()
            .unwrap();
        let rollback = Request::rollback(api, Goal::Previous, me());
        let drill = Drill::Real { window: now() };
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = engine.drill(rollback, &drill) => panic!("it was to die"),
                () = async {
                    while shelf.live().as_deref() != Some("v1") {
                        tokio::task::yield_now().await;
                    }
                } => {}
            }
        });
    });
    gone.join().unwrap();
    // One recovery: what it settles it sees to.
    let other = another(&b);
    other.recover().await.unwrap();
    until_live(&b, "v2").await;
}

#[tokio::test]
async fn a_policy_asks_for_drills_of_who_deploys_and_never_of_who_goes_back() {
    let rule = |then| Policy::default().drill(Some(DrillRule::new(30, then)));
    let b = Bench::with(|w| w.policy(rule(OnOverdue::Block)));
    // There is nothing yet to practise with.
    b.deploy("v1").await;
    let deploy = |reference: &str| Request::deploy(b.api.clone(), reference, me());
    let e = b.engine.preview(&deploy("v2")).await.unwrap_err();
    assert!(e.to_string().contains("hold a drill first"), "{e}");
    let forced = deploy("v2").force(GuardName::drill());
    b.engine.run(forced).await.unwrap().await.unwrap();
    let rollback = || Request::rollback(b.api.clone(), Goal::Previous, me());
    assert!(b.engine.preview(&rollback()).await.is_ok());
    b.engine.drill(rollback(), &Drill::Dry).await.unwrap();
    b.engine.preview(&deploy("v3")).await.unwrap();
    b.engine
        .configure(&b.api, Some(&rule(OnOverdue::Warn)), &me())
        .await
        .unwrap();
    let plan = b.engine.preview(&deploy("v3")).await.unwrap();
    assert_eq!(plan.warnings().len(), 0, "{plan}");
}

#[tokio::test]
async fn a_drill_is_held_in_its_window_and_only_of_a_rollback() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let rollback = Request::rollback(b.api.clone(), Goal::Previous, me());
    let over = now().start.minus(LATER)..now().start;
    let e = b
        .engine
        .drill(rollback, &Drill::Real { window: over })
        .await
        .unwrap_err();
    assert!(e.to_string().contains("window"), "{e}");
    let deploy = Request::deploy(b.api.clone(), "v3", me());
    let e = b.engine.drill(deploy, &Drill::Dry).await.unwrap_err();
    assert!(e.to_string().contains("only a rollback"), "{e}");
    assert_eq!(b.live(), "v2");
}
