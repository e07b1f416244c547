//! How a run goes: failures half-way, guards, hooks, cancellation, a platform that goes away.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::Workload;
use rollback_core::error::HookError;
use rollback_core::guard::{Guard, ReleaseTask, Remediation, Ruling};
use rollback_core::history::HistoryReader;
use rollback_core::id::GuardName;
use rollback_core::lineage::{Lineage, Standing};
use rollback_core::prelude::*;
use support::{Bench, me};

#[tokio::test]
async fn a_switch_that_fails_is_taken_back() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().switch_fails.insert("v2".into());
    let report = b.deploy("v2").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.live(), "v1");
    assert!(
        report.summary().contains("it does not start"),
        "{}",
        report.summary()
    );
}

#[tokio::test]
async fn a_first_deploy_whose_switch_fails_leaves_nothing_live() {
    let b = Bench::new();
    b.shelf.0.lock().unwrap().switch_fails.insert("v1".into());
    let report = b.deploy("v1").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(*report.live(), LiveRecord::Nothing);
    assert_eq!(b.live(), "nothing");
}

#[tokio::test]
async fn an_unknown_reference_is_refused_before_anything_is_opened() {
    let b = Bench::new();
    let e = b.engine.deploy(&b.api, "missing", me()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(
        b.engine
            .list(&Query::default())
            .await
            .unwrap()
            .deployments
            .is_empty()
    );
}

#[tokio::test]
async fn a_deploy_that_goes_back_is_given_a_rollbacks_warnings() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let plan = b
        .engine
        .preview(&Request::deploy(b.api.clone(), "v1", me()))
        .await
        .unwrap();
    assert!(
        plan.warnings()
            .iter()
            .any(|w| matches!(w, Warning::GoesBack { .. }))
    );
    let plan = b
        .engine
        .preview(&Request::deploy(b.api.clone(), "v3", me()))
        .await
        .unwrap();
    assert_eq!(plan.warnings(), [], "empty when all is well");
}

#[tokio::test]
async fn dropping_the_run_stops_nothing() {
    let b = Bench::new();
    let mut events = b.engine.subscribe();
    drop(b.engine.deploy(&b.api, "v1", me()).await.unwrap());
    loop {
        let notice = events.recv().await.unwrap();
        if matches!(notice.event.map(|e| e.event), Some(Event::Settled(_))) {
            break;
        }
    }
    assert_eq!(b.live(), "v1");
}

#[tokio::test]
async fn a_hold_lets_rollbacks_through_and_nothing_else() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let why = "v3 is known bad".parse().unwrap();
    b.engine.hold(&b.api, why, me()).await.unwrap();
    let e = b.engine.deploy(&b.api, "v3", me()).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::Held { .. })), "{e}");
    assert!(b.rollback(Goal::Previous).await.unwrap().succeeded());
}

#[derive(Debug)]
struct Never;

#[async_trait]
impl Guard for Never {
    fn name(&self) -> GuardName {
        "never".parse().unwrap()
    }
    async fn check(&self, _: &Context, _: &Plan) -> Ruling {
        Ruling::Refuse("not today".into())
    }
}

#[tokio::test]
async fn a_guard_refuses_unless_it_is_forced_by_name_and_that_is_recorded() {
    let b = Bench::with(|w| w.guard(Never));
    let e = b.engine.deploy(&b.api, "v1", me()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused);
    let request = Request::deploy(b.api.clone(), "v1", me()).force("never".parse().unwrap());
    let report = b.engine.run(request).await.unwrap().await.unwrap();
    assert!(report.succeeded());
    assert_eq!(report.deployment().opening().forced.len(), 1);
}

#[derive(Debug)]
struct Medicine;

#[async_trait]
impl Remediation for Medicine {
    fn name(&self) -> String {
        "medicine".into()
    }
    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        Ok("gave it".into())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[derive(Debug)]
struct SecondLook(std::sync::atomic::AtomicUsize);

#[async_trait]
impl HealthCheck for SecondLook {
    fn name(&self) -> String {
        "second look".into()
    }
    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        match self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Err(Unhealthy::new("not yet")),
            _ => Ok(Healthy::yes()),
        }
    }
}

#[tokio::test]
async fn a_remediation_that_heals_is_named_in_the_verdict() {
    let gate = Gate::default().retries(1).start_period(Duration::ZERO);
    let b = Bench::with(|w| {
        w.check(SecondLook(0.into()))
            .gate(gate)
            .remediation(Medicine)
    });
    let report = b.deploy("v1").await;
    assert_eq!(
        *report.verdict(),
        Verdict::Healed {
            by: "medicine".into()
        }
    );
    assert!(report.succeeded());
}

#[derive(Debug)]
struct Migration(&'static str);

#[async_trait]
impl ReleaseTask for Migration {
    fn name(&self) -> String {
        "migrate".into()
    }
    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger == TriggerKind::Deploy
    }
    async fn run(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        match op.to.release().map(|r| r.artifact().digest.as_str()) {
            Some(digest) if digest == self.0 => Err("column exists".into()),
            _ => Ok(()),
        }
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_release_task_that_fails_leaves_what_is_live_alone() {
    let b = Bench::with(|w| w.task(Migration("v2")));
    b.deploy("v1").await;
    let report = b.deploy("v2").await;
    assert_eq!(report.outcome(), Outcome::Failed);
    assert_eq!(b.live(), "v1");
    assert_eq!(
        b.shelf.0.lock().unwrap().switches,
        1,
        "v2 was never switched to"
    );
}

#[tokio::test]
async fn a_cancelled_deploy_goes_back_and_the_next_one_works() {
    let gate = Gate::default()
        .retries(1_000)
        .interval(Duration::from_millis(10));
    #[derive(Debug)]
    struct NotYet;
    #[async_trait]
    impl HealthCheck for NotYet {
        fn name(&self) -> String {
            "never".into()
        }
        async fn check(&self, _: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
            match probe.instance.release.artifact().digest.as_str() {
                "slow" => Err(Unhealthy::new("starting")),
                _ => Ok(Healthy::yes()),
            }
        }
    }
    let b = Bench::with(|w| w.check(NotYet).gate(gate));
    b.deploy("v1").await;
    let run = b.engine.deploy(&b.api, "slow", me()).await.unwrap();
    while b.live() != "slow" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let busy = b.engine.deploy(&b.api, "v3", me()).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Conflict);
    assert_eq!(busy.conflict().unwrap().deployment, *run.id());
    b.engine.cancel(run.id(), &me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Cancelled);
    let cause = report.deployment().cause().unwrap().to_string();
    assert_eq!(cause, "cancelled by ada");
    assert_eq!(b.live(), "v1");
    assert!(b.deploy("v3").await.succeeded());
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_goes_away_leaves_the_record_for_recovery() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().vanishes_at_switch = true;
    let e = b
        .engine
        .deploy(&b.api, "v2", me())
        .await
        .unwrap()
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted, "{e}");
    let still_away = b.engine.recover().await.unwrap();
    assert_eq!(
        still_away[0].result.as_ref().unwrap_err().kind(),
        ErrorKind::Interrupted
    );
    b.shelf.0.lock().unwrap().unreachable = false;
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.live(), "v1");
    let state = b.store.workload(&b.api).await.unwrap();
    assert!(state.in_flight.is_none());
    let live = b.engine.get(state.live.known().unwrap()).await.unwrap();
    assert_eq!(live.instance().unwrap().release.artifact().digest, b.live());
}

#[tokio::test]
async fn standing_is_derived_from_lineage() {
    let b = Bench::new();
    let d1 = b.deploy("v1").await;
    let d2 = b.deploy("v2").await;
    let d3 = b.rollback(Goal::Previous).await.unwrap();
    let records = b
        .engine
        .list(&Query::workload(&b.api))
        .await
        .unwrap()
        .deployments;
    let live = d3.live().clone();
    let lineage = Lineage::new(&records, &live);
    let standing = |r: &rollback_core::engine::Report| lineage.standing(r.deployment());
    assert_eq!(standing(&d1), Standing::Superseded);
    assert_eq!(standing(&d2), Standing::RolledBack);
    assert_eq!(standing(&d3), Standing::Live);
    let _ = Workload::new(b.shelf.clone());
}

#[tokio::test]
async fn drift_is_undone_by_rolling_back_to_what_should_be_live() {
    let b = Bench::new();
    let d1 = b.deploy("v1").await;
    b.shelf.0.lock().unwrap().live.as_mut().unwrap().handle = Handle::new("hand-made");
    let request =
        Request::rollback(b.api.clone(), Goal::To(d1.deployment().id().clone()), me()).reapply();
    let plan = b.engine.preview(&request).await.unwrap();
    assert!(plan.drift().is_drift());
    assert!(
        plan.warnings()
            .iter()
            .any(|w| matches!(w, Warning::Drifted { .. }))
    );
    assert!(
        b.engine
            .execute(plan)
            .await
            .unwrap()
            .await
            .unwrap()
            .succeeded()
    );
    let health = b.engine.health(&b.api).await.unwrap();
    assert!(!health.drift.is_drift());
    assert!(health.platform == View::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_was_away_for_a_minute_on_the_way_back_needed_a_recovery() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().vanishes_at_switch = true;
    let shelf = b.shelf.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        shelf.0.lock().unwrap().unreachable = false;
    });
    let report = b.deploy("v2").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.live(), "v1");
}

#[tokio::test(start_paused = true)]
async fn recovery_took_away_what_a_person_put_live_after_the_deploy_had_turned_round() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().vanishes_at_switch = true;
    let run = b.engine.deploy(&b.api, "v2", me()).await.unwrap();
    assert_eq!(run.await.unwrap_err().kind(), ErrorKind::Interrupted);
    let release = b.engine.get(&last(&b).await).await.unwrap();
    let by_hand = Instance::new(release.release().unwrap().clone(), Handle::new("by-hand"));
    {
        let mut target = b.shelf.0.lock().unwrap();
        target.unreachable = false;
        target.live = Some(by_hand.clone());
    }
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.outcome(), Outcome::Interrupted);
    assert_eq!(*report.live(), LiveRecord::Unknown);
    // It had been switched to before: to say that nothing was touched would be untrue.
    assert!(
        report.summary().contains("was left alone"),
        "{}",
        report.summary()
    );
    assert_eq!(b.shelf.0.lock().unwrap().live, Some(by_hand));
}

async fn last(b: &Bench) -> DeploymentId {
    let page = b.engine.list(&Query::default().limit(1)).await.unwrap();
    page.deployments[0].id().clone()
}

#[tokio::test(start_paused = true)]
async fn insisting_took_away_what_a_person_put_live_while_the_platform_was_away() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().vanishes_at_switch = true;
    let shelf = b.shelf.clone();
    let by_hand = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut target = shelf.0.lock().unwrap();
        target.unreachable = false;
        let release = target.standbys[0].release.clone();
        let handle = Handle::new("by-hand");
        target.live = Some(Instance::new(release, handle));
        target.live.clone()
    });
    let report = b.deploy("v2").await;
    assert_eq!(report.outcome(), Outcome::Interrupted);
    assert_eq!(*report.live(), LiveRecord::Unknown);
    let by_hand = by_hand.await.unwrap();
    assert_eq!(b.shelf.0.lock().unwrap().live, by_hand);
}

/// Heals nothing, and the platform is away from then on.
#[derive(Debug)]
struct Cuts(support::Shelf);

#[async_trait]
impl Remediation for Cuts {
    fn name(&self) -> String {
        "cuts".into()
    }

    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        self.0.0.lock().unwrap().unreachable = true;
        Err("there was nothing to do".into())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_was_away_for_a_moment_kept_a_sick_release_live() {
    let shelf = support::Shelf::default();
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let workload = Workload::new(shelf.clone())
        .remediation(Cuts(shelf.clone()))
        .auto_rollback();
    let engine =
        rollback_core::engine::RollbackEngine::builder(rollback_core::memory::MemoryStore::new())
            .workload(workload)
            .build()
            .unwrap();
    let run = engine.deploy(&api, "v1", me()).await.unwrap();
    assert!(run.await.unwrap().succeeded());
    let run = engine.deploy(&api, "sick2", me()).await.unwrap();
    let away = shelf.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        away.0.lock().unwrap().unreachable = false;
    });
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(shelf.live().as_deref(), Some("v1"));
}
