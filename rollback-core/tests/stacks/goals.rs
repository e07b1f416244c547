//! Where a stack goes back to.

use rollback_core::engine::Way;
use rollback_core::prelude::*;
use rollback_core::stack::{StackGoal, StackRequest};

use crate::shop::{Shop, id, shop};
use crate::support::me;

#[tokio::test]
async fn a_stack_goes_back_to_where_all_were_healthy() {
    let s = Shop::new();
    s.everything("v1").await;
    s.deploy(&[("api", "v2"), ("db", "v2")]).await;
    s.deploy(&[("web", "v3")]).await;
    assert_eq!(s.live(), ["v2", "v2", "v3"]);
    // The group before the last: of its members, and of what it left alone.
    let report = s.rollback(StackGoal::LastHealthy).await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    assert_eq!(report.members().len(), 1);
}

#[tokio::test]
async fn a_sick_group_is_passed_over() {
    let s = Shop::new();
    s.everything("v1").await;
    s.everything("v2").await;
    s.deploy(&[("api", "v3"), ("web", "sick-v3")]).await;
    s.everything("v4").await;
    s.rollback(StackGoal::LastHealthy).await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v2"]);
}

#[tokio::test]
async fn the_last_group_is_undone_and_what_it_left_alone_stays() {
    let s = Shop::new();
    s.everything("v1").await;
    s.everything("v2").await;
    let last = s.deploy(&[("api", "v3")]).await;
    s.engine
        .deploy(&id("web"), "v9", me())
        .await
        .unwrap()
        .await
        .unwrap();
    s.rollback(StackGoal::Before(last.id().clone()))
        .await
        .unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v9"]);
}

#[tokio::test]
async fn a_stack_goes_back_to_a_named_group_and_to_a_time() {
    let s = Shop::new();
    let first = s.everything("v1").await;
    let then = s.newest("web").await.settled_at().unwrap();
    s.everything("v2").await;
    s.everything("v3").await;
    s.rollback(StackGoal::To(first.id().clone())).await.unwrap();
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    s.everything("v4").await;
    s.rollback(StackGoal::AsOf(then)).await.unwrap();
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let group = &s.engine.groups(&shop(), 1).await.unwrap()[0];
    assert_eq!(group.roll.goal, Some(StackGoal::AsOf(then)));
    let redeployed = StackRequest::redeploy(shop(), first.id().clone(), me());
    s.everything("v5").await;
    assert!(s.run(redeployed).await.unwrap().succeeded());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
}

#[tokio::test]
async fn groups_are_listed_newest_first() {
    let s = Shop::new();
    let mut ids = Vec::new();
    for version in ["v1", "v2", "sick-v3", "v4"] {
        ids.push(s.everything(version).await.id().clone());
    }
    let groups = s.engine.groups(&shop(), 3).await.unwrap();
    let listed: Vec<_> = groups.iter().map(|g| (g.id.clone(), g.way)).collect();
    assert_eq!(
        listed,
        [
            (ids[3].clone(), Way::Forward),
            (ids[2].clone(), Way::Back),
            (ids[1].clone(), Way::Forward)
        ]
    );
    assert!(groups[0].is_healthy() && !groups[1].is_healthy());
    assert_eq!(groups[0].members.len(), 3);
}

#[tokio::test]
async fn going_back_twice_went_forward_again() {
    let s = Shop::new();
    for version in ["v1", "v2", "v3"] {
        s.everything(version).await;
    }
    for expected in ["v2", "v1"] {
        s.rollback(StackGoal::LastHealthy).await.unwrap();
        assert_eq!(s.live(), [expected, expected, expected]);
    }
    let e = s.rollback(StackGoal::LastHealthy).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::NoGroup { .. })), "{e}");
}

#[tokio::test]
async fn a_workload_that_was_never_deployed_kept_its_stack_from_going_back() {
    let s = Shop::new();
    s.engine
        .deploy(&id("db"), "v1", me())
        .await
        .unwrap()
        .await
        .unwrap();
    s.deploy(&[("api", "v1"), ("db", "v2")]).await;
    s.deploy(&[("api", "v2"), ("db", "v3")]).await;
    s.rollback(StackGoal::LastHealthy).await.unwrap();
    assert_eq!(s.live(), ["v1", "v2", "nothing"]);
}

#[tokio::test]
async fn a_newer_group_was_passed_over_for_an_older_one_of_a_quieter_workload() {
    let s = Shop::new();
    s.everything("v1").await;
    s.everything("v2").await;
    s.deploy(&[("web", "v3")]).await;
    for n in 0..70 {
        let run = s.engine.deploy(&id("web"), format!("w{n}"), me()).await;
        run.unwrap().await.unwrap();
    }
    let groups = s.engine.groups(&shop(), 2).await.unwrap();
    let moved: Vec<usize> = groups.iter().map(|g| g.members.len()).collect();
    assert_eq!(moved, [1, 3]);
    s.rollback(StackGoal::Previous).await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v2"]);
}

#[tokio::test]
async fn the_last_change_of_a_stack_is_undone_whatever_it_was_and_done_again() {
    let s = Shop::new();
    s.everything("v1").await;
    s.deploy(&[("api", "v2"), ("db", "v2")]).await;
    let alone = s.engine.deploy(&id("web"), "v9", me()).await;
    alone.unwrap().await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v9"]);
    // A workload that was moved alone, ...
    let undone = s.rollback(StackGoal::Undo).await.unwrap();
    assert_eq!(undone.members().len(), 1);
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    // ... then the group before that, ...
    s.rollback(StackGoal::Undo).await.unwrap();
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    // ... and forward again in the other order.
    s.rollback(StackGoal::Redo).await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    s.rollback(StackGoal::Redo).await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v9"]);
    let e = s.rollback(StackGoal::Redo).await.unwrap_err();
    assert!(
        matches!(
            e.refusal(),
            Some(Refusal::NoGroup {
                goal: StackGoal::Redo,
                ..
            })
        ),
        "{e}"
    );
}

#[tokio::test]
async fn a_part_of_a_group_that_was_undone_alone_is_not_the_group() {
    let s = Shop::new();
    s.everything("v1").await;
    s.deploy(&[("api", "v2"), ("db", "v2")]).await;
    let alone = s.engine.rollback(&id("api"), Goal::Undo, me()).await;
    alone.unwrap().await.unwrap();
    assert_eq!(s.live(), ["v1", "v2", "v1"]);
    // The rest of the group is what is left to undo.
    s.rollback(StackGoal::Undo).await.unwrap();
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    s.rollback(StackGoal::Redo).await.unwrap();
    s.rollback(StackGoal::Redo).await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
}
