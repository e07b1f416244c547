//! What is armed, what is kept, and that a configuration lasts.

use rollback_core::engine::{AutomaticRollback, NotAttempted, PolicySource};
use rollback_core::points::NoPoint;
use rollback_core::policy::{Keep, PolicyChange, Retention};
use rollback_core::prelude::*;
use rollback_testkit::fake::FakeTarget;

use crate::support::{Bench, Door, Setup, api, id, me, on_every_store, to};

fn mode(rollback: RollbackMode) -> Policy {
    Policy::default().rollback(rollback)
}

async fn configure(b: &Bench, policy: &Policy) {
    let done = b.engine.configure(&api(), Some(policy), &me()).await;
    done.unwrap();
}

#[tokio::test]
async fn off_captures_nothing_disarms_and_leaves_what_was_captured_before() {
    on_every_store(async |setup| {
        let b = setup.armed();
        let v1 = b.deploy("v1").await;
        configure(&b, &mode(RollbackMode::Off)).await;
        let v2 = b.deploy("v2").await;
        let v3 = b.deploy("v3").await;
        let bad = b.deploy("broken4").await;
        let reason = NotAttempted::NotArmed;
        let not = AutomaticRollback::NotAttempted { reason };
        assert_eq!(*bad.automatic_rollback(), not);
        assert_eq!(b.live(), "broken4");

        let kept = b.engine.clean_up(&api(), None, &me()).await.unwrap();
        let ids = [&bad, &v1].map(|r| r.deployment().id().clone());
        assert_eq!(kept.window, ids, "what is live, and what was captured");
        let running = [&v2, &v3].map(|r| r.deployment().instance().unwrap().clone());
        for instance in running {
            assert!(!setup.target.stands(&instance.handle), "{instance:?}");
        }
        let rows = b.rows().await;
        let why: Vec<_> = rows.iter().map(|r| r.no_rollback_point.clone()).collect();
        let off = Some(NoPoint::NotCaptured);
        assert_eq!(why, [Some(NoPoint::Live), off.clone(), off, None]);
        let no = b.back(to(&v2)).await.unwrap_err();
        assert_eq!(no.kind(), ErrorKind::InvalidRequest, "{no}");
        assert!(b.back(Goal::LastHealthy).await.unwrap().succeeded());
        assert_eq!(b.live(), "v1");
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn drift_under_off_is_undone_all_the_same() {
    let setup = Setup::new().await;
    let b = setup.with(|w| w.policy(mode(RollbackMode::Off)));
    let v1 = b.deploy("v1").await;
    let request = Request::rollback(api(), to(&v1), me()).reapply();
    let done = b.run(request).await;
    assert!(
        done.unwrap().succeeded(),
        "reapplying needs nothing captured"
    );
}

#[tokio::test]
async fn auto_rolls_back_and_record_leaves_it_to_a_person() {
    on_every_store(async |setup| {
        let b = setup.engine();
        b.deploy("v1").await;
        assert_eq!(b.deploy("broken2").await.outcome(), Outcome::Failed);
        assert_eq!(b.live(), "broken2");
        b.back(Goal::LastHealthy).await.unwrap();
        configure(&b, &mode(RollbackMode::Auto)).await;
        let report = b.deploy("broken3").await;
        assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
        assert_eq!(b.live(), "v1");
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    on_every_store(async |setup| {
        let b = setup.engine();
        let mut policy = mode(RollbackMode::Auto);
        policy.retention.records.days = 7;
        let before = b.state().await;
        let would = b.engine.preview_configure(&api(), Some(&policy)).await;
        let would = would.unwrap();
        let told = |c: &PolicyChange| (c.setting.clone(), c.from.clone(), c.to.clone());
        let changes: Vec<_> = would.changes.iter().map(told).collect();
        let change = |setting: &str, from: &str, to: &str| {
            (setting.to_owned(), from.to_owned(), to.to_owned())
        };
        let wanted = [
            change("retention.records.days", "90", "7"),
            change("rollback", "\"record\"", "\"auto\""),
        ];
        assert_eq!(changes, wanted);
        assert_eq!(b.state().await, before);
        assert_eq!(
            b.engine.rules(&api()).await.unwrap().source,
            PolicySource::Catalog
        );

        let did = b.engine.configure(&api(), Some(&policy), &me()).await;
        let mut did = did.unwrap();
        // Who set it is all that a dry run cannot say.
        assert_eq!(did.rules.set.take().unwrap().by, me());
        assert_eq!(did, would, "the run is what the dry run said");
        let again = b.engine.preview_configure(&api(), Some(&policy)).await;
        assert_eq!(again.unwrap().changes, [], "and now nothing differs");
    })
    .await;
}

#[tokio::test]
async fn a_configuration_lasts_across_engines_until_it_is_taken_back() {
    on_every_store(async |setup| {
        let policy = mode(RollbackMode::Auto);
        configure(&setup.engine(), &policy).await;
        let b = setup.engine();
        let rules = b.engine.rules(&api()).await.unwrap();
        assert_eq!(
            (rules.source, rules.policy),
            (PolicySource::Store, policy.clone())
        );
        let v1 = b.deploy("v1").await;
        assert_eq!(v1.deployment().opening().policy, policy);
        b.engine.configure(&api(), None, &me()).await.unwrap();
        let rules = setup.engine().engine.rules(&api()).await.unwrap();
        assert_eq!(rules.source, PolicySource::Catalog);
        assert_eq!(rules.policy.rollback, RollbackMode::Record);
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_cannot_hold_is_refused_and_nothing_is_set() {
    let setup = Setup::new().await;
    let b = setup.engine();
    let mut bad = Vec::new();
    let mut policy = Policy::default();
    policy.deadlines.gate = std::time::Duration::ZERO;
    bad.push(policy);
    bad.push(Policy::default().gate(Some(Gate::default().retries(0))));
    bad.push(Policy::default().restore(Some(Restore::Facets(Default::default()))));
    let before = b.state().await;
    for policy in bad {
        for result in [
            b.engine.preview_configure(&api(), Some(&policy)).await,
            b.engine.configure(&api(), Some(&policy), &me()).await,
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidRequest);
        }
    }
    assert_eq!(b.state().await, before);
}

#[tokio::test]
async fn a_deadline_shorter_than_the_catalogs_soak_is_refused() {
    use std::time::Duration;
    let soaking = Gate::default().soak(Duration::from_secs(60));
    let b = Setup::new().await.with(|w| w.gate(soaking));
    let mut policy = Policy::default();
    policy.deadlines.gate = Duration::from_secs(30);
    // No release could ever pass.
    let refused = b.engine.configure(&api(), Some(&policy), &me()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn which_workloads_are_armed_can_be_asked() {
    let setup = Setup::new().await;
    let mut next_door = setup.clone();
    next_door.target = FakeTarget::replacing();
    let b = setup.built(|e| {
        e.workload(setup.workload(api()).auto_rollback())
            .workload(next_door.workload(id("db@fake")))
            .workload(next_door.workload(id("web@fake")))
    });
    let policy = mode(RollbackMode::Auto);
    let web = id("web@fake");
    let set = b.engine.configure(&web, Some(&policy), &me()).await;
    set.unwrap();
    let mut armed = Vec::new();
    for state in b.engine.workloads().await.unwrap().states {
        let rules = b.engine.rules(&state.workload).await.unwrap();
        if rules.policy.rollback == RollbackMode::Auto {
            armed.push((state.workload.to_string(), rules.source));
        }
    }
    let expected = [
        ("api@fake".to_owned(), PolicySource::Catalog),
        ("web@fake".to_owned(), PolicySource::Store),
    ];
    assert_eq!(armed, expected);
}

#[tokio::test]
async fn what_is_in_flight_keeps_the_policy_it_began_with() {
    let door = Door::before("slow");
    let setup = Setup::new().await;
    let b = setup.with(|w| w.check(door.check()));
    let v1 = b.deploy("v1").await;
    let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
    door.arrived().await;
    let mut policy = mode(RollbackMode::Off);
    let none = Keep::new(0, 0);
    policy.retention = Retention::new(none, none);
    configure(&b, &policy).await;
    door.open();
    let report = run.await.unwrap();
    let own = &report.deployment().opening().policy;
    assert_eq!(*own, Policy::default());
    assert!(
        b.back(to(&v1)).await.unwrap().succeeded(),
        "v1 is still there"
    );
}
