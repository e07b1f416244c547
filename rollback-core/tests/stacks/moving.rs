//! All go live, or none.

use rollback_core::deployment::Part;
use rollback_core::engine::Way;
use rollback_core::event::Cause;
use rollback_core::prelude::*;
use rollback_core::stack::StackPlan;

use crate::shop::{ALL, Shop, deploy, id};
use crate::support::{Shelf, me};

#[tokio::test]
async fn all_go_live_and_what_others_need_goes_first() {
    let s = Shop::new();
    let mut notices = s.engine.subscribe();
    let report = s.everything("v1").await;
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let mut switched = Vec::new();
    let mut decided = None;
    let mut settled = 0;
    while let Ok(notice) = notices.try_recv() {
        match notice.event.map(|e| e.event) {
            Some(Event::SwitchIntended) => switched.push(notice.workload.to_string()),
            Some(Event::Decided) => decided = Some((notice.workload.to_string(), switched.len())),
            Some(Event::Settled(_)) => settled += usize::from(decided.is_some()),
            _ => {}
        }
    }
    assert_eq!(switched, ["db@shop-1", "api@shop-1", "web@shop-1"]);
    assert_eq!(decided, Some(("api@shop-1".to_owned(), 3)));
    assert_eq!(settled, 3);
}

#[tokio::test]
async fn if_one_is_sick_all_go_back_and_say_because_of_whom() {
    let s = Shop::new();
    s.everything("v1").await;
    let report = s
        .deploy(&[("api", "v2"), ("db", "v2"), ("web", "sick-v2")])
        .await;
    assert!(!report.succeeded());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let web = s.newest("web").await;
    assert_eq!(web.outcome(), Some(Outcome::FailedAndRolledBack));
    for name in ["api", "db"] {
        let other = s.newest(name).await;
        assert_eq!(other.outcome(), Some(Outcome::Cancelled));
        let Some(Cause::WithItsGroup {
            deployment,
            workload,
            why,
        }) = other.cause()
        else {
            panic!("{:?}", other.cause())
        };
        assert_eq!((deployment, workload), (web.id(), &id("web")));
        assert!(why.contains("sick-v2 is sick"), "{why}");
        // It was healthy itself, and no rollback goes to it by that: it was taken back.
        assert_eq!(*other.verdict(), Verdict::Passed);
    }
    let first = report.summary();
    assert!(first.starts_with("web@shop-1: "), "{first}");
}

#[tokio::test]
async fn no_member_is_switched_before_all_are_prepared() {
    let s = Shop::new();
    s.everything("v1").await;
    let switches = || {
        let of = |shelf: &Shelf| shelf.0.lock().unwrap().switches;
        s.shelves.values().map(of).collect::<Vec<usize>>()
    };
    let before = switches();
    let request = deploy(&ALL.map(|name| (name, "v2")));
    let plan = s.engine.preview_stack(&request).await.unwrap();
    // It goes when it is to be prepared.
    s.shelf("web").0.lock().unwrap().gone.insert("v2".into());
    let report = s.engine.execute_stack(plan).await.unwrap().await;
    assert_eq!(s.newest("web").await.outcome(), Some(Outcome::Failed));
    for name in ["api", "db"] {
        let outcome = s.newest(name).await.outcome();
        assert_eq!(outcome, Some(Outcome::Cancelled), "{}", report.summary());
    }
    assert_eq!(switches(), before);
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
}

#[tokio::test]
async fn what_would_not_change_is_left_alone_and_said() {
    let s = Shop::new();
    s.everything("v1").await;
    let plan = s
        .engine
        .preview_stack(&deploy(&[("api", "v2"), ("db", "v1")]))
        .await
        .unwrap();
    let moves: Vec<String> = plan
        .moves()
        .iter()
        .map(|p| p.workload().to_string())
        .collect();
    assert_eq!(moves, ["api@shop-1"]);
    assert_eq!(plan.stays()[&id("db")].why.as_str(), "it is live already");
    assert_eq!(
        plan.stays()[&id("web")].why.as_str(),
        "nothing was asked for it"
    );
    let text = plan.to_string();
    assert!(
        text.contains("web@shop-1 stays as it is: nothing was asked for it"),
        "{text}"
    );
    // It goes through JSON and back, and is carried out from there.
    let json = serde_json::to_string(&plan).unwrap();
    let again: StackPlan = serde_json::from_str(&json).unwrap();
    assert_eq!(again, plan);
    let report = s.engine.execute_stack(again).await.unwrap().await;
    assert!(report.succeeded());
    assert_eq!(s.live(), ["v2", "v1", "v1"]);
    let group = s.engine.group(report.id()).await.unwrap();
    assert_eq!(group.way, Way::Forward);
    let Part::Stays { live, .. } = &group.roll.parts[&id("web")] else {
        panic!("{group:?}")
    };
    assert_eq!(live.known(), Some(s.newest("web").await.id()));
}

#[tokio::test]
async fn a_cancelled_group_goes_back_whole() {
    let s = Shop::new();
    s.everything("v1").await;
    let mut notices = s.engine.subscribe();
    // `web` is not ready yet: the others are live, and wait.
    s.shelf("web").0.lock().unwrap().not_yet = 1_000;
    let run = s
        .engine
        .run_stack(deploy(&ALL.map(|name| (name, "v2"))))
        .await
        .unwrap();
    while let Ok(notice) = notices.recv().await {
        let agreed = notice.event.is_some_and(|e| e.event == Event::Agreed);
        if agreed && notice.workload == id("api") {
            break;
        }
    }
    run.cancel();
    let report = run.await;
    assert!(!report.succeeded());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    for name in ALL {
        assert_eq!(
            s.newest(name).await.outcome(),
            Some(Outcome::Cancelled),
            "{name}"
        );
    }
    assert_eq!(s.engine.group(report.id()).await.unwrap().way, Way::Back);
}

#[tokio::test]
async fn of_many_that_run_by_themselves_one_that_fails_stops_none() {
    let s = Shop::new();
    let requests = [
        Request::deploy(id("db"), "v1", me()),
        Request::deploy(id("cron"), "v1", me()),
        Request::deploy(id("api"), "sick-v1", me()),
        Request::deploy(id("web"), "missing", me()),
    ];
    let ended = s.engine.run_all(requests, 1).await;
    let names: Vec<String> = ended.iter().map(|(w, _)| w.service().to_string()).collect();
    assert_eq!(names, ["db", "cron", "api", "web"]);
    assert!(ended[0].1.as_ref().unwrap().succeeded());
    let kind = |nth: usize| ended[nth].1.as_ref().unwrap_err().kind();
    assert_eq!(kind(1), ErrorKind::NotRegistered);
    assert_eq!(ended[2].1.as_ref().unwrap().outcome(), Outcome::Failed);
    assert_eq!(kind(3), ErrorKind::NotFound);
}
