//! Recalled artifacts, and the floor: no automatic rollback goes there, and no other unless forced.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::engine::{AutomaticRollback, CanRollBack, NotAttempted};
use rollback_core::id::GuardName;
use rollback_core::points::NoPoint;
use rollback_core::prelude::*;
use support::{Bench, me};

async fn recall(b: &Bench, artifact: &str) {
    let why = "it leaks".parse().unwrap();
    let on = b.engine.recall(artifact, why, &me()).await.unwrap();
    assert_eq!(on, std::slice::from_ref(&b.api));
}

/// Why each deployment, newest first, is no rollback point.
async fn why_not(b: &Bench) -> Vec<Option<NoPoint>> {
    let rows = b
        .engine
        .history(&Query::workload(&b.api))
        .await
        .unwrap()
        .rows;
    rows.into_iter().map(|row| row.no_rollback_point).collect()
}

#[tokio::test(start_paused = true)]
async fn an_automatic_rollback_went_to_what_was_recalled() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.deploy("v2").await;
    recall(&b, "v2").await;
    let report = b.deploy("sick-v3").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.live(), "v1");
    // Nothing else is left: what is sick stays, and it is said.
    recall(&b, "v1").await;
    b.deploy("v4").await;
    recall(&b, "v4").await;
    let report = b.deploy("sick-v5").await;
    let reason = AutomaticRollback::NotAttempted {
        reason: NotAttempted::NoRollbackPoint,
    };
    assert_eq!(report.automatic_rollback(), &reason);
}

#[tokio::test]
async fn what_is_recalled_is_gone_to_only_by_force() {
    let b = Bench::new();
    let first = b.deploy("v1").await;
    let second = b.deploy("v2").await;
    b.deploy("v3").await;
    recall(&b, "v2").await;
    // Bare: passed over, and said.
    let CanRollBack::Yes(plan) = b.engine.can_roll_back(&b.api, me()).await else {
        panic!("v1 is left")
    };
    assert_eq!(plan.rollback_point(), Some(first.deployment().id()));
    assert!(
        plan.to_string().contains("is recalled: it leaks (ada)"),
        "{plan}"
    );
    let why = why_not(&b).await;
    assert!(matches!(why[1], Some(NoPoint::Recalled { .. })), "{why:?}");
    assert_eq!(why[2], None);
    // By name, by a deploy and by a redeploy: refused by the guard, unless it is forced.
    let id = second.deployment().id().clone();
    for request in [
        Request::rollback(b.api.clone(), Goal::To(id.clone()), me()),
        Request::deploy(b.api.clone(), "v2", me()),
        Request::redeploy(b.api.clone(), id, me()),
    ] {
        let e = b.engine.preview(&request).await.unwrap_err();
        assert!(
            matches!(e.refusal(), Some(Refusal::Guard { guard, .. }) if *guard == GuardName::recall()),
            "{e}"
        );
        let plan = b
            .engine
            .preview(&request.force(GuardName::recall()))
            .await
            .unwrap();
        assert!(
            plan.to_string()
                .contains("forced: the artifact is recalled"),
            "{plan}"
        );
    }
    let bare = Request::rollback(b.api.clone(), Goal::LastHealthy, me());
    let forced = b.engine.run(bare.force(GuardName::recall())).await.unwrap();
    assert!(forced.await.unwrap().succeeded());
    assert_eq!(b.live(), "v2");
    // Taken back.
    assert_eq!(b.engine.clear_recall("v2", &me()).await.unwrap().len(), 1);
    assert!(b.engine.clear_recall("v2", &me()).await.unwrap().is_empty());
}

#[tokio::test]
async fn below_the_floor_is_gone_only_by_force() {
    let b = Bench::new();
    let first = b.deploy("v1").await;
    let second = b.deploy("v2").await;
    b.deploy("v3").await;
    let why = || "the schema was split".parse().unwrap();
    let floor = second.deployment().id();
    b.engine.set_floor(floor, why(), &me()).await.unwrap();
    let why_not = why_not(&b).await;
    assert_eq!(why_not[1], None, "the floor itself is not below it");
    assert!(
        matches!(why_not[2], Some(NoPoint::BelowFloor { .. })),
        "{why_not:?}"
    );
    let id = first.deployment().id().clone();
    let to = || Request::rollback(b.api.clone(), Goal::To(id.clone()), me());
    let e = b.engine.preview(&to()).await.unwrap_err();
    assert!(e.to_string().contains("guard floor refuses"), "{e}");
    let run = b.engine.run(to().force(GuardName::floor())).await.unwrap();
    assert!(run.await.unwrap().succeeded());
    // What was forced there is below the floor still, though its record is above it.
    b.deploy("v4").await;
    let CanRollBack::Yes(plan) = b.engine.can_roll_back(&b.api, me()).await else {
        panic!("v3 is left")
    };
    assert_eq!(plan.release().unwrap().artifact().digest, "v3");
    b.engine.clear_floor(&b.api, &me()).await.unwrap();
    let state = b.engine.state(&b.api).await.unwrap();
    assert_eq!((state.floor, state.amendments.len()), (None, 2));
}

#[tokio::test]
async fn a_floor_on_a_rollback_locked_its_own_release_out() {
    let b = Bench::armed();
    let first = b.deploy("v1").await;
    b.deploy("v2").await;
    let back = b.rollback(Goal::LastHealthy).await.unwrap();
    let floor = back.deployment().id();
    let why = "the schema was split".parse().unwrap();
    b.engine.set_floor(floor, why, &me()).await.unwrap();
    // What is live is not below the floor, nor is the deployment that first brought it.
    let report = b.deploy("sick-v3").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.live(), "v1");
    let id = first.deployment().id().clone();
    let again = Request::rollback(b.api.clone(), Goal::To(id), me()).reapply();
    b.engine.preview(&again).await.unwrap();
    let why = why_not(&b).await;
    assert!(
        matches!(why[3], Some(NoPoint::BelowFloor { .. })),
        "v2 came before it: {why:?}"
    );
}

#[tokio::test]
async fn what_is_no_digest_is_not_recalled() {
    let b = Bench::new();
    b.deploy("v1").await;
    for artifact in ["", &"x".repeat(600)] {
        let why = "it leaks".parse().unwrap();
        let e = b.engine.recall(artifact, why, &me()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidRequest, "{e}");
    }
    assert!(b.engine.state(&b.api).await.unwrap().recalls.is_empty());
}

#[tokio::test]
async fn what_was_deployed_once_more_after_the_floor_was_set_stayed_below_it() {
    let b = Bench::armed();
    let first = b.deploy("v1").await;
    let second = b.deploy("v2").await;
    let why = "the schema was split".parse().unwrap();
    let floor = second.deployment().id();
    b.engine.set_floor(floor, why, &me()).await.unwrap();
    let to = Goal::To(first.deployment().id().clone());
    let back = Request::rollback(b.api.clone(), to, me()).force(GuardName::floor());
    let run = b.engine.run(back).await.unwrap();
    assert!(run.await.unwrap().succeeded());
    // A person has deployed v1 under the schema of today, and it is healthy.
    let again = b.deploy("v1").await;
    let report = b.deploy("sick-v3").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.live(), "v1");
    let AutomaticRollback::Attempted { deployment, .. } = report.automatic_rollback() else {
        panic!("v1 is live again")
    };
    assert_eq!(
        deployment.trigger().restores(),
        Some(again.deployment().id())
    );
}
