//! What is refused, or left alone, before anything moves.

use rollback_core::history::Holder;
use rollback_core::id::GroupId;
use rollback_core::prelude::*;
use rollback_core::stack::{Stack, StackGoal, StackPlan, StackRequest};

use crate::shop::{ALL, Shop, deploy, id, shop};
use crate::support::{Shelf, me};

#[tokio::test]
async fn nothing_to_move_is_an_error_that_says_why_for_each() {
    let s = Shop::new();
    s.everything("v1").await;
    let e = s.run(deploy(&[("api", "v1")])).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyLive);
    let text = e.to_string();
    assert!(text.contains("api@shop-1: it is live already"), "{text}");
}

#[tokio::test]
async fn a_member_that_is_taken_keeps_all_of_them_from_being_touched() {
    let s = Shop::new();
    s.everything("v1").await;
    let plan = s
        .engine
        .preview_stack(&deploy(&[("api", "v2"), ("db", "v2"), ("web", "v2")]))
        .await
        .unwrap();
    // Somebody else is at `web` when it comes to that.
    let version = s.store.workload(&id("web")).await.unwrap().version;
    let other = Opening::new(
        DeploymentId::generate(SystemClock.now()),
        id("web"),
        Trigger::Deploy,
        me(),
        SystemClock.now(),
    );
    let holder = Holder::this_process(SystemClock.now());
    let held = s.store.begin(&other, &holder, version).await.unwrap();
    let e = s.engine.execute_stack(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert!(e.to_string().contains("web@shop-1"), "{e}");
    assert_eq!(e.conflict().unwrap().deployment, other.id);
    for name in ["api", "db"] {
        let record = s.newest(name).await;
        assert_eq!(record.outcome(), Some(Outcome::Refused));
        let state = s.store.workload(&id(name)).await.unwrap();
        assert!(state.in_flight.is_none());
    }
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    drop(held);
}

#[tokio::test]
async fn a_member_that_moved_since_the_plan_is_named() {
    let s = Shop::new();
    s.everything("v1").await;
    let request = deploy(&[("api", "v2"), ("db", "v2")]);
    let plan = s.engine.preview_stack(&request).await.unwrap();
    s.engine
        .deploy(&id("db"), "v7", me())
        .await
        .unwrap()
        .await
        .unwrap();
    let e = s.engine.execute_stack(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Stale);
    assert!(e.to_string().contains("db@shop-1"), "{e}");
    assert_eq!(s.live(), ["v1", "v7", "v1"]);
    // Asked for anew it is planned anew.
    assert!(s.deploy(&[("api", "v2"), ("db", "v2")]).await.succeeded());
}

#[tokio::test]
async fn what_cannot_go_back_moves_only_by_name() {
    let s = Shop::new();
    s.everything("v1").await;
    let why = Some("its database was migrated".to_owned());
    s.shelf("db").0.lock().unwrap().no_way_back = why;
    let request = || deploy(&[("api", "v2"), ("db", "v2")]);
    let e = s.run(request()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused);
    let text = e.to_string();
    assert!(
        text.contains("way-back") && text.contains("its database was migrated"),
        "{text}"
    );
    assert!(text.contains("db@shop-1"), "{text}");
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let named = request().without_way_back(id("db"));
    assert!(s.run(named).await.unwrap().succeeded());
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    // Alone it may move as ever.
    s.engine
        .deploy(&id("db"), "v3", me())
        .await
        .unwrap()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_asked_of_a_stack_is_refused() {
    let s = Shop::new();
    let e = s.rollback(StackGoal::LastHealthy).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::NoGroup { .. })), "{e}");
    let e = s.rollback(StackGoal::Previous).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::NoGroup { .. })), "{e}");
    let unknown: GroupId = "deploy-20260101-000000-abcd".parse().unwrap();
    let e = s
        .rollback(StackGoal::To(unknown.clone()))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert_eq!(
        s.engine.group(&unknown).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let foreign = StackRequest::deploy(shop(), [(id("cron"), "v1")], me());
    let e = s.run(foreign).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest);
    assert!(e.to_string().contains("cron@shop-1"), "{e}");
    let other = StackRequest::rollback("other".parse().unwrap(), StackGoal::Previous, me());
    let e = s.run(other).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotRegistered);
    assert!(e.to_string().contains("there are shop"), "{e}");
}

#[tokio::test]
async fn a_stack_that_cannot_be_is_not_built() {
    let build = |stacks: Vec<Stack>| {
        let mut builder = RollbackEngine::builder(MemoryStore::new());
        for name in ["api", "db"] {
            let shelf = Shelf::of(id(name).to_string().as_str());
            builder = builder.workload(Workload::new(shelf));
        }
        for stack in stacks {
            builder = builder.stack(stack);
        }
        builder.build().map(drop)
    };
    let stack =
        |name: &str, of: &[&str]| Stack::new(name.parse().unwrap(), of.iter().map(|n| id(n)));
    assert!(build(vec![stack("a", &["api"]), stack("b", &["db"])]).is_ok());
    for wrong in [
        vec![stack("a", &[])],
        vec![stack("a", &["api", "web"])],
        vec![stack("a", &["api"]), stack("b", &["api", "db"])],
        vec![stack("a", &["api"]), stack("a", &["db"])],
    ] {
        let e = build(wrong).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidRequest, "{e}");
    }
}

#[tokio::test]
async fn a_plan_from_elsewhere_moves_nothing_that_does_not_belong_to_its_stack() {
    let s = Shop::new();
    let plan = s
        .engine
        .preview_stack(&deploy(&[("api", "v1"), ("db", "v1")]))
        .await
        .unwrap();
    let mut json = serde_json::to_value(&plan).unwrap();
    json["moves"][0]["new"]["workload"] = "cron@shop-1".into();
    let forged: StackPlan = serde_json::from_value(json).unwrap();
    let e = s.engine.execute_stack(forged).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest, "{e}");
    assert_eq!(s.live(), ["nothing", "nothing", "nothing"]);
}

#[tokio::test]
async fn what_was_to_stay_and_has_moved_is_named() {
    let s = Shop::new();
    s.everything("v1").await;
    let request = deploy(&[("api", "v2")]);
    let plan = s.engine.preview_stack(&request).await.unwrap();
    s.engine
        .deploy(&id("web"), "v9", me())
        .await
        .unwrap()
        .await
        .unwrap();
    let e = s.engine.execute_stack(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Stale);
    assert!(e.to_string().contains("web@shop-1"), "{e}");
    assert_eq!(s.live(), ["v1", "v1", "v9"]);
}

#[tokio::test]
async fn a_member_that_is_run_alone_was_not_asked_about_its_neighbours() {
    let s = Shop::new();
    let request = deploy(&ALL.map(|name| (name, "v1")));
    let plan = s.engine.preview_stack(&request).await.unwrap();
    let web = plan.moves().iter().find(|p| *p.workload() == id("web"));
    let run = s.engine.execute(web.unwrap().clone()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Refused, "{}", report.summary());
    assert!(
        report
            .summary()
            .contains("api@shop-1: nothing is live on it")
    );
}
