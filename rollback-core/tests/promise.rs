//! What broke the promise once, by the name of the bug.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{AutomaticRollback, RollbackEngine, Workload};
use rollback_core::guard::{Guard, MigrationLog, ReleaseTask, Remediation, Restart, Ruling};
use rollback_core::history::{
    Fence, HistoryStore, Holder, Sequence, Version, WasAmended, WorkloadState,
};
use rollback_core::id::GuardName;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use support::{Bench, Shelf, me};

async fn state(b: &Bench) -> WorkloadState {
    b.store.workload(&b.api).await.unwrap()
}

/// A token that this history will give later.
async fn from_the_future(b: &Bench) -> Fence {
    let identity = b.store.identity().await.unwrap();
    Fence {
        history: identity.history,
        incarnation: identity.incarnation,
        sequence: Sequence(1_000),
        epoch: rollback_core::history::Epoch(1_000),
        deployment: DeploymentId::generate(SystemClock.now()),
    }
}

/// Leaves a deployment of `reference` behind, as a process that died after these events.
async fn left_by_the_dead(b: &Bench, reference: &str, events: Vec<Event>) -> DeploymentId {
    let request = Request::deploy(b.api.clone(), reference, me());
    let plan = b.engine.preview(&request).await.unwrap();
    let new = plan.deployment().clone();
    let holder = Holder::this_process(SystemClock.now());
    let begun = b.store.begin(&new, &holder, plan.version()).await.unwrap();
    for event in events {
        let at = SystemClock.now();
        let timed = TimedEvent { at, event };
        b.store.append(&begun.lease, &timed).await.unwrap();
    }
    new.id
}

fn prepared(instance: &Instance) -> Event {
    Event::Prepared(Prepared {
        rollout: Rollout::Replace,
        to: instance.clone(),
        way_back: WayBack::Exact,
    })
}

fn instance(reference: &str) -> Instance {
    Instance {
        release: Release::new(
            "shelf".parse().unwrap(),
            Artifact::new(reference, reference),
        ),
        handle: Handle::new(format!("by-hand-{reference}")),
    }
}

/// The timeline of a deployment that was live and judged healthy.
fn judged(instance: &Instance, boot: usize) -> Vec<Event> {
    vec![
        Event::PrepareIntended,
        prepared(instance),
        Event::SwitchIntended,
        Event::Switched {
            evidence: Evidence::default().with("boot", boot.to_string()),
        },
        Event::Judged {
            site: Site::Live,
            verdict: Verdict::Passed,
            notes: Vec::new(),
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn one_failed_call_made_an_automatic_rollback_put_the_sick_release_back() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.deploy("v2").await;
    for hiccups in [1, 2] {
        b.shelf.0.lock().unwrap().switch_fails_for = hiccups;
        let report = b.deploy("sick-v5").await;
        assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
        assert_eq!(b.shelf.live().as_deref(), Some("v2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_never_judged_was_blamed_with_the_failed_one() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().switch_fails.insert("v1".into());
    let report = b.deploy("sick-v2").await;
    let AutomaticRollback::Attempted { recovered, .. } = report.automatic_rollback() else {
        panic!("it is armed")
    };
    assert!(!recovered);
    let said = report.summary();
    assert!(!said.contains("both releases"), "{said}");
}

/// Panics wherever it is asked.
#[derive(Debug, Clone)]
struct Panics;

#[async_trait]
impl Guard for Panics {
    fn name(&self) -> GuardName {
        "panics".parse().unwrap()
    }
    async fn check(&self, _: &Context, _: &Plan) -> Ruling {
        panic!("the guard's library panics")
    }
}

#[async_trait]
impl ReleaseTask for Panics {
    fn name(&self) -> String {
        "panics".into()
    }
    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }
    async fn run(&self, _: &Context, _: &Operation) -> Result<(), String> {
        panic!("the task's library panics")
    }
    async fn abandon(&self, _: &Context, _: &Operation) {
        panic!("the task's library panics")
    }
}

#[async_trait]
impl Restart for Panics {
    fn name(&self) -> String {
        "panics".into()
    }
    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger == TriggerKind::Deploy
    }
    async fn restart(&self, _: &Context, op: &Operation) -> Result<(), String> {
        let to = op.to.release().map(|r| r.artifact().digest.clone());
        assert_ne!(to.as_deref(), Some("v2"), "the restart's library panics");
        Ok(())
    }
}

#[async_trait]
impl Remediation for Panics {
    fn name(&self) -> String {
        "panics".into()
    }
    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, String> {
        panic!("the remediation's library panics")
    }
    async fn abandon(&self, _: &Context, _: &Operation) {
        panic!("the remediation's library panics")
    }
}

#[async_trait]
impl HealthCheck for Panics {
    fn name(&self) -> String {
        "panics".into()
    }
    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        panic!("the check's library panics")
    }
}

#[async_trait]
impl MigrationLog for Panics {
    async fn applied_since(
        &self,
        _: &Context,
        _: &WorkloadId,
        _: Timestamp,
    ) -> Result<Vec<String>, String> {
        panic!("the log's library panics")
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panicked_each_time_bricked_its_workload() {
    type Adjust = fn(Workload) -> Workload;
    let hooks: [(&str, &str, Adjust); 5] = [
        ("a task", "v2", |w| w.task(Panics)),
        ("a restart", "v2", |w| w.restart(Panics)),
        ("a remediation", "sick-v2", |w| w.remediation(Panics)),
        ("a check", "v2", |w| w.check(Panics)),
        ("a migration log", "v2", |w| w.migrations(Panics)),
    ];
    for (hook, reference, adjust) in hooks {
        let plain = Bench::armed();
        plain.deploy("v1").await;
        let workload = Workload::new(plain.api.clone(), plain.shelf.clone()).auto_rollback();
        let engine = RollbackEngine::builder(plain.store.clone())
            .workload(adjust(workload))
            .build()
            .unwrap();
        let run = engine.deploy(&plain.api, reference, me()).await.unwrap();
        run.await.unwrap_or_else(|e| panic!("{hook}: {e}"));
        assert!(state(&plain).await.in_flight.is_none(), "{hook}");
        assert!(engine.recover().await.unwrap().is_empty(), "{hook}");
    }
    // A guard that panics has not allowed it; force names it.
    let b = Bench::with(|w| w.guard(Panics));
    let e = b.engine.deploy(&b.api, "v1", me()).await.unwrap_err();
    assert!(e.to_string().contains("it panicked"), "{e}");
    let forced = Request::deploy(b.api.clone(), "v1", me()).force("panics".parse().unwrap());
    assert!(
        b.engine
            .run(forced)
            .await
            .unwrap()
            .await
            .unwrap()
            .succeeded()
    );
}

#[tokio::test]
async fn a_workload_that_left_the_catalog_was_bricked_for_good() {
    let b = Bench::new();
    b.deploy("v1").await;
    let id = left_by_the_dead(&b, "v2", vec![Event::PrepareIntended]).await;
    let without = RollbackEngine::builder(b.store.clone()).build().unwrap();
    let recovered = without.recover().await.unwrap();
    let e = recovered[0].result.as_ref().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotRegistered);
    assert!(e.to_string().contains("abandon"), "{e}");
    let why = "the service was retired".parse().unwrap();
    assert_eq!(without.abandon(&b.api, why, me()).await.unwrap(), id);
    let after = state(&b).await;
    assert_eq!((after.live, after.in_flight), (LiveRecord::Unknown, None));
    let amended = &after.amendments[0];
    assert_eq!(amended.by, me());
    assert!(matches!(&amended.what, WasAmended::Abandoned { deployment, .. } if *deployment == id));
    let record = b.engine.get(&id).await.unwrap();
    assert_eq!(record.outcome(), Some(Outcome::Interrupted));
    let nothing = without.abandon(&b.api, "again".parse().unwrap(), me());
    assert_eq!(nothing.await.unwrap_err().kind(), ErrorKind::NotFound);
    // And back in the catalog it works as ever.
    assert!(b.engine.adopt(&b.api, me()).await.unwrap().succeeded());
    assert!(b.deploy("v3").await.succeeded());
}

#[tokio::test]
async fn what_is_in_flight_and_alive_was_abandoned() {
    let b = Bench::new();
    let request = Request::deploy(b.api.clone(), "v1", me());
    let plan = b.engine.preview(&request).await.unwrap();
    let holder = Holder::this_process(SystemClock.now());
    let begun = b.store.begin(plan.deployment(), &holder, Version(0)).await;
    let why = "impatience".parse().unwrap();
    let e = b.engine.abandon(&b.api, why, me()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    drop(begun);
}

#[tokio::test]
async fn recovery_put_away_what_somebody_had_put_live_before_the_switch() {
    for events in [
        vec![Event::PrepareIntended],
        vec![Event::PrepareIntended, prepared(&instance("v2"))],
        vec![
            Event::PrepareIntended,
            Event::GoingBack(rollback_core::event::Cause::Interrupted),
        ],
    ] {
        let b = Bench::new();
        b.deploy("v1").await;
        let id = left_by_the_dead(&b, "v2", events).await;
        let before = {
            let mut target = b.shelf.0.lock().unwrap();
            target.live = Some(instance("by-hand"));
            target.retires
        };
        let recovered = b.engine.recover().await.unwrap();
        let report = recovered[0].result.as_ref().unwrap();
        assert_eq!(report.deployment().id(), &id);
        assert_eq!(report.outcome(), Outcome::Interrupted);
        assert_eq!(report.live(), &LiveRecord::Unknown);
        assert_eq!(b.shelf.live().as_deref(), Some("by-hand"));
        assert_eq!(
            b.shelf.0.lock().unwrap().retires,
            before,
            "nothing is put away"
        );
    }
}

#[tokio::test]
async fn what_a_restored_history_had_in_flight_went_over_what_came_after_it() {
    let b = Bench::new();
    b.deploy("v1").await;
    left_by_the_dead(&b, "v2", vec![Event::PrepareIntended]).await;
    // Since the backup v3 was deployed, and v1's instance put back by a rollback: live is what the
    // old history knows, but by a deployment that it does not.
    b.shelf.0.lock().unwrap().published = Some(from_the_future(&b).await);
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.live(), &LiveRecord::Unknown);
}

#[tokio::test(start_paused = true)]
async fn what_was_judged_and_then_stopped_by_a_reboot_was_called_live() {
    let b = Bench::new();
    let v1 = instance("v1");
    left_by_the_dead(&b, "v1", judged(&v1, 0)).await;
    {
        let mut target = b.shelf.0.lock().unwrap();
        (target.live, target.stopped, target.boots) = (Some(v1), true, 1);
    }
    let recovered = b.engine.recover().await.unwrap();
    assert!(recovered[0].result.as_ref().unwrap().succeeded());
    let target = b.shelf.0.lock().unwrap();
    assert!(!target.stopped, "it was started again");
}

#[tokio::test(start_paused = true)]
async fn what_runs_now_was_called_healthy_by_a_verdict_on_what_ran_before() {
    let b = Bench::new();
    let sick = instance("sick-v1");
    left_by_the_dead(&b, "sick-v1", judged(&sick, 0)).await;
    {
        let mut target = b.shelf.0.lock().unwrap();
        (target.live, target.boots) = (Some(sick), 1);
    }
    let recovered = b.engine.recover().await.unwrap();
    assert_eq!(
        recovered[0].result.as_ref().unwrap().outcome(),
        Outcome::Failed
    );
}

/// A shelf whose switch blocks a thread, as file work does, and goes on when nobody waits for it.
#[derive(Debug, Clone, Default)]
struct Blocking {
    shelf: Shelf,
    told: Arc<AtomicUsize>,
}

#[async_trait]
impl Backend for Blocking {
    fn kind(&self) -> BackendKind {
        self.shelf.kind()
    }
    fn default_restore(&self) -> Restore {
        self.shelf.default_restore()
    }
    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        self.shelf.resolve(cx, reference).await
    }
    async fn observe(&self, cx: &Context, ends: &[End]) -> Result<Observation, BackendError> {
        self.shelf.observe(cx, ends).await
    }
    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        self.shelf.prepare(cx, op).await
    }
    async fn start(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        self.shelf.start(cx, op).await
    }
    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        if self.told.load(Ordering::SeqCst) > 0 {
            return self.shelf.switch(cx, op).await;
        }
        let (own, told) = (cx.clone(), Arc::clone(&self.told));
        tokio::task::spawn_blocking(move || {
            while own.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(300));
            told.fetch_add(1, Ordering::SeqCst);
        })
        .await
        .unwrap();
        cx.check()?;
        Ok(Evidence::default())
    }
    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        self.shelf.retire(cx, op).await
    }
    async fn health(&self, cx: &Context, op: &Operation) -> Result<View, BackendError> {
        self.shelf.health(cx, op).await
    }
    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        self.shelf.retain(cx, window).await
    }
    async fn configured(
        &self,
        cx: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        self.shelf.configured(cx, live).await
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn a_lease_was_free_while_a_step_of_a_dropped_runtime_went_on() {
    let (blocking, store) = (Blocking::default(), MemoryStore::new());
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let engine = RollbackEngine::builder(store.clone())
        .workload(Workload::new(api.clone(), blocking.clone()))
        .build()
        .unwrap();
    let first = runtime();
    first.block_on(async {
        let _run = engine.deploy(&api, "v1", me()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    first.shutdown_background();
    runtime().block_on(async {
        let liveness = async || {
            let in_flight = store.workload(&api).await.unwrap().in_flight;
            in_flight.unwrap().liveness
        };
        assert_eq!(liveness().await, rollback_core::history::Liveness::Alive);
        assert!(engine.recover().await.unwrap().is_empty());
        // It is told to stop, and the lease ends with it.
        while blocking.told.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while liveness().await == rollback_core::history::Liveness::Alive {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let recovered = engine.recover().await.unwrap();
        assert!(recovered[0].result.is_ok());
        assert!(store.workload(&api).await.unwrap().in_flight.is_none());
    });
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_could_not_tell_yet_failed_the_gate() {
    let b = Bench::new();
    // Longer than the start period, all retries, and one look's deadline.
    b.shelf.0.lock().unwrap().not_yet = 60;
    assert!(b.deploy("v1").await.succeeded());
    // And what is hopeless is not waited for.
    let began = tokio::time::Instant::now();
    assert_eq!(b.deploy("sick-v2").await.outcome(), Outcome::Failed);
    assert!(began.elapsed() < Duration::from_secs(1));
    // What can never tell is not waited for longer than the gate is open.
    b.shelf.0.lock().unwrap().not_yet = usize::MAX;
    let report = b.deploy("v3").await;
    let verdict = report.verdict().to_string();
    assert!(
        verdict.contains("before the deadline: it starts"),
        "{verdict}"
    );
}

/// An edge that is down.
#[derive(Debug)]
struct Down;

#[async_trait]
impl HealthCheck for Down {
    fn name(&self) -> String {
        "edge-1".into()
    }
    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        Err(Unhealthy::new("connection refused"))
    }
}

#[derive(Debug)]
struct Up;

#[async_trait]
impl HealthCheck for Up {
    fn name(&self) -> String {
        "edge-2".into()
    }
    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        Ok(Healthy::yes())
    }
}

#[tokio::test]
async fn a_failing_edge_among_several_left_no_note() {
    let b = Bench::with(|w| w.check(Down).check(Up));
    let report = b.deploy("v1").await;
    assert!(report.succeeded());
    let notes = report
        .deployment()
        .events()
        .iter()
        .find_map(|e| match &e.event {
            Event::Judged { notes, .. } => Some(notes.clone()),
            _ => None,
        });
    assert_eq!(notes.unwrap(), ["edge-1: connection refused"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_recovered_in_a_program_that_lives_on() {
    let b = Bench::new();
    b.deploy("v1").await;
    let supervision = b.engine.supervise(Duration::from_secs(30));
    tokio::time::sleep(Duration::from_secs(1)).await;
    left_by_the_dead(&b, "v2", vec![Event::PrepareIntended]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(state(&b).await.in_flight.is_none());
    supervision.stop().await;
    left_by_the_dead(&b, "v3", vec![Event::PrepareIntended]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(state(&b).await.in_flight.is_some(), "it was stopped");
}

#[tokio::test]
async fn a_history_behind_what_is_live_went_on_as_if_it_were_not() {
    let b = Bench::armed();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let published = from_the_future(&b).await;
    b.shelf.0.lock().unwrap().published = Some(published.clone());
    let e = b.engine.deploy(&b.api, "v3", me()).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::HistoryBehind { .. })),
        "{e}"
    );
    assert!(e.to_string().contains("adopt what is live first"), "{e}");
    let e = b.rollback(Goal::Previous).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::HistoryBehind { .. })),
        "{e}"
    );
    let seen = b.engine.health(&b.api).await.unwrap();
    assert_eq!(seen.behind, Some(published));
    // What is live is what the old history knows: adopting it is how it catches up.
    assert!(b.engine.adopt(&b.api, me()).await.unwrap().succeeded());
    let report = b.deploy("v3").await;
    assert!(report.succeeded());
    assert!(report.deployment().sequence() > Sequence(1_000));
    assert_eq!(b.engine.health(&b.api).await.unwrap().behind, None);
}

/// Publishes by somebody else while a deployment is at work.
#[derive(Debug)]
struct Overtaken(Shelf, Fence);

#[async_trait]
impl ReleaseTask for Overtaken {
    fn name(&self) -> String {
        "overtaken".into()
    }
    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }
    async fn run(&self, _: &Context, _: &Operation) -> Result<(), String> {
        self.0.0.lock().unwrap().published = Some(self.1.clone());
        Ok(())
    }
    async fn abandon(&self, _: &Context, _: &Operation) {}
}

#[tokio::test(start_paused = true)]
async fn a_late_actor_published_over_a_later_one() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let task = Overtaken(b.shelf.clone(), from_the_future(&b).await);
    let engine = RollbackEngine::builder(b.store.clone())
        .workload(Workload::new(b.api.clone(), b.shelf.clone()).task(task))
        .build()
        .unwrap();
    let report = engine
        .deploy(&b.api, "v2", me())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(report.outcome(), Outcome::Interrupted);
    assert_eq!(report.live(), &LiveRecord::Unknown);
    assert_eq!(b.shelf.live().as_deref(), Some("v1"));
}

#[tokio::test(start_paused = true)]
async fn an_automatic_rollback_went_ahead_in_a_history_that_is_behind() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let sick = instance("sick-v3");
    left_by_the_dead(&b, "sick-v3", judged(&sick, 0)).await;
    {
        let future = from_the_future(&b).await;
        let mut target = b.shelf.0.lock().unwrap();
        (target.live, target.published) = (Some(sick), Some(future));
    }
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    let attempted = report.automatic_rollback();
    assert!(
        !matches!(attempted, AutomaticRollback::Attempted { .. }),
        "{attempted:?}"
    );
    assert_eq!(b.shelf.live().as_deref(), Some("sick-v3"));
}

fn env(token: &str) -> std::collections::BTreeMap<String, FacetValue> {
    [("TOKEN".to_owned(), FacetValue::Plain(token.to_owned()))].into()
}

fn token(b: &Bench) -> Facet {
    let live = b.shelf.0.lock().unwrap().live.clone().unwrap();
    live.release.facets()["env"].clone()
}

#[tokio::test]
async fn redeploy_and_rollback_ignored_a_corrected_configuration() {
    let artifact = Policy {
        restore: Some(Restore::Artifact),
        ..Policy::default()
    };
    let b = Bench::with(|w| w.policy(artifact));
    b.shelf.0.lock().unwrap().env = env("right");
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().env = env("WRONG");
    let v2 = b.deploy("v2").await.deployment().id().clone();
    b.shelf.0.lock().unwrap().env = env("right");
    let plan = Request::redeploy(b.api.clone(), v2.clone(), me());
    let plan = b.engine.preview(&plan).await.unwrap();
    assert_eq!(plan.configured().len(), 1, "{plan}");
    assert!(
        plan.to_string().contains("configured: env: TOKEN"),
        "{plan}"
    );
    let redeployed = b.engine.redeploy(&v2, me()).await.unwrap().await.unwrap();
    assert!(redeployed.succeeded());
    assert_eq!(token(&b), Facet::Table(env("right")));
    b.shelf.0.lock().unwrap().env = env("newest");
    assert!(b.rollback(Goal::LastHealthy).await.unwrap().succeeded());
    assert_eq!(token(&b), Facet::Table(env("newest")));
    // What is live as configured is what there is nothing to do for.
    let e = b.rollback(Goal::AsOf(SystemClock.now())).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyLive, "{e}");
}

#[tokio::test]
async fn after_drift_already_live_named_the_recorded_deployment() {
    let b = Bench::new();
    let v1 = b.deploy("v1").await.deployment().clone();
    b.deploy("v2").await;
    b.shelf.0.lock().unwrap().live = v1.instance().cloned();
    let to = Goal::To(v1.id().clone());
    let e = b.rollback(to).await.unwrap_err();
    let Some(Refusal::AlreadyLive { deployment, .. }) = e.refusal() else {
        panic!("{e}")
    };
    assert_eq!(deployment, v1.id());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_met_an_automatic_rollback_put_the_sick_release_back() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let slow = [("v1".to_owned(), 5)].into();
    b.shelf.0.lock().unwrap().not_yet_of = slow;
    let run = b.engine.deploy(&b.api, "sick-v2", me()).await.unwrap();
    // While the way back is judged.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let back = state(&b).await.in_flight.unwrap().deployment;
    assert_ne!(back, *run.id());
    run.cancel();
    let e = b.engine.cancel(&back, &me()).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::NotCancellable { .. })),
        "{e}"
    );
    // Another program, of an older kind, has asked the store itself.
    b.store.request_cancel(&back, &me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.shelf.live().as_deref(), Some("v1"));
}
