//! Where a rollback goes. Names say the rule, or what users asked for.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use rollback_core::engine::{AutomaticRollback, NotAttempted};
use rollback_core::prelude::*;
use support::{Bench, me};

#[tokio::test]
async fn bare_rollback_goes_to_the_last_healthy_release_not_to_the_one_before() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("sick2").await;
    assert_eq!(b.live(), "sick2", "automatic rollback is not armed");
    b.deploy("sick3").await;
    let report = b.rollback(Goal::LastHealthy).await.unwrap();
    assert!(report.succeeded());
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn automatic_rollback_puts_the_last_healthy_release_back_and_says_so() {
    let b = Bench::armed();
    let v1 = b.deploy("v1").await;
    let report = b.deploy("sick2").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let AutomaticRollback::Attempted {
        deployment,
        to_last_healthy,
        recovered,
    } = report.automatic_rollback()
    else {
        panic!("attempted: {:?}", report.automatic_rollback())
    };
    assert!(*recovered && *to_last_healthy);
    assert_eq!(deployment.trigger().restores(), Some(v1.deployment().id()));
    assert!(matches!(deployment.actor(), Actor::System { .. }));
    assert_eq!(b.live(), "v1");
    assert_eq!(report.live().known(), Some(deployment.id()));
    let stored = b.engine.get(report.deployment().id()).await.unwrap();
    assert_eq!(stored.outcome(), Some(Outcome::FailedAndRolledBack));
    assert!(report.summary().contains("The former release serves again"));
}

#[tokio::test]
async fn a_first_deploy_that_fails_has_no_rollback_point_and_is_named_as_live() {
    let b = Bench::armed();
    let report = b.deploy("sick1").await;
    assert_eq!(report.outcome(), Outcome::Failed);
    assert_eq!(
        *report.automatic_rollback(),
        AutomaticRollback::NotAttempted {
            reason: NotAttempted::NoRollbackPoint
        }
    );
    assert_eq!(report.live().known(), Some(report.deployment().id()));
    assert_eq!(b.live(), "sick1");
}

#[tokio::test]
async fn the_first_adoption_is_a_target_too() {
    let b = Bench::armed();
    let by_hand = Instance::new(
        Release::new("shelf".parse().unwrap(), Artifact::new("found", "found")),
        Handle::new("by-hand"),
    );
    b.shelf.0.lock().unwrap().live = Some(by_hand.clone());
    let adopted = b.adopt().await;
    assert!(adopted.succeeded());
    assert!(adopted.verdict().is_good());
    let report = b.deploy("sick2").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.shelf.0.lock().unwrap().live, Some(by_hand));
    let again = b.engine.adopt(&b.api, me()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyLive);
}

#[tokio::test]
async fn a_rollback_that_fails_its_gate_is_degraded_and_does_not_double_back() {
    let b = Bench::armed();
    let sick = b.deploy("sick1").await;
    b.deploy("v2").await;
    let report = b
        .rollback(Goal::To(sick.deployment().id().clone()))
        .await
        .unwrap();
    assert_eq!(report.outcome(), Outcome::Degraded);
    assert_eq!(
        *report.automatic_rollback(),
        AutomaticRollback::NotAttempted {
            reason: NotAttempted::WasARollback
        }
    );
    assert_eq!(b.live(), "sick1");
    assert!(
        b.deploy("v3").await.succeeded(),
        "a later deployment leaves that state"
    );
}

#[tokio::test]
async fn previous_follows_provenance_and_does_not_toggle() {
    let b = Bench::new();
    let d1 = b.deploy("v1").await;
    b.deploy("v2").await;
    b.deploy("v3").await;
    b.rollback(Goal::Previous).await.unwrap();
    assert_eq!(b.live(), "v2");
    b.rollback(Goal::Previous).await.unwrap();
    assert_eq!(b.live(), "v1");
    let e = b.rollback(Goal::Previous).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::NoRollbackPoint { .. })),
        "{e}"
    );
    let e = b
        .rollback(Goal::To(d1.deployment().id().clone()))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyLive);
}

#[tokio::test]
async fn nothing_is_deleted_by_rolling_back_so_rolling_forward_works() {
    let b = Bench::new();
    b.deploy("v1").await;
    let v2 = b.deploy("v2").await;
    b.rollback(Goal::Previous).await.unwrap();
    let forward = b
        .rollback(Goal::To(v2.deployment().id().clone()))
        .await
        .unwrap();
    assert!(forward.succeeded());
    assert_eq!(b.live(), "v2");
}

#[tokio::test]
async fn before_undoes_one_deployment_and_as_of_goes_to_a_time() {
    let b = Bench::new();
    let d1 = b.deploy("v1").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let d2 = b.deploy("v2").await;
    b.rollback(Goal::Before(d2.deployment().id().clone()))
        .await
        .unwrap();
    assert_eq!(b.live(), "v1");
    b.deploy("v3").await;
    let then = d1.deployment().settled_at().unwrap();
    b.rollback(Goal::AsOf(then)).await.unwrap();
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn an_id_of_another_workload_is_not_found() {
    let b = Bench::new();
    b.deploy("v1").await;
    let id = "deploy-20200101-000000-abcd".parse().unwrap();
    let e = b.rollback(Goal::To(id)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_plan_that_the_world_overtook_is_stale() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let plan = b
        .engine
        .preview(&Request::rollback(b.api.clone(), Goal::Previous, me()))
        .await
        .unwrap();
    b.deploy("v3").await;
    let e = b.engine.execute(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Stale);
    assert_eq!(b.live(), "v3", "nothing was done");
}

#[tokio::test]
async fn preview_changes_nothing_and_says_what_execute_does() {
    let b = Bench::new();
    let d1 = b.deploy("v1").await;
    let d2 = b.deploy("v2").await;
    let request = Request::rollback(b.api.clone(), Goal::LastHealthy, me());
    let plan = b.engine.preview(&request).await.unwrap();
    assert_eq!(b.live(), "v2");
    assert_eq!(plan.rollback_point(), Some(d1.deployment().id()));
    assert_eq!(plan.skipped(), [d2.deployment().id().clone()]);
    assert!(
        plan.warnings()
            .iter()
            .any(|w| matches!(w, Warning::NotRestored { .. }))
    );
    let text = plan.to_string();
    assert!(text.contains("Roll api@web-1 back to v1") && text.contains("artifact v2 -> v1"));
    let report = b.engine.execute(plan.clone()).await.unwrap().await.unwrap();
    assert_eq!(report.deployment().id(), &plan.deployment().id);
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn a_pruned_target_is_passed_over_and_named() {
    let b = Bench::new();
    b.deploy("v1").await;
    let v2 = b.deploy("v2").await;
    b.deploy("v3").await;
    b.shelf.0.lock().unwrap().gone.insert("v2".into());
    let request = Request::rollback(b.api.clone(), Goal::LastHealthy, me());
    let plan = b.engine.preview(&request).await.unwrap();
    assert_eq!(plan.release().unwrap().artifact().digest, "v1");
    assert_eq!(plan.passed_over()[0].deployment, *v2.deployment().id());
    let e = b
        .rollback(Goal::To(v2.deployment().id().clone()))
        .await
        .unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::NotARollbackPoint { .. })),
        "{e}"
    );
}

#[tokio::test]
async fn a_release_marked_bad_is_never_a_target() {
    let b = Bench::new();
    b.deploy("v1").await;
    let v2 = b.deploy("v2").await;
    b.deploy("v3").await;
    let (id, why) = (v2.deployment().id(), "leaks".parse().unwrap());
    b.engine.mark_bad(id, why, &me()).await.unwrap();
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn without_any_verdict_the_newest_earlier_release_is_taken_with_a_warning() {
    let b = Bench::new();
    b.deploy("mute1").await;
    b.deploy("mute2").await;
    let request = Request::rollback(b.api.clone(), Goal::LastHealthy, me());
    let plan = b.engine.preview(&request).await.unwrap();
    assert_eq!(plan.release().unwrap().artifact().digest, "mute1");
    assert!(
        plan.warnings()
            .iter()
            .any(|w| matches!(w, Warning::NotKnownHealthy { .. }))
    );
}

#[tokio::test]
async fn when_all_earlier_ones_failed_there_is_no_last_healthy() {
    let b = Bench::new();
    b.deploy("sick1").await;
    b.deploy("sick2").await;
    let e = b.rollback(Goal::LastHealthy).await.unwrap_err();
    let Some(Refusal::NoRollbackPoint { passed_over, .. }) = e.refusal() else {
        panic!("{e}")
    };
    assert_eq!(passed_over.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_automatic_rollback_that_could_not_put_the_failed_release_away_had_not_recovered() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().retire_fails = true;
    let report = b.deploy("sick2").await;
    let AutomaticRollback::Attempted {
        deployment,
        recovered,
        ..
    } = report.automatic_rollback()
    else {
        panic!("attempted: {:?}", report.automatic_rollback())
    };
    assert!(recovered, "v1 serves");
    assert_eq!(deployment.outcome(), Some(Outcome::Degraded));
    assert_eq!(b.live(), "v1");
    let failed = b.engine.get(report.deployment().id()).await.unwrap();
    assert_eq!(failed.rolled_back_by(), Some(deployment.id()));
    assert_eq!(failed.outcome(), Some(Outcome::FailedAndRolledBack));
}

#[tokio::test]
async fn going_back_to_what_failed_its_gate_was_warned_of_as_if_nobody_had_looked() {
    let b = Bench::new();
    let v1 = b.deploy("v1").await;
    let sick = b.deploy("sick2").await;
    b.deploy("v3").await;
    let warned = async |request: Request| -> Vec<String> {
        let plan = b.engine.preview(&request).await.unwrap();
        plan.warnings().iter().map(ToString::to_string).collect()
    };
    let id = sick.deployment().id().clone();
    let failed = format!("{id} failed its health gate: sick2 is sick");
    let back = Request::rollback(b.api.clone(), Goal::To(id), me());
    assert!(warned(back).await.contains(&failed));
    // A deploy that goes there without saying so.
    let again = Request::deploy(b.api.clone(), "sick2", me());
    assert!(warned(again).await.contains(&failed));
    let good = Goal::To(v1.deployment().id().clone());
    let good = warned(Request::rollback(b.api.clone(), good, me())).await;
    assert!(good.iter().all(|w| !w.contains("failed its health gate")));
}
