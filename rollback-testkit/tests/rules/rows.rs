//! What the history shows of each deployment, and whether a rollback would go ahead now.

use rollback_core::engine::{CanRollBack, Row};
use rollback_core::history::Query;
use rollback_core::id::GuardName;
use rollback_core::lineage::Standing;
use rollback_core::points::NoPoint;
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;

use crate::support::{Door, Setup, api, digest, id, me, on_every_store, text, to};

fn named<'a>(rows: &'a [Row], release: &str) -> &'a Row {
    rows.iter()
        .find(|r| digest(&r.deployment) == release)
        .unwrap()
}

#[tokio::test]
async fn each_row_says_what_became_of_it_and_what_took_its_place() {
    on_every_store(async |setup| {
        let b = setup.armed();
        for reference in ["v1", "v2", "broken3", "v4", "v5"] {
            b.deploy(reference).await;
        }
        b.back(Goal::LastHealthy).await.unwrap();
        let rows = b.rows().await;
        let shown: Vec<_> = rows
            .iter()
            .map(|r| {
                let by = r.replaced_by.as_ref();
                let by = by.map(|id| rows.iter().position(|r| r.deployment.id() == id).unwrap());
                (digest(&r.deployment), r.standing, by, r.last_healthy)
            })
            .collect();
        use Standing::{Live, RolledBack, Superseded};
        let expected = [
            ("v4", Live, None, false),
            ("v5", RolledBack, Some(0), false),
            ("v4", Superseded, Some(1), false),
            // The automatic rollback.
            ("v2", Superseded, Some(2), true),
            ("broken3", RolledBack, Some(3), false),
            ("v2", Superseded, Some(4), false),
            ("v1", Superseded, Some(5), false),
        ];
        let expected = expected.map(|(d, s, by, last)| (d.to_owned(), s, by, last));
        assert_eq!(shown, expected);
    })
    .await;
}

#[tokio::test]
async fn exactly_one_row_is_last_healthy_and_a_bare_rollback_goes_there() {
    let b = Setup::new().await.engine();
    for reference in ["v1", "broken2", "v3", "broken4", "v5"] {
        b.deploy(reference).await;
        let rows = b.rows().await;
        let marked: Vec<_> = rows.iter().filter(|r| r.last_healthy).collect();
        let plan = b.plan_back(Goal::LastHealthy).await.ok();
        let target = plan.as_ref().and_then(Plan::rollback_point);
        let marked: Vec<_> = marked.iter().map(|r| r.deployment.id()).collect();
        assert_eq!(marked, Vec::from_iter(target), "after {reference}");
        let asked = b.engine.last_healthy(&api()).await.unwrap();
        assert_eq!(asked.as_ref(), target);
    }
}

#[tokio::test]
async fn no_row_is_last_healthy_where_the_policy_takes_no_unjudged_release() {
    let b = Setup::new()
        .await
        .with(|w| w.policy(Policy::default().fall_back_to_unjudged(false)));
    b.deploy("mute1").await;
    b.deploy("mute2").await;
    b.plan_back(Goal::LastHealthy).await.unwrap_err();
    assert_eq!(b.engine.last_healthy(&api()).await.unwrap(), None);
    assert!(b.rows().await.iter().all(|r| !r.last_healthy));
}

#[tokio::test]
async fn every_reason_not_to_be_a_rollback_point_is_told() {
    on_every_store(async |setup| {
        let door = Door::before("slow");
        let policy = Policy::default().retention(Retention::new(Keep::new(50, 0), Keep::new(2, 0)));
        let off = policy.clone().rollback(RollbackMode::Off);
        let b = setup.with(|w| w.check(door.check()).policy(policy));
        b.deploy("v1").await;
        let bad = b.deploy("v2").await;
        let id = bad.deployment().id();
        b.engine.mark_bad(id, text("leaks"), &me()).await.unwrap();
        b.engine.configure(&api(), Some(&off), &me()).await.unwrap();
        b.deploy("v3").await;
        b.engine.configure(&api(), None, &me()).await.unwrap();
        let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
        door.arrived().await;
        run.cancel();
        run.await.unwrap();
        b.setup.target.lose("lost");
        b.deploy("v4").await;
        b.deploy("v5").await;
        let flying = b.engine.deploy(&api(), "slow", me()).await.unwrap();
        door.arrived().await;

        let rows = b.rows().await;
        let why = |release: &str| named(&rows, release).no_rollback_point.clone();
        assert_eq!(why("v1"), Some(NoPoint::LetGo));
        assert_eq!(
            why("v2"),
            Some(NoPoint::MarkedBad {
                why: "leaks (ada)".into()
            })
        );
        assert_eq!(why("v3"), Some(NoPoint::NotCaptured));
        assert_eq!(why("v4"), None);
        assert!(named(&rows, "v4").is_rollback_point());
        assert_eq!(why("v5"), Some(NoPoint::Live));
        assert_eq!(rows[0].no_rollback_point, Some(NoPoint::InFlight));
        door.open();
        flying.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_never_was_placed_is_no_rollback_point() {
    let b = Setup::new().await.beside().engine();
    b.deploy("v1").await;
    b.deploy("broken2").await;
    let rows = b.rows().await;
    let row = named(&rows, "broken2");
    assert_eq!(row.no_rollback_point, Some(NoPoint::NeverPlaced));
    assert_eq!(row.standing, Standing::NeverLive);
    assert_eq!(row.replaced_by, None);
}

#[tokio::test]
async fn an_earlier_deployment_of_the_live_release_is_no_rollback_point() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    b.back(to(&v1)).await.unwrap();
    let no = b.back(to(&v1)).await.unwrap_err();
    assert_eq!(no.kind(), ErrorKind::AlreadyLive);
    let rows = b.rows().await;
    let first = rows.last().unwrap();
    assert_eq!(first.deployment.id(), v1.deployment().id());
    assert!(!first.is_rollback_point());
}

#[tokio::test]
async fn a_rollback_by_time_never_goes_to_what_was_not_live_then() {
    let clock = rollback_testkit::faults::ManualClock::default();
    let setup = Setup::new().await.clock(&clock);
    let b = setup.with(|w| {
        w.policy(Policy::default().retention(Retention::new(Keep::new(2, 0), Keep::new(2, 0))))
    });
    let v1 = b.deploy("v1").await;
    b.engine.pin(v1.deployment().id(), &me()).await.unwrap();
    for n in 2..=5 {
        clock.set(n * 1_000_000);
        b.deploy(&format!("v{n}")).await;
    }
    let then = Timestamp::from_microsecond(2_500_000).unwrap();
    let plan = b.plan_back(Goal::AsOf(then)).await;
    // v2 was live then, and its record is gone.
    let target = plan.map(|plan| plan.release().unwrap().artifact().digest.clone());
    assert!(target.is_err(), "it goes to {target:?}");
}

#[tokio::test]
async fn pages_of_rows_know_the_whole_history() {
    let b = Setup::new().await.engine();
    for n in 1..=5 {
        b.deploy(&format!("v{n}")).await;
    }
    let whole = b.rows().await;
    let (mut query, mut paged) = (Query::workload(&api()).limit(2), Vec::new());
    loop {
        let page = b.engine.history(&query).await.unwrap();
        paged.extend(page.rows);
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    assert_eq!(paged, whole);
}

#[tokio::test]
async fn two_deployments_are_compared_in_full() {
    let b = Setup::new().await.engine();
    let registry = &b.setup.registry;
    registry.env("MODE", "old");
    registry.secret("KEY", "f1");
    let v1 = b.deploy("v1").await;
    registry.env("MODE", "new");
    registry.secret("KEY", "f2");
    let bad = b.deploy("broken2").await;
    let [from, to] = [&v1, &bad].map(|r| r.deployment().id());
    let compared = b.engine.compare(from, to).await.unwrap();
    assert_eq!(compared.from.outcome, Some(Outcome::Succeeded));
    assert_eq!(compared.to.outcome, Some(Outcome::Failed));
    assert!(compared.to.duration_ms.is_some());
    let text = compared.to_string();
    let diff = text.split_once('\n').unwrap().1.split_once('\n').unwrap().1;
    assert_eq!(
        diff,
        "artifact v1 -> broken2\nenv:\n  ~ KEY = (secret, changed)\n  ~ MODE = old -> new"
    );
    let same = b.engine.compare(from, from).await.unwrap();
    assert!(same.diff.is_empty());
    let json = serde_json::to_value(&same).unwrap();
    assert_eq!(json["facets"], serde_json::json!([]));
}

#[tokio::test]
async fn whether_a_rollback_would_go_ahead_can_be_asked_at_any_time() {
    on_every_store(async |setup| {
        let door = Door::before("slow");
        let b = setup.with(|w| w.check(door.check()));
        let can = async || b.engine.can_roll_back(&api(), me()).await;
        let nowhere = |c| matches!(c, CanRollBack::No(Refusal::NoRollbackPoint { .. }));
        assert!(nowhere(can().await), "nothing was ever deployed");
        let v1 = b.deploy("v1").await;
        assert!(nowhere(can().await), "there is nothing before it");
        b.deploy("v2").await;
        let to_v1 = |c| match c {
            CanRollBack::Yes(plan) => plan.rollback_point() == Some(v1.deployment().id()),
            _ => false,
        };
        assert!(to_v1(can().await));
        b.engine.hold(&api(), text("freeze"), me()).await.unwrap();
        assert!(to_v1(can().await), "a hold lets rollbacks through");
        b.engine.lift_hold(&api(), &me()).await.unwrap();

        let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
        door.arrived().await;
        let CanRollBack::NotNow(busy) = can().await else {
            panic!("something is in flight")
        };
        assert_eq!(busy.kind(), ErrorKind::Conflict);
        run.cancel();
        run.await.unwrap();
        setup.target.cut();
        let CanRollBack::NotNow(away) = can().await else {
            panic!("the platform is away")
        };
        assert_eq!(away.http_status(), 503);
        setup.target.mend();

        let needy = setup.with(|w| w.depends_on(id("db@fake")));
        let CanRollBack::No(Refusal::Guard { guard, .. }) =
            needy.engine.can_roll_back(&api(), me()).await
        else {
            panic!("its dependency is down")
        };
        assert_eq!(guard, GuardName::dependencies());
        setup.target.lose("v1");
        assert!(nowhere(can().await), "its release is gone");
        assert_eq!(b.rows().await.len(), 3, "and nothing was recorded");
        let v1_again = b.back(to(&v1)).await.unwrap_err();
        assert_eq!(v1_again.kind(), ErrorKind::InvalidRequest);
    })
    .await;
}
