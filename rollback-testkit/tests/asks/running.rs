//! Crashes, cancellations and locks.

use rollback_core::error::StoreErrorKind;
use rollback_core::history::Liveness;
use rollback_core::prelude::*;
use rollback_testkit::faults::Side;

use crate::support::{Door, api, id, me, on_every_store};

/// More durable writes than any request here makes.
const WRITES: usize = 26;

#[tokio::test]
async fn ask_02_never_stuck_pending_after_a_crash() {
    on_every_store(async |setup| {
        setup.armed().deploy("v0").await;
        let mut n = 0;
        for side in [Side::Before, Side::After] {
            for nth in 1..=WRITES {
                n += 1;
                let next = match n % 3 {
                    0 => Request::rollback(api(), Goal::LastHealthy, me()),
                    1 => Request::deploy(api(), format!("broken{n}"), me()),
                    _ => Request::deploy(api(), format!("v{n}"), me()),
                };
                let dies = setup.armed();
                // Not transient: the engine stops at once, as if it had been killed.
                setup.trap.set(nth, side, StoreErrorKind::ReadOnly);
                let died = dies.run(next.clone()).await;
                let sprung = !setup.trap.is_set();
                setup.trap.clear();
                assert_eq!(died.is_err(), sprung, "{next:?}: {died:?}");
                drop(dies);
                // Nobody cleans up, nobody calls `recover`: the next deployment just works.
                let b = setup.armed();
                let good = format!("v{n}a");
                assert!(b.deploy(&good).await.succeeded(), "after write {nth}");
                assert_eq!(b.live(), good);
                b.at_rest().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn ask_19_what_was_in_progress_when_the_process_died_is_settled() {
    on_every_store(async |setup| {
        let door = Door::before("slow");
        let web = id("web@fake");
        let mut next_door = setup.clone();
        next_door.target = rollback_testkit::fake::FakeTarget::replacing();
        let alive =
            next_door.built(|e| e.workload(next_door.workload(web.clone()).check(door.check())));
        let running = alive.engine.deploy(&web, "slow", me()).await.unwrap();
        door.arrived().await;

        let b = setup.engine();
        b.deploy("v1").await;
        // The fifth write is `Switched`: the new release is live, and nobody knows.
        setup.trap.set(5, Side::Before, StoreErrorKind::ReadOnly);
        let died = b.run(Request::deploy(api(), "v2", me())).await;
        died.unwrap_err();
        drop(b);
        let in_flight = setup.store.workload(&api()).await.unwrap().in_flight;
        assert_eq!(in_flight.unwrap().liveness, Liveness::Dead);

        let b = setup.built(|e| {
            e.workload(setup.workload(api()))
                .workload(next_door.workload(web.clone()))
        });
        let recovered = b.engine.recover().await.unwrap();
        assert_eq!(
            recovered.len(),
            1,
            "what lives is left alone: {recovered:?}"
        );
        let report = recovered[0].result.as_ref().unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        let events = report.deployment().events();
        let taken_over = |e: &TimedEvent| matches!(e.event, Event::TakenOver { .. });
        assert!(events.iter().any(taken_over), "the record says so");
        assert_eq!(b.live(), "v2");
        b.at_rest().await;

        door.open();
        assert!(running.await.unwrap().succeeded());
    })
    .await;
}

#[tokio::test]
async fn ask_12_rollback_while_a_deploy_runs() {
    on_every_store(async |setup| {
        let door = Door::before("slow");
        let b = setup.with(|w| w.check(door.check()));
        b.deploy("v1").await;
        b.deploy("v2").await;
        let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
        door.arrived().await;

        let busy = b.back(Goal::LastHealthy).await.unwrap_err();
        assert_eq!(busy.http_status(), 409);
        let conflict = busy.conflict().unwrap();
        assert_eq!(conflict.deployment, *run.id(), "it says what to cancel");
        assert_eq!(conflict.holder.pid, std::process::id());
        let phase = conflict.phase;
        assert_eq!(phase, rollback_core::deployment::Phase::Switched);
        b.engine.cancel(run.id(), &me()).await.unwrap();
        assert_eq!(run.await.unwrap().outcome(), Outcome::Cancelled);
        assert_eq!(b.live(), "v2", "as if it had never begun");
        assert!(b.back(Goal::LastHealthy).await.unwrap().succeeded());
        assert_eq!(b.live(), "v1");
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn ask_18_no_stale_lock_after_a_cancel() {
    on_every_store(async |setup| {
        let door = Door::before("slow");
        let b = setup.with(|w| w.check(door.check()));
        b.deploy("v1").await;
        // By the handle, by the engine, and by another process, which has only the store.
        let other = setup.engine();
        for way in 0..3 {
            let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
            door.arrived().await;
            match way {
                0 => run.cancel(),
                1 => b.engine.cancel(run.id(), &me()).await.unwrap(),
                _ => other.engine.cancel(run.id(), &me()).await.unwrap(),
            }
            let id = run.id().clone();
            assert_eq!(run.await.unwrap().outcome(), Outcome::Cancelled);
            b.at_rest().await;
            let late = b.engine.cancel(&id, &me()).await.unwrap_err();
            assert_eq!(late.http_status(), 404, "{late}");
            assert!(b.deploy(&format!("v{}", way + 2)).await.succeeded());
        }
        // And when the process dies while it is being cancelled.
        let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
        door.arrived().await;
        setup.trap.set(1, Side::Before, StoreErrorKind::ReadOnly);
        b.engine.cancel(run.id(), &me()).await.unwrap();
        run.await.unwrap_err();
        let next = setup.with(|w| w.check(door.check()));
        assert!(next.deploy("v9").await.succeeded());
        next.at_rest().await;
    })
    .await;
}
