//! When retention is applied.

use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::faults::ManualClock;

use crate::support::{Setup, api, me};

const MINUTE: i64 = 60 * 1_000_000;
/// More records than a plan reads at first.
const KEPT: usize = 70;

#[tokio::test]
async fn what_is_live_deployed_again_and_again_read_the_whole_history_each_time() {
    let clock = ManualClock::default();
    let setup = Setup::new().await.clock(&clock);
    setup.target.now_in_place();
    let b = setup.with(|w| {
        let (records, artifacts) = (Keep::new(KEPT, 0), Keep::new(2, 0));
        w.policy(Policy::default().retention(Retention::new(records, artifacts)))
    });
    let again = async || {
        let report = b.deploy("same").await;
        assert!(report.deployment().operation().is_in_place());
        b.rows().await.len()
    };
    for n in 0..KEPT + 5 {
        b.deploy(&format!("v{n}")).await;
    }
    b.deploy("same").await;
    assert_eq!(b.rows().await.len(), KEPT);
    assert_eq!(again().await, KEPT + 1, "left for later");
    assert_eq!(again().await, KEPT + 2, "left for later");
    clock.set(61 * MINUTE);
    assert_eq!(again().await, KEPT, "once in the next hour");
    clock.set(62 * MINUTE);
    assert_eq!(again().await, KEPT + 1, "left for later");
    // What brings something new is not left.
    let report = b.deploy("other").await;
    assert!(!report.deployment().operation().is_in_place());
    assert_eq!(b.rows().await.len(), KEPT);
    b.at_rest().await;
}

#[tokio::test]
async fn another_policy_is_applied_by_the_next_deployment() {
    let setup = Setup::new().await;
    setup.target.now_in_place();
    let with = |records| {
        setup.with(move |w| {
            let keep = Keep::new(records, 0);
            w.policy(Policy::default().retention(Retention::new(keep, Keep::new(2, 0))))
        })
    };
    let b = with(KEPT);
    for n in 0..KEPT + 5 {
        b.deploy(&format!("v{n}")).await;
    }
    b.deploy("same").await;
    let fewer = with(KEPT - 2);
    fewer.deploy("same").await;
    assert_eq!(fewer.rows().await.len(), KEPT - 2);
}

#[tokio::test]
async fn each_redeploy_of_what_is_live_was_kept_for_the_sake_of_the_release_before() {
    for in_place in [true, false] {
        let setup = Setup::new().await;
        if in_place {
            setup.target.now_in_place();
        }
        let b = setup.with(|w| {
            let (records, artifacts) = (Keep::new(5, 0), Keep::new(2, 0));
            w.policy(Policy::default().retention(Retention::new(records, artifacts)))
        });
        let before = b.deploy("before").await;
        for _ in 0..20 {
            b.deploy("same").await;
        }
        let rows = b.rows().await;
        assert_eq!(rows.len(), 5 + 1, "in place: {in_place}");
        let request = Request::rollback(api(), Goal::Previous, me());
        let plan = b.engine.preview(&request).await.unwrap();
        assert_eq!(plan.rollback_point(), Some(before.deployment().id()));
        b.at_rest().await;
    }
}
