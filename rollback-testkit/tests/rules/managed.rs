//! A platform that rolls releases out by itself: slow, watched, cancelled, raced, and left half-way.

use std::time::Duration;

use rollback_core::backend::Live;
use rollback_core::context::RolloutProgress;
use rollback_core::drift::Drift;
use rollback_core::engine::{Run, Workload};
use rollback_core::event::Cause;
use rollback_core::policy::Deadlines;
use rollback_core::prelude::*;

use crate::support::{Bench, Setup, api, me};

async fn managed() -> Setup {
    Setup::new().await.managed()
}

/// Deploys what gets nowhere, and waits until it is being rolled out.
async fn rolling(b: &Bench, digest: &str) -> Run {
    b.setup.target.stall(digest);
    let run = b.engine.deploy(&api(), digest, me()).await.unwrap();
    while run.progress().rollout.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    run
}

#[tokio::test]
async fn a_slow_rollout_says_how_far_it_is_and_is_nobodys_hand() {
    let b = managed().await.engine();
    b.deploy("v1").await;
    let run = rolling(&b, "v2").await;
    let progress = run.progress();
    assert_eq!(progress.phase.to_string(), "switching");
    assert_eq!(progress.rollout, Some(RolloutProgress::new(3, 0, 0)));
    assert_eq!(progress.line, "0 of 3 ready, 0 available");
    let health = b.engine.health(&api()).await.unwrap();
    assert_eq!(health.live.as_deref(), Some("v2"));
    let rolling = matches!(health.drift, Drift::RollingOut { .. });
    assert!(rolling && !health.drift.is_drift(), "{:?}", health.drift);
    b.setup.target.go_on("v2");
    let report = run.await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(b.live(), "v2");
    b.at_rest().await;
}

#[tokio::test]
async fn a_rollout_that_hung_could_not_be_cancelled() {
    let b = managed().await.engine();
    b.deploy("v1").await;
    let run = rolling(&b, "v2").await;
    run.cancel();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Cancelled);
    assert_eq!(b.live(), "v1");
    b.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_has_a_deadline_of_its_own() {
    let deadlines = Deadlines::default()
        .switch(Duration::from_secs(60 * 60))
        .rollout(Duration::from_secs(60));
    let policy = Policy::default().deadlines(deadlines);
    let b = managed().await.with(|w| w.policy(policy));
    b.deploy("v1").await;
    b.setup.target.stall("v2");
    let report = b.deploy("v2").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let cause = report.deployment().cause();
    assert!(matches!(cause, Some(Cause::StepFailed { .. })), "{cause:?}");
    assert_eq!(b.live(), "v1");
    b.at_rest().await;
}

#[test]
fn a_rollout_whose_engine_died_is_waited_for_by_recovery() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    for stays in ["v2", "v1"] {
        let (first, second) = (runtime(), runtime());
        let setup = first.block_on(managed());
        first.block_on(async {
            let b = setup.engine();
            b.deploy("v1").await;
            let _run = rolling(&b, "v2").await;
        });
        drop(first);
        second.block_on(async {
            let b = setup.engine();
            match stays {
                "v2" => setup.target.go_on("v2"),
                // Somebody has undone it by hand meanwhile: what is wanted now is no end of it.
                _ => {
                    setup.target.put_live_by_hand("v1");
                }
            }
            for recovered in b.engine.recover().await.unwrap() {
                let report = recovered.result.unwrap();
                let done = stays == "v2";
                assert_eq!(report.succeeded(), done, "{}", report.summary());
            }
            assert_eq!(b.live(), stays);
            if stays == "v2" {
                b.at_rest().await;
            }
        });
    }
}

#[tokio::test]
async fn what_somebody_rolls_out_by_hand_is_not_taken_for_the_deployments_own() {
    let b = managed().await.with(Workload::auto_rollback);
    b.deploy("v1").await;
    let by_hand = b.setup.target.roll_out_by_hand("other");
    let plan = b.plan_back(Goal::LastHealthy).await;
    let request = Request::deploy(api(), "v2", me());
    let plan = plan.or(b.engine.preview(&request).await).unwrap();
    let Drift::Replaced { by } = plan.drift() else {
        panic!("{:?}", plan.drift())
    };
    assert_eq!(by, "other");
    assert_eq!(plan.from().instance().map(|i| &i.handle), Some(&by_hand));
    let e = b.engine.adopt(&api(), me()).await.unwrap_err();
    assert!(e.to_string().contains("is being rolled out"), "{e}");
}

#[tokio::test]
async fn a_lost_race_while_going_back_left_a_workload_degraded() {
    let b = managed().await.engine();
    b.deploy("v1").await;
    let run = rolling(&b, "v2").await;
    // More often than what is refused is tried.
    b.setup.target.race(5);
    run.cancel();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Cancelled);
    assert_eq!(b.live(), "v1");
    b.at_rest().await;
}

#[tokio::test]
async fn a_lost_race_on_the_way_forward_is_run_again() {
    let b = managed().await.engine();
    b.setup.target.race(4);
    assert!(b.deploy("v1").await.succeeded());
    assert_eq!(b.live(), "v1");
    b.at_rest().await;
}

#[test]
fn what_is_rolled_out_is_what_recovery_converges_on() {
    let instance = |name: &str| {
        let release = Release::new("fake".parse().unwrap(), Artifact::new(name, name));
        Instance::new(release, Handle::new(name))
    };
    let rolling = |to: &str| {
        let to = Sighting::new(instance(to), Running::Yes);
        let progress = RolloutProgress::new(3, 1, 0);
        let rolling = rollback_core::backend::RollingOut::new(to, Some(instance("x")), progress);
        Observation::new(Live::RollingOut(Box::new(rolling)), None)
    };
    let op = Operation::new(
        api(),
        "deploy-20260315-143022-a3f2".parse().unwrap(),
        rollback_core::history::Sequence(2),
        End::Placed(instance("v1")),
        End::Placed(instance("v2")),
    );
    let foreign = |to: &str| rollback_core::recover::is_foreign(&op, None, &rolling(to));
    assert!(!foreign("v1") && !foreign("v2"));
    assert!(foreign("v3"), "somebody wants another release");
}
