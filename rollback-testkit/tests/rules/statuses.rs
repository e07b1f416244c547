//! Each kind of refusal has its HTTP status, and says what a program has to show.

use rollback_core::deployment::Phase;
use rollback_core::error::StoreErrorKind;
use rollback_core::prelude::*;
use rollback_testkit::faults::{ManualClock, Side, Verb, VerbFault};

use crate::support::{Door, Setup, api, id, me, text, to};

#[tokio::test]
async fn what_cannot_be_done_as_asked_is_400() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    b.engine
        .mark_bad(v1.deployment().id(), text("leaks"), &me())
        .await
        .unwrap();
    let no_reference = b.engine.deploy(&api(), "not a reference", me()).await;
    assert_eq!(no_reference.unwrap_err().http_status(), 400);
    let bad = b.back(to(&v1)).await.unwrap_err();
    assert_eq!(
        (bad.http_status(), bad.kind()),
        (400, ErrorKind::InvalidRequest)
    );
    let nowhere = b.back(Goal::LastHealthy).await.unwrap_err();
    assert_eq!(nowhere.http_status(), 400);
    let mut policy = Policy::default();
    policy.deadlines.switch = std::time::Duration::ZERO;
    let no_policy = b.engine.configure(&api(), Some(&policy), &me()).await;
    assert_eq!(no_policy.unwrap_err().http_status(), 400);
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    let unknown: DeploymentId = "deploy-20200101-000000-abcd".parse().unwrap();
    let (e, me) = (&b.engine, me());
    let statuses = [
        e.deploy(&api(), "missing", me.clone()).await.unwrap_err(),
        b.back(Goal::To(unknown.clone())).await.unwrap_err(),
        b.back(Goal::Before(unknown.clone())).await.unwrap_err(),
        e.get(&unknown).await.unwrap_err(),
        e.compare(v1.deployment().id(), &unknown).await.unwrap_err(),
        e.pin(&unknown, &me).await.unwrap_err(),
        e.redeploy(&unknown, me.clone()).await.unwrap_err(),
        e.cancel(&unknown, &me).await.unwrap_err(),
        e.cancel(v1.deployment().id(), &me).await.unwrap_err(),
        e.state(&id("web@fake")).await.unwrap_err(),
        e.clean_up(&id("web@fake"), None, &me).await.unwrap_err(),
        e.deploy(&id("web@fake"), "v1", me.clone())
            .await
            .unwrap_err(),
    ];
    for (i, e) in statuses.iter().enumerate() {
        assert_eq!(e.http_status(), 404, "{i}: {e}");
    }
}

#[tokio::test]
async fn a_conflict_is_409_with_holder_phase_and_age() {
    let clock = ManualClock::default();
    clock.set(1_000_000);
    let door = Door::before("slow");
    let setup = Setup::new().await.clock(&clock);
    let b = setup.with(|w| w.check(door.check()));
    b.deploy("v1").await;
    let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
    door.arrived().await;
    clock.set(91_000_000);
    let cleaning = b.engine.clean_up(&api(), None, &me()).await.unwrap_err();
    assert_eq!(cleaning.http_status(), 409);
    for busy in [
        b.back(Goal::LastHealthy).await.unwrap_err(),
        b.engine.deploy(&api(), "v3", me()).await.unwrap_err(),
        b.engine.adopt(&api(), me()).await.unwrap_err(),
    ] {
        assert_eq!(
            (busy.http_status(), busy.kind()),
            (409, ErrorKind::Conflict)
        );
        assert!(busy.is_transient());
        let conflict = busy.conflict().unwrap();
        assert_eq!(conflict.deployment, *run.id());
        assert_eq!(conflict.holder.pid, std::process::id());
        assert_eq!(conflict.phase, Phase::Switched);
        assert_eq!(conflict.age.as_secs(), 90);
        let said = busy.to_string();
        for part in ["switched, checking health", "since 90 s", "held by process"] {
            assert!(said.contains(part), "{said}");
        }
    }
    door.open();
    run.await.unwrap();
}

#[tokio::test]
async fn nothing_to_do_is_409() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    let live = b.back(to(&v1)).await.unwrap_err();
    assert_eq!(
        (live.http_status(), live.kind()),
        (409, ErrorKind::AlreadyLive)
    );
    let adopted = b.engine.adopt(&api(), me()).await.unwrap_err();
    assert_eq!(adopted.kind(), ErrorKind::AlreadyLive);
}

#[tokio::test]
async fn a_plan_that_was_overtaken_is_412() {
    let b = Setup::new().await.engine();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let plan = b.plan_back(Goal::LastHealthy).await.unwrap();
    // Whatever moves the state: another deployment, a hold, a policy.
    b.engine
        .configure(&api(), Some(&Policy::default()), &me())
        .await
        .unwrap();
    let stale = b.engine.execute(plan).await.unwrap_err();
    assert_eq!((stale.http_status(), stale.kind()), (412, ErrorKind::Stale));
    assert_eq!(b.rows().await.len(), 2, "nothing was opened");
}

#[tokio::test]
async fn what_may_pass_by_waiting_is_503_and_the_rest_500() {
    let b = Setup::new().await.engine();
    b.deploy("v1").await;
    let fault = VerbFault {
        verb: Verb::Observe,
        nth: 1,
        more: 0,
        side: Side::Before,
        kind: BackendErrorKind::Unreachable,
    };
    b.setup.verbs.set(fault);
    let away = b.engine.deploy(&api(), "v2", me()).await.unwrap_err();
    assert_eq!(away.http_status(), 503, "{away}");
    let kind = BackendErrorKind::Denied;
    b.setup.verbs.set(VerbFault { kind, ..fault });
    let denied = b.engine.deploy(&api(), "v2", me()).await.unwrap_err();
    assert_eq!(denied.http_status(), 500, "{denied}");
    b.setup.trap.set(1, Side::Before, StoreErrorKind::Full);
    let full = b.engine.deploy(&api(), "v2", me()).await.unwrap_err();
    assert_eq!(full.http_status(), 503, "{full}");
    b.at_rest().await;
}
