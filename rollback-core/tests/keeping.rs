//! What is kept and for how long, which policy holds, what the history shows.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{CanRollBack, PolicySource, Report, RollbackEngine, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::Remediation;
use rollback_core::lineage::Standing;
use rollback_core::memory::MemoryStore;
use rollback_core::points::NoPoint;
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use support::{Bench, Shelf, me};

/// A clock that is set by hand, in seconds.
#[derive(Debug, Clone, Default)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn pass(&self, span: Duration) {
        let micros = i64::try_from(span.as_micros()).unwrap();
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Aged {
    clock: Hand,
    shelf: Shelf,
    engine: RollbackEngine,
    api: WorkloadId,
}

impl Aged {
    fn new(adjust: impl FnOnce(Workload) -> Workload) -> Self {
        let (clock, shelf) = (Hand::default(), Shelf::default());
        let api: WorkloadId = "api@web-1".parse().unwrap();
        let engine = RollbackEngine::builder(MemoryStore::new())
            .workload(adjust(Workload::new(shelf.clone())))
            .clock(clock.clone())
            .build()
            .unwrap();
        Self {
            clock,
            shelf,
            engine,
            api,
        }
    }

    async fn deploy(&self, reference: &str) -> Report {
        let run = self
            .engine
            .deploy(&self.api, reference, me())
            .await
            .unwrap();
        run.await.unwrap()
    }

    async fn digests(&self) -> Vec<String> {
        let page = self
            .engine
            .list(&Query::default().limit(1_000))
            .await
            .unwrap();
        let digest = |d: &Deployment| d.release().unwrap().artifact().digest.clone();
        page.deployments.iter().map(digest).collect()
    }
}

fn keeping(records: Keep, artifacts: Keep) -> Policy {
    Policy::default().retention(Retention::new(records, artifacts))
}

#[tokio::test]
async fn records_stay_by_number_or_age_whichever_keeps_more_and_releases_likewise() {
    let policy = keeping(Keep::new(3, 10), Keep::new(2, 5));
    let b = Aged::new(|w| w.policy(policy));
    for n in 1..=6 {
        b.deploy(&format!("v{n}")).await;
        b.clock.pass(2 * DAY);
    }
    // Twelve days have passed: v3 is eight days old, v2 ten.
    b.deploy("v7").await;
    assert_eq!(b.digests().await, ["v7", "v6", "v5", "v4", "v3"]);
    assert_eq!(
        b.shelf.0.lock().unwrap().window.clone().unwrap(),
        ["v7", "v6", "v5"]
    );
    b.clock.pass(100 * DAY);
    b.deploy("v8").await;
    assert_eq!(b.digests().await, ["v8", "v7", "v6"]);
    assert_eq!(
        b.shelf.0.lock().unwrap().window.clone().unwrap(),
        ["v8", "v7"]
    );
}

#[tokio::test]
async fn failures_evict_nothing_good_and_what_is_pinned_live_or_last_healthy_stays() {
    let policy = keeping(Keep::new(2, 0), Keep::new(1, 0));
    let b = Aged::new(|w| w.policy(policy));
    let pinned = b.deploy("pinned").await;
    b.engine.pin(pinned.deployment().id(), &me()).await.unwrap();
    b.deploy("good").await;
    for n in 0..5 {
        b.clock.pass(DAY);
        b.deploy(&format!("sick{n}")).await;
    }
    assert_eq!(b.digests().await, ["sick4", "sick3", "good", "pinned"]);
    let window = b.shelf.0.lock().unwrap().window.clone().unwrap();
    assert_eq!(
        window,
        ["sick4", "sick3", "good", "pinned"],
        "the last failure, to look at"
    );
    let back = b
        .engine
        .rollback(&b.api, Goal::LastHealthy, me())
        .await
        .unwrap();
    assert!(back.await.unwrap().succeeded());
    assert_eq!(b.shelf.live().as_deref(), Some("good"));
}

#[tokio::test]
async fn a_clean_up_does_what_its_preview_says_and_nothing_while_a_deployment_runs() {
    let b = Aged::new(|w| w);
    for n in 1..=5 {
        b.deploy(&format!("v{n}")).await;
        b.clock.pass(DAY);
    }
    let rules = Retention::new(Keep::new(2, 0), Keep::new(1, 0));
    let preview = b
        .engine
        .preview_clean_up(&b.api, Some(rules))
        .await
        .unwrap();
    assert_eq!((preview.forgotten.len(), preview.kept), (3, 2));
    assert_eq!(b.digests().await.len(), 5, "a preview changes nothing");
    let done = b.engine.clean_up(&b.api, Some(rules), &me()).await.unwrap();
    assert_eq!(done, preview);
    assert_eq!(b.digests().await, ["v5", "v4"]);
    // v4 is the last healthy one, so its release stays too.
    assert_eq!(
        b.shelf.0.lock().unwrap().window.clone().unwrap(),
        ["v5", "v4"]
    );
    let again = b.engine.clean_up(&b.api, Some(rules), &me()).await.unwrap();
    assert!(again.forgotten.is_empty());
}

#[tokio::test]
async fn a_policy_is_previewed_set_for_good_and_taken_back() {
    let b = Bench::new();
    let mut policy = Policy::default().rollback(RollbackMode::Auto);
    policy.retention.records = Keep::new(10, 7);
    let mut preview = b
        .engine
        .preview_configure(&b.api, Some(&policy))
        .await
        .unwrap();
    let said: Vec<String> = preview.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "retention.records.days: 90 -> 7",
            "retention.records.newest: 200 -> 10",
            "rollback: \"record\" -> \"auto\"",
        ]
    );
    let rules = b.engine.rules(&b.api).await.unwrap();
    assert_eq!(
        (rules.policy.rollback, rules.source),
        (RollbackMode::Record, PolicySource::Catalog)
    );
    let done = b
        .engine
        .configure(&b.api, Some(&policy), &me())
        .await
        .unwrap();
    let set = done.rules.set.clone().unwrap();
    assert_eq!(set.by, me());
    preview.rules.set = Some(set);
    assert_eq!(done, preview);
    // It holds in every engine on the store, whatever that one's catalog says.
    let other = RollbackEngine::builder(b.store.clone())
        .workload(Workload::new(b.shelf.clone()))
        .build()
        .unwrap();
    let rules = other.rules(&b.api).await.unwrap();
    assert_eq!(
        (rules.policy.rollback, rules.source),
        (RollbackMode::Auto, PolicySource::Store)
    );
    assert_eq!(rules.set, done.rules.set, "who set it lasts");
    b.deploy("v1").await;
    assert_eq!(
        b.deploy("sick2").await.outcome(),
        Outcome::FailedAndRolledBack
    );
    other.configure(&b.api, None, &me()).await.unwrap();
    assert_eq!(b.deploy("sick3").await.outcome(), Outcome::Failed);
    policy.deadlines.gate = Duration::ZERO;
    let e = b
        .engine
        .configure(&b.api, Some(&policy), &me())
        .await
        .unwrap_err();
    assert_eq!(e.http_status(), 400, "{e}");
}

#[tokio::test]
async fn with_rollback_off_nothing_is_captured_and_old_points_stay() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let off = Policy::default().rollback(RollbackMode::Off);
    b.engine.configure(&b.api, Some(&off), &me()).await.unwrap();
    let d2 = b.deploy("v2").await;
    let failed = b.deploy("sick3").await;
    assert_eq!(
        failed.outcome(),
        Outcome::Failed,
        "automatic rollback is disarmed"
    );
    let window = b.shelf.0.lock().unwrap().window.clone().unwrap();
    assert_eq!(
        window,
        ["sick3", "v2", "v1"],
        "its own two ends, and the old point"
    );
    let d2 = d2.deployment().id().clone();
    let e = b.rollback(Goal::To(d2.clone())).await.unwrap_err();
    assert!(
        e.to_string()
            .contains("rollback was off when it was deployed"),
        "{e}"
    );
    let history = b.engine.history(&Query::default()).await.unwrap();
    let row = history
        .rows
        .iter()
        .find(|r| *r.deployment.id() == d2)
        .unwrap();
    assert_eq!(row.no_rollback_point, Some(NoPoint::NotCaptured));
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(b.live(), "v1");
}

/// Says that it did something.
#[derive(Debug)]
struct Pill;

#[async_trait]
impl Remediation for Pill {
    fn name(&self) -> String {
        "pill".into()
    }

    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        Ok("swallowed".into())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test]
async fn remediations_rest_after_three_in_an_hour_and_the_timeline_says_so() {
    let b = Aged::new(|w| w.remediation(Pill));
    let events = |report: &Report| -> Vec<&'static str> {
        let names = report.deployment().events().iter().map(|e| e.event.name());
        names.filter(|n| n.starts_with("remediat")).collect()
    };
    for n in 0..3 {
        let report = b.deploy(&format!("sick{n}")).await;
        assert_eq!(events(&report), ["remediation-intended", "remediated"]);
        b.clock.pass(Duration::from_secs(60));
    }
    let report = b.deploy("sick3").await;
    assert_eq!(events(&report), ["remediation-withheld"]);
    b.clock.pass(Duration::from_secs(60 * 60 - 4 * 60 + 61));
    let report = b.deploy("sick4").await;
    assert_eq!(events(&report), ["remediation-intended", "remediated"]);
}

#[tokio::test]
async fn the_history_says_of_each_row_what_became_of_it_and_whether_it_is_a_rollback_point() {
    let b = Bench::new();
    let d1 = b.deploy("v1").await;
    let d2 = b.deploy("v2").await;
    let d3 = b.deploy("v3").await;
    b.shelf.0.lock().unwrap().gone.insert("never".into());
    let d4 = b.deploy("never").await;
    let d5 = b
        .rollback(Goal::To(d2.deployment().id().clone()))
        .await
        .unwrap();
    b.engine
        .mark_bad(d3.deployment().id(), "leaks".parse().unwrap(), &me())
        .await
        .unwrap();
    let history = b.engine.history(&Query::default()).await.unwrap();
    let id = |r: &Report| r.deployment().id().clone();
    let of = |r: &Report| {
        let row = history
            .rows
            .iter()
            .find(|row| *row.deployment.id() == id(r))
            .unwrap();
        (
            row.standing,
            row.no_rollback_point.clone(),
            row.replaced_by.clone(),
        )
    };
    assert_eq!(of(&d1), (Standing::Superseded, None, Some(id(&d2))));
    assert_eq!(
        of(&d2),
        (Standing::Superseded, Some(NoPoint::Live), Some(id(&d3)))
    );
    let why = "leaks (ada)".to_owned();
    assert_eq!(
        of(&d3),
        (
            Standing::RolledBack,
            Some(NoPoint::MarkedBad { why }),
            Some(id(&d5))
        )
    );
    assert_eq!(
        of(&d4),
        (Standing::NeverLive, Some(NoPoint::NeverPlaced), None)
    );
    assert_eq!(of(&d5), (Standing::Live, Some(NoPoint::Live), None));
    let marked: Vec<_> = history.rows.iter().filter(|r| r.last_healthy).collect();
    assert_eq!(marked.len(), 1);
    assert_eq!(
        *marked[0].deployment.id(),
        id(&d1),
        "before what v2 followed"
    );
    let comparison = b.engine.compare(&id(&d1), &id(&d3)).await.unwrap();
    assert!(
        comparison.to_string().contains("artifact v1 -> v3"),
        "{comparison}"
    );
    let json = serde_json::to_value(&history.rows[0]).unwrap();
    assert_eq!(json["standing"], "live");
    assert_eq!(json["id"], id(&d5).as_str());
}

#[tokio::test]
async fn whether_one_can_roll_back_is_answered_with_the_plan_or_the_reason() {
    let b = Bench::new();
    let ask = || b.engine.can_roll_back(&b.api, me());
    assert!(matches!(
        ask().await,
        CanRollBack::No(Refusal::NoRollbackPoint { .. })
    ));
    b.deploy("v1").await;
    assert!(matches!(
        ask().await,
        CanRollBack::No(Refusal::NoRollbackPoint { .. })
    ));
    b.deploy("v2").await;
    let CanRollBack::Yes(plan) = ask().await else {
        panic!("there is v1");
    };
    assert_eq!(plan.release().unwrap().artifact().digest, "v1");
    assert_eq!(b.live(), "v2");
    b.shelf.0.lock().unwrap().unreachable = true;
    assert!(matches!(ask().await, CanRollBack::NotNow(_)));
}

#[tokio::test]
async fn last_healthy_under_restore_artifact_was_another_one_than_retention_kept() {
    let b = Aged::new(|w| {
        w.policy(keeping(Keep::new(1, 0), Keep::new(1, 0)).restore(Some(Restore::Artifact)))
    });
    let env = |value: &str| {
        let value = FacetValue::Plain(value.into());
        b.shelf.0.lock().unwrap().env = [("LEVEL".to_owned(), value)].into();
    };
    env("info");
    let v1 = b.deploy("v1").await.deployment().id().clone();
    // The same artifact under other settings: to bring back only it would change nothing.
    for level in ["info", "warn", "debug"] {
        env(level);
        b.deploy("v2").await;
    }
    assert_eq!(
        b.engine.last_healthy(&b.api).await.unwrap(),
        Some(v1.clone())
    );
    let rows = b.engine.history(&Query::default()).await.unwrap().rows;
    let marked: Vec<_> = rows.iter().filter(|r| r.last_healthy).collect();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0].deployment.id(), &v1);
    assert!(marked[0].is_rollback_point());
    let window = b.shelf.0.lock().unwrap().window.clone().unwrap();
    assert!(window.contains(&"v1".to_owned()), "{window:?}");
    let run = b.engine.rollback(&b.api, Goal::LastHealthy, me());
    assert!(run.await.unwrap().await.unwrap().succeeded());
    assert_eq!(b.shelf.live().as_deref(), Some("v1"));
}
