//! What a crash may not lose, repeat or leave half done.

use rollback_core::error::StoreErrorKind;
use rollback_core::history::Liveness;
use rollback_core::policy::{AfterRollback, Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::faults::Side;

use crate::support::{Log, Setup, Task, api, me, on_every_store, to};

#[tokio::test]
async fn what_follows_a_rollback_follows_it_after_a_crash_too() {
    on_every_store(async |setup| {
        let policy = Policy::default().after_rollback(AfterRollback::Hold);
        let engine = || setup.with(|w| w.policy(policy.clone()));
        // A rollback makes nine durable writes.
        for (n, side) in (1..=10).flat_map(|n| [(n, Side::Before), (n, Side::After)]) {
            let b = engine();
            let good = b.deploy(&format!("v{n}")).await;
            let skipped = b.deploy(&format!("w{n}")).await;
            let request = Request::rollback(api(), to(&good), me()).mark_skipped_bad();
            setup.trap.set(n, side, StoreErrorKind::ReadOnly);
            let ended = b.run(request).await;
            setup.trap.clear();
            drop(b);
            let b = engine();
            for recovered in b.engine.recover().await.unwrap() {
                recovered.result.unwrap();
            }
            b.at_rest().await;
            let newest = b.rows().await[0].deployment.clone();
            let rolled_back = newest.trigger().restores() == Some(good.deployment().id())
                && newest.outcome() == Some(Outcome::Succeeded);
            let state = b.state().await;
            let skipped = b.engine.get(skipped.deployment().id()).await.unwrap();
            let bad = skipped.annotations().bad.is_some();
            let follows = (state.hold.is_some(), bad);
            assert_eq!(
                follows,
                (rolled_back, rolled_back),
                "{n} {side:?}: {ended:?}"
            );
            b.engine.lift_hold(&api(), &me()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn with_nothing_kept_a_crash_never_leaves_an_automatic_rollback_stuck() {
    on_every_store(async |setup| {
        let none = Keep::new(0, 0);
        let policy = Policy::default()
            .rollback(RollbackMode::Auto)
            .retention(Retention::new(none, none));
        let engine = || setup.with(|w| w.policy(policy.clone()));
        engine().deploy("v0").await;
        // Both together make seventeen.
        for (n, side) in (1..=18).flat_map(|n| [(n, Side::Before), (n, Side::After)]) {
            let b = engine();
            setup.trap.set(n, side, StoreErrorKind::ReadOnly);
            let broken = Request::deploy(api(), format!("broken{n}"), me());
            let _ = b.run(broken).await;
            setup.trap.clear();
            let b = engine();
            for recovered in b.engine.recover().await.unwrap() {
                let report = recovered.result.unwrap();
                assert_ne!(report.outcome(), Outcome::Degraded, "{n} {side:?}");
            }
            b.at_rest().await;
            assert_eq!(b.live(), format!("v{}", n - 1), "{n} {side:?}");
            if side == Side::After {
                b.deploy(&format!("v{n}")).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_release_task_is_never_run_twice_and_one_in_doubt_is_named() {
    on_every_store(async |setup| {
        let log = Log::default();
        let engine = || {
            setup.with(|w| {
                w.task(Task {
                    name: "migrate",
                    log: log.clone(),
                    on: vec![TriggerKind::Deploy],
                })
            })
        };
        engine().deploy("v1").await;
        // The writes: begin, prepare, prepared, task; then that it is done, or what follows.
        for (nth, in_doubt) in [(5, true), (6, false)] {
            log.take();
            let reference = format!("v{nth}");
            setup.trap.set(nth, Side::Before, StoreErrorKind::ReadOnly);
            let died = engine()
                .run(Request::deploy(api(), reference.clone(), me()))
                .await;
            died.unwrap_err();
            let b = engine();
            let recovered = b.engine.recover().await.unwrap();
            let report = recovered[0].result.as_ref().unwrap();
            assert_eq!(report.outcome(), Outcome::Interrupted);
            assert_eq!(report.deployment().task_in_doubt().is_some(), in_doubt);
            let said = report
                .summary()
                .contains("migrate was begun and may have run");
            assert_eq!(said, in_doubt, "{}", report.summary());
            assert_eq!(log.take(), [format!("migrate {reference}")], "once");
            assert_eq!(b.live(), "v1");
            b.at_rest().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_plan_is_not_carried_out_once_its_target_is_marked_bad() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    let plan = b.plan_back(to(&v1)).await.unwrap();
    let why = "leaks".parse().unwrap();
    let id = v1.deployment().id();
    b.engine.mark_bad(id, why, &me()).await.unwrap();
    if let Ok(run) = b.engine.execute(plan).await {
        let report = run.await.unwrap();
        assert!(!report.succeeded(), "{}", report.summary());
    }
    assert_eq!(b.live(), "v2");
}

#[tokio::test]
async fn a_plan_is_not_carried_out_once_its_target_is_forgotten() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    b.deploy("v3").await;
    let plan = b.plan_back(to(&v1)).await.unwrap();
    let none = Keep::new(0, 0);
    let rules = Retention::new(none, none);
    let gone = b.engine.clean_up(&api(), Some(rules), &me()).await.unwrap();
    assert!(gone.forgotten.contains(v1.deployment().id()));
    if let Ok(run) = b.engine.execute(plan).await {
        let report = run.await.unwrap();
        assert!(!report.succeeded(), "{}", report.summary());
    }
    assert_eq!(b.live(), "v3");
}

#[tokio::test]
async fn a_request_dropped_during_begin_left_a_deployment_that_nobody_runs() {
    on_every_store(async |setup| {
        let b = setup.with(|w| w);
        for n in 0..40_u64 {
            let request = Request::deploy(api(), format!("v{n}"), me());
            // Given up sooner or later: before it was begun, meanwhile, or when it ran.
            let patience = std::time::Duration::from_micros(n * 100);
            let _ = tokio::time::timeout(patience, b.engine.run(request)).await;
            while let Some(in_flight) = b.state().await.in_flight {
                assert_eq!(in_flight.liveness, Liveness::Alive, "{n}: nobody runs it");
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
        b.at_rest().await;
    })
    .await;
}
