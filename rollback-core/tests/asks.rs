//! What users of other tools ask for, a test each, named after the ask. Those that only a real
//! platform can show are in the backends' own suites: the whole stack at once (9) is for groups.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{AutomaticRollback, RollbackEngine, Workload};
use rollback_core::guard::{Guard, MigrationLog, Notice, Observer, ReleaseTask, Ruling};
use rollback_core::history::{HistoryStore, Holder};
use rollback_core::id::GuardName;
use rollback_core::lineage::Standing;
use rollback_core::plan::Plan;
use rollback_core::policy::{AfterRollback, Keep, Retention};
use rollback_core::prelude::*;
use support::{Bench, Shelf, me};

fn id(report: &rollback_core::engine::Report) -> DeploymentId {
    report.deployment().id().clone()
}

#[tokio::test]
async fn ask_01_last_successful_not_n_minus_1() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("sick2").await;
    b.deploy("sick3").await;
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(b.live(), "v1");
}

/// A deployment whose process dies right after it has begun.
async fn abandoned(b: &Bench) -> DeploymentId {
    let plan = b
        .engine
        .preview(&Request::deploy(b.api.clone(), "v9", me()))
        .await
        .unwrap();
    let new = plan.deployment().clone();
    let holder = Holder::this_process(SystemClock.now());
    drop(b.store.begin(&new, &holder, plan.version()).await.unwrap());
    new.id
}

#[tokio::test]
async fn ask_02_never_stuck_pending_after_a_crash() {
    let b = Bench::new();
    b.deploy("v1").await;
    let pending = abandoned(&b).await;
    // Nobody clears anything: the next deploy goes ahead by itself.
    assert!(b.deploy("v2").await.succeeded());
    let record = b.engine.get(&pending).await.unwrap();
    assert_eq!(record.outcome(), Some(Outcome::Interrupted));
}

#[tokio::test]
async fn ask_03_prune_eats_no_target_and_crosses_no_environment() {
    let shelves = [Shelf::default(), Shelf::default()];
    let workloads: [WorkloadId; 2] = ["api@prod".parse().unwrap(), "api@staging".parse().unwrap()];
    let mut builder = RollbackEngine::builder(rollback_core::memory::MemoryStore::new());
    let retention = Retention {
        records: Keep::new(2, 0),
        artifacts: Keep::new(2, 0),
    };
    for (workload, shelf) in workloads.iter().zip(&shelves) {
        let policy = Policy {
            retention,
            ..Policy::default()
        };
        builder = builder.workload(Workload::new(workload.clone(), shelf.clone()).policy(policy));
    }
    let engine = builder.build().unwrap();
    let deploy = |w: &WorkloadId, r: String| {
        let (engine, w) = (engine.clone(), w.clone());
        async move { engine.deploy(&w, r, me()).await.unwrap().await.unwrap() }
    };
    let [prod, staging] = &workloads;
    deploy(prod, "v1".into()).await;
    deploy(prod, "v2".into()).await;
    for n in 0..10 {
        deploy(staging, format!("s{n}")).await;
    }
    let kept = Query::workload(prod);
    assert_eq!(engine.list(&kept).await.unwrap().deployments.len(), 2);
    assert_eq!(
        shelves[0].0.lock().unwrap().window.clone().unwrap(),
        ["v2", "v1"]
    );
    let back = engine
        .rollback(prod, Goal::LastHealthy, me())
        .await
        .unwrap();
    assert!(back.await.unwrap().succeeded());
}

#[tokio::test]
async fn ask_04_failed_releases_do_not_evict_good_ones() {
    let policy = Policy {
        retention: Retention {
            records: Keep::new(50, 0),
            artifacts: Keep::new(2, 0),
        },
        ..Policy::default()
    };
    let b = Bench::with(|w| w.policy(policy));
    b.deploy("v1").await;
    b.deploy("v2").await;
    for n in 0..10 {
        b.deploy(&format!("sick{n}")).await;
    }
    let window = b.shelf.0.lock().unwrap().window.clone().unwrap();
    assert!(window.contains(&"v1".to_owned()) && window.contains(&"v2".to_owned()));
}

#[tokio::test]
async fn ask_05_the_bad_release_is_kept_for_debugging() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let bad = b.deploy("sick2").await;
    assert_eq!(bad.outcome(), Outcome::FailedAndRolledBack);
    let window = b.shelf.0.lock().unwrap().window.clone().unwrap();
    assert!(window.contains(&"sick2".to_owned()), "{window:?}");
}

#[tokio::test]
async fn ask_06_a_release_can_be_pinned() {
    let b = Bench::new();
    let v1 = b.deploy("v1").await;
    b.engine.pin(&id(&v1), &me()).await.unwrap();
    for n in 2..6 {
        b.deploy(&format!("v{n}")).await;
    }
    let nothing = Retention {
        records: Keep::new(0, 0),
        artifacts: Keep::new(0, 0),
    };
    b.engine
        .clean_up(&b.api, Some(nothing), &me())
        .await
        .unwrap();
    b.rollback(Goal::To(id(&v1))).await.unwrap();
    assert_eq!(b.live(), "v1");
}

fn mode(value: &str) -> std::collections::BTreeMap<String, FacetValue> {
    [("MODE".to_owned(), FacetValue::Plain(value.to_owned()))].into()
}

#[tokio::test]
async fn ask_07_environment_comes_back_too_by_choice() {
    for (restore, expected) in [(Restore::Everything, "old"), (Restore::Artifact, "new")] {
        let b = Bench::new();
        b.shelf.0.lock().unwrap().env = mode("old");
        let v1 = b.deploy("v1").await;
        b.shelf.0.lock().unwrap().env = mode("new");
        b.deploy("v2").await;
        let back = Request::rollback(b.api.clone(), Goal::To(id(&v1)), me()).restore(restore);
        let report = b.engine.run(back).await.unwrap().await.unwrap();
        let release = report.deployment().release().unwrap();
        assert_eq!(release.facets()["env"], Facet::Table(mode(expected)));
    }
}

#[tokio::test]
async fn ask_08_rollback_without_an_argument() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    assert_eq!(Goal::default(), Goal::LastHealthy);
    b.rollback(Goal::default()).await.unwrap();
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn ask_10_the_right_code_by_digest_not_by_tag() {
    let b = Bench::new();
    b.shelf.0.lock().unwrap().branch = Some("v1");
    b.deploy("main").await;
    b.shelf.0.lock().unwrap().branch = Some("v2");
    b.deploy("main").await;
    b.shelf.0.lock().unwrap().branch = Some("v3");
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(b.live(), "v1", "whatever main means today");
}

#[tokio::test]
async fn ask_11_the_bad_version_does_not_come_back_with_the_next_auto_deploy() {
    let policy = Policy {
        after_rollback: AfterRollback::Hold,
        ..Policy::default()
    };
    let b = Bench::with(|w| w.policy(policy));
    b.deploy("v1").await;
    b.deploy("v2").await;
    b.rollback(Goal::LastHealthy).await.unwrap();
    let robot = Actor::system("auto-deploy").unwrap();
    let e = b.engine.deploy(&b.api, "v2", robot).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::Held { .. })), "{e}");
    assert_eq!(b.live(), "v1");
}

/// Unhealthy for as long as it is asked about `slow`.
#[derive(Debug)]
struct NotYet;

#[async_trait]
impl HealthCheck for NotYet {
    fn name(&self) -> String {
        "ready".into()
    }

    async fn check(&self, _: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        match probe.instance.release.artifact().digest.as_str() {
            "slow" => Err(Unhealthy::new("starting")),
            _ => Ok(Healthy::yes()),
        }
    }
}

#[tokio::test]
async fn ask_12_rollback_while_a_deploy_runs_stops_it_waits_and_goes_back() {
    let gate = Gate::default()
        .retries(1_000)
        .interval(Duration::from_millis(5));
    let b = Bench::with(|w| w.check(NotYet).gate(gate));
    b.deploy("v1").await;
    b.deploy("v2").await;
    let run = b.engine.deploy(&b.api, "slow", me()).await.unwrap();
    let e = b.rollback(Goal::LastHealthy).await.unwrap_err();
    let conflict = e.conflict().unwrap();
    assert_eq!((e.http_status(), &conflict.deployment), (409, run.id()));
    b.engine.cancel(run.id(), &me()).await.unwrap();
    assert_eq!(run.await.unwrap().outcome(), Outcome::Cancelled);
    assert_eq!(b.live(), "v2");
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn ask_13_skipped_over_deploys_are_marked_faulty() {
    let b = Bench::new();
    let v1 = b.deploy("v1").await;
    let v2 = b.deploy("v2").await;
    b.deploy("v3").await;
    let back = Request::rollback(b.api.clone(), Goal::To(id(&v1)), me()).mark_skipped_bad();
    b.engine.run(back).await.unwrap().await.unwrap();
    let record = b.engine.get(&id(&v2)).await.unwrap();
    assert!(record.annotations().bad.is_some());
    let e = b.rollback(Goal::To(id(&v2))).await.unwrap_err();
    assert_eq!(e.http_status(), 400);
}

#[tokio::test]
async fn ask_14_who_and_why() {
    let b = Bench::new();
    let who = Actor::user_via("ada", "web").unwrap();
    let request = Request::deploy(b.api.clone(), "v1", who.clone())
        .because("ticket 7".parse().unwrap())
        .correlation("build-42".parse().unwrap());
    let report = b.engine.run(request).await.unwrap().await.unwrap();
    let record = b.engine.get(&id(&report)).await.unwrap();
    let new = record.new_deployment();
    assert_eq!(*record.actor(), who);
    assert_eq!(new.reason.as_ref().unwrap().as_str(), "ticket 7");
    assert_eq!(new.correlation.as_ref().unwrap().as_str(), "build-42");
    let mut by_ada = Query::default();
    by_ada.actor = Some("ada".parse().unwrap());
    assert_eq!(b.engine.list(&by_ada).await.unwrap().deployments.len(), 1);
}

#[tokio::test]
async fn ask_15_images_are_in_the_history() {
    let b = Bench::new();
    b.deploy("v1").await;
    let history = b.engine.history(&Query::default()).await.unwrap();
    let release = history.rows[0].deployment.release().unwrap();
    assert_eq!(release.artifact().digest, "v1");
}

#[tokio::test]
async fn ask_16_automatic_rollback() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let report = b.deploy("sick2").await;
    let AutomaticRollback::Attempted { recovered, .. } = report.automatic_rollback() else {
        panic!("it was armed");
    };
    assert!(*recovered);
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn ask_17_a_failed_and_rolled_back_deploy_is_no_success() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let report = b.deploy("sick2").await;
    assert!(!report.succeeded());
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let stats = b.engine.stats(&Query::default()).await.unwrap();
    assert_eq!(stats.by_outcome["failed_and_rolled_back"], 1);
    assert_eq!(stats.recent_failures, [id(&report)]);
}

#[tokio::test]
async fn ask_18_no_stale_lock_after_a_cancel() {
    let gate = Gate::default()
        .retries(1_000)
        .interval(Duration::from_millis(5));
    let b = Bench::with(|w| w.check(NotYet).gate(gate));
    b.deploy("v1").await;
    let run = b.engine.deploy(&b.api, "slow", me()).await.unwrap();
    run.cancel();
    run.await.unwrap();
    assert_eq!(b.engine.state(&b.api).await.unwrap().in_flight, None);
    assert!(b.deploy("v2").await.succeeded());
}

#[tokio::test]
async fn ask_19_nothing_in_progress_for_ever_after_a_crash() {
    let b = Bench::new();
    b.deploy("v1").await;
    let pending = abandoned(&b).await;
    let recovered = b.engine.recover().await.unwrap();
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0].deployment, pending);
    assert!(recovered[0].result.is_ok());
    // One that runs is left alone: not everything in progress is marked as failed.
    let gate = Gate::default()
        .retries(1_000)
        .interval(Duration::from_millis(5));
    let b = Bench::with(|w| w.check(NotYet).gate(gate));
    b.deploy("v1").await;
    let run = b.engine.deploy(&b.api, "slow", me()).await.unwrap();
    assert!(b.engine.recover().await.unwrap().is_empty());
    assert!(b.engine.state(&b.api).await.unwrap().in_flight.is_some());
    run.cancel();
    run.await.unwrap();
}

#[derive(Debug)]
struct Applied(&'static [&'static str]);

#[async_trait]
impl MigrationLog for Applied {
    async fn applied_since(
        &self,
        _: &Context,
        _: &WorkloadId,
        _: Timestamp,
    ) -> Result<Vec<String>, String> {
        Ok(self.0.iter().map(|n| (*n).to_owned()).collect())
    }
}

#[tokio::test]
async fn ask_20_the_plan_knows_of_the_schema() {
    let b = Bench::with(|w| w.migrations(Applied(&["0007_drop_column"])));
    b.deploy("v1").await;
    b.deploy("v2").await;
    let report = b.rollback(Goal::LastHealthy).await.unwrap();
    let warnings = &report.deployment().new_deployment().warnings;
    assert!(
        warnings
            .iter()
            .any(|w| w.to_string().contains("0007_drop_column")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn ask_21_the_first_adoption_has_a_target_too() {
    let b = Bench::armed();
    let by_hand = Instance {
        release: Release::new("shelf".parse().unwrap(), Artifact::new("found", "found")),
        handle: Handle::new("by-hand"),
    };
    b.shelf.0.lock().unwrap().live = Some(by_hand);
    b.engine.adopt(&b.api, me()).await.unwrap();
    b.deploy("sick2").await;
    assert_eq!(b.live(), "found");
}

/// Counts what it is called for.
#[derive(Debug, Clone, Default)]
struct Counts(Arc<Mutex<Vec<TriggerKind>>>);

#[async_trait]
impl ReleaseTask for Counts {
    fn name(&self) -> String {
        "upload assets".into()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger == TriggerKind::Rollback
    }

    async fn run(&self, _: &Context, _: &Operation) -> Result<(), String> {
        self.0.lock().unwrap().push(TriggerKind::Rollback);
        Ok(())
    }
}

#[async_trait]
impl Observer for Counts {
    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger == TriggerKind::AutomaticRollback
    }

    async fn notice(&self, notice: &Notice) {
        self.0.lock().unwrap().push(notice.trigger);
    }
}

#[tokio::test]
async fn ask_22_hooks_run_on_rollback_as_they_declare() {
    let (task, observer) = (Counts::default(), Counts::default());
    let (shelf, api): (Shelf, WorkloadId) = (Shelf::default(), "api@web-1".parse().unwrap());
    let engine = RollbackEngine::builder(rollback_core::memory::MemoryStore::new())
        .workload(
            Workload::new(api.clone(), shelf)
                .auto_rollback()
                .task(task.clone()),
        )
        .observer(observer.clone())
        .build()
        .unwrap();
    for reference in ["v1", "v2", "sick3"] {
        engine
            .deploy(&api, reference, me())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    assert!(task.0.lock().unwrap().is_empty());
    let run = engine
        .rollback(&api, Goal::LastHealthy, me())
        .await
        .unwrap();
    assert!(run.await.unwrap().succeeded());
    assert_eq!(*task.0.lock().unwrap(), [TriggerKind::Rollback]);
    // Observers are told after the fact, and never waited for.
    while observer.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let told = observer.0.lock().unwrap().clone();
    assert!(
        told.iter().all(|t| *t == TriggerKind::AutomaticRollback),
        "{told:?}"
    );
}

/// Lets a plan through, and refuses the deployment once it is open.
#[derive(Debug, Default)]
struct SecondThoughts(std::sync::atomic::AtomicUsize);

#[async_trait]
impl Guard for SecondThoughts {
    fn name(&self) -> GuardName {
        "second-thoughts".parse().unwrap()
    }

    async fn check(&self, _: &Context, plan: &Plan) -> Ruling {
        let is_v2 = plan.release().is_some_and(|r| r.artifact().digest == "v2");
        let asked = self
            .0
            .fetch_add(usize::from(is_v2), std::sync::atomic::Ordering::SeqCst);
        if is_v2 && asked == 1 {
            Ruling::Refuse("the freeze began".into())
        } else {
            Ruling::Allow
        }
    }
}

#[tokio::test]
async fn ask_23_a_refused_deploy_is_no_rollback_target() {
    let b = Bench::with(|w| w.guard(SecondThoughts::default()));
    b.deploy("v1").await;
    let refused = b.deploy("v2").await;
    assert_eq!(refused.outcome(), Outcome::Refused);
    b.deploy("v3").await;
    let history = b.engine.history(&Query::default()).await.unwrap();
    let row = history
        .rows
        .iter()
        .find(|r| *r.deployment.id() == id(&refused))
        .unwrap();
    assert!(!row.is_rollback_point());
    assert_eq!(row.standing, Standing::NeverLive);
    let e = b.rollback(Goal::To(id(&refused))).await.unwrap_err();
    assert_eq!(e.http_status(), 400, "{e}");
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(b.live(), "v1");
}
