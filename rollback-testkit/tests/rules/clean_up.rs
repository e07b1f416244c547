//! Cleaning up by hand.

use rollback_core::error::StoreErrorKind;
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::faults::{ManualClock, Side};

use crate::support::{Door, Setup, api, me, on_every_store, to};

fn newest(records: usize, artifacts: usize) -> Retention {
    Retention::new(Keep::new(records, 0), Keep::new(artifacts, 0))
}

#[tokio::test]
async fn the_run_is_what_the_dry_run_said_and_the_dry_run_does_nothing() {
    on_every_store(async |setup| {
        let b = setup.engine();
        let mut reports = Vec::new();
        for n in 1..=6 {
            reports.push(b.deploy(&format!("v{n}")).await);
        }
        let ids = |range: std::ops::Range<usize>| {
            let ids = reports[range].iter().rev();
            ids.map(|r| r.deployment().id().clone()).collect::<Vec<_>>()
        };
        let before = (b.rows().await, b.state().await);
        let rules = Some(newest(3, 2));
        let would = b.engine.preview_clean_up(&api(), rules).await.unwrap();
        assert_eq!(would.forgotten, ids(0..3));
        assert_eq!((would.kept, would.window.clone()), (3, ids(4..6)));
        assert_eq!((b.rows().await, b.state().await), before);
        let did = b.engine.clean_up(&api(), rules, &me()).await.unwrap();
        assert_eq!(did, would);
        assert_eq!(b.rows().await.len(), 3);
        for (n, report) in reports.iter().enumerate() {
            let handle = &report.deployment().instance().unwrap().handle;
            assert_eq!(setup.target.stands(handle), n >= 4, "v{}", n + 1);
        }
        let again = b.engine.clean_up(&api(), rules, &me()).await.unwrap();
        assert_eq!(again.forgotten, []);
        assert_eq!(again.window, did.window);
        b.at_rest().await;
        assert!(b.back(Goal::LastHealthy).await.unwrap().succeeded());
    })
    .await;
}

#[tokio::test]
async fn without_rules_the_policys_hold() {
    let clock = ManualClock::default();
    let day = 24 * 60 * 60 * 1_000_000_i64;
    let setup = Setup::new().await.clock(&clock);
    let b = setup.with(|w| {
        w.policy(Policy::default().retention(Retention::new(Keep::new(1, 30), Keep::new(1, 30))))
    });
    for (n, days) in [(1, 0), (2, 1), (3, 20), (4, 29)] {
        clock.set(days * day);
        b.deploy(&format!("v{n}")).await;
    }
    clock.set(29 * day);
    let would = b.engine.preview_clean_up(&api(), None).await.unwrap();
    assert_eq!(would.forgotten, [], "the older half is kept for its age");
    clock.set(31 * day);
    let did = b.engine.clean_up(&api(), None, &me()).await.unwrap();
    assert_eq!((did.forgotten.len(), did.kept), (2, 2));
}

#[tokio::test]
async fn while_a_deployment_runs_nothing_is_cleaned_up() {
    on_every_store(async |setup| {
        let door = Door::before("slow");
        let b = setup.with(|w| w.check(door.check()));
        for n in 1..=3 {
            b.deploy(&format!("v{n}")).await;
        }
        let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
        door.arrived().await;
        let rules = Some(newest(0, 0));
        let busy = b.engine.clean_up(&api(), rules, &me()).await.unwrap_err();
        assert_eq!(busy.conflict().unwrap().deployment, *run.id());
        assert_eq!(b.rows().await.len(), 4);
        door.open();
        assert!(run.await.unwrap().succeeded());
        b.engine.clean_up(&api(), rules, &me()).await.unwrap();
        assert_eq!(b.rows().await.len(), 2, "what is live, and last healthy");
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_process_left_is_recovered_first() {
    on_every_store(async |setup| {
        let b = setup.engine();
        let v1 = b.deploy("v1").await;
        setup.trap.set(5, Side::Before, StoreErrorKind::ReadOnly);
        let died = b.run(Request::deploy(api(), "v2", me())).await;
        died.unwrap_err();
        let did = b.engine.clean_up(&api(), Some(newest(0, 0)), &me()).await;
        assert_eq!(did.unwrap().kept, 2);
        assert_eq!(b.live(), "v2");
        b.at_rest().await;
        assert!(b.back(to(&v1)).await.unwrap().succeeded());
    })
    .await;
}
