//! Undo and redo: by going to states that were.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::deployment::Purpose;
use rollback_core::engine::Report;
use rollback_core::prelude::*;
use support::{Bench, me};

async fn undo(b: &Bench) -> Report {
    b.rollback(Goal::Undo).await.unwrap()
}

async fn redo(b: &Bench) -> Report {
    b.rollback(Goal::Redo).await.unwrap()
}

async fn nothing(b: &Bench, goal: Goal) {
    let e = b.rollback(goal.clone()).await.unwrap_err();
    let Some(Refusal::NoRollbackPoint { goal: none, .. }) = e.refusal() else {
        panic!("{e}")
    };
    assert_eq!(*none, goal);
}

#[tokio::test]
async fn undoing_again_goes_back_further_and_redoing_comes_back() {
    let b = Bench::new();
    nothing(&b, Goal::Undo).await;
    for version in ["v1", "v2", "v3"] {
        b.deploy(version).await;
    }
    nothing(&b, Goal::Redo).await;
    let undone = undo(&b).await;
    assert_eq!(b.live(), "v2");
    let Some(Purpose::Undo { change }) = undone.deployment().purpose() else {
        panic!("{undone:?}")
    };
    assert_eq!(
        b.engine
            .get(change)
            .await
            .unwrap()
            .release()
            .unwrap()
            .to_string(),
        "v3"
    );
    undo(&b).await;
    assert_eq!(b.live(), "v1");
    // Before the first one nothing was live: there is nothing to go to.
    let e = b.rollback(Goal::Undo).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::NoRollbackPoint { .. })),
        "{e}"
    );
    assert_eq!(b.live(), "v1");
    redo(&b).await;
    assert_eq!(b.live(), "v2");
    redo(&b).await;
    assert_eq!(b.live(), "v3");
    nothing(&b, Goal::Redo).await;
    undo(&b).await;
    assert_eq!(b.live(), "v2");
    // What is new leaves nothing to do again.
    b.deploy("v4").await;
    nothing(&b, Goal::Redo).await;
    undo(&b).await;
    assert_eq!(b.live(), "v2");
}

#[tokio::test]
async fn a_rollback_by_hand_is_a_change_that_is_undone() {
    let b = Bench::new();
    for version in ["v1", "v2"] {
        b.deploy(version).await;
    }
    b.rollback(Goal::Previous).await.unwrap();
    assert_eq!(b.live(), "v1");
    undo(&b).await;
    assert_eq!(b.live(), "v2");
    undo(&b).await;
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn what_failed_and_what_changed_nothing_is_not_what_is_undone() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let again = Request::deploy(b.api.clone(), "v2", me());
    b.engine.run(again).await.unwrap().await.unwrap();
    let sick = Request::deploy(b.api.clone(), "sick", me());
    b.engine.run(sick).await.unwrap().await.unwrap();
    assert_eq!(b.live(), "v2");
    undo(&b).await;
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn a_plan_says_which_change_it_undoes() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let plan = b
        .engine
        .preview(&Request::undo(b.api.clone(), me()))
        .await
        .unwrap();
    let text = plan.to_string();
    let last = b.engine.list(&Query::workload(&b.api)).await.unwrap();
    let last = last.deployments[0].id();
    assert!(text.contains(&format!("undoes:     {last}")), "{text}");
    assert!(
        text.contains("what was live before the last change"),
        "{text}"
    );
}

#[tokio::test]
async fn all_of_a_state_comes_back_and_not_the_artifact_alone() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().unit = Some("MemoryMax=2G".into());
    b.deploy("v1").await;
    let unit = |d: &Deployment| d.release().unwrap().facets().contains_key("unit");
    let undone = undo(&b).await;
    assert!(undone.succeeded(), "{}", undone.summary());
    assert!(
        !unit(undone.deployment()),
        "today's unit is not that state's"
    );
}
