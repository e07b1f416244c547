//! Somebody else's code that hangs, panics or is slow: it keeps no run, plan or program from going on.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Run, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::{Guard, Notice, Observer, ReleaseTask, Remediation, Ruling};
use rollback_core::id::GuardName;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use support::{Bench, me};

/// Somebody else's code that never comes back, and minds no deadline.
#[derive(Debug, Clone)]
struct Silent;

#[async_trait]
impl Guard for Silent {
    fn name(&self) -> GuardName {
        "silent".parse().unwrap()
    }

    async fn check(&self, _: &Context, _: &Plan) -> Ruling {
        std::future::pending().await
    }
}

#[async_trait]
impl HealthCheck for Silent {
    fn name(&self) -> String {
        "silent".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_never_answered_hung_the_plan() {
    let b = Bench::with(|w| w.guard(Silent));
    let e = b.engine.deploy(&b.api, "v1", me()).await.unwrap_err();
    let silent: GuardName = "silent".parse().unwrap();
    assert!(
        matches!(e.refusal(), Some(Refusal::Guard { guard, why })
            if *guard == silent && why == "no answer within 30s"),
        "{e}"
    );
    let forced = Request::deploy(b.api.clone(), "v1", me()).force(silent);
    let report = b.engine.run(forced).await.unwrap().await.unwrap();
    assert!(report.succeeded());
}

#[tokio::test(start_paused = true)]
async fn a_check_that_never_answered_hung_the_gate() {
    let b = Bench::with(|w| w.check(Silent));
    let report = b.deploy("v1").await;
    assert_eq!(report.outcome(), Outcome::Failed);
    let verdict = report.deployment().verdict().to_string();
    assert!(verdict.contains("silent: no answer within"), "{verdict}");
    let health = b.engine.health(&b.api).await.unwrap();
    assert_eq!(health.platform, View::Healthy);
    assert!(health.verdict().is_failed());
}

/// Takes its time, and counts what it was told.
#[derive(Debug, Clone, Default)]
struct Slow(Arc<AtomicUsize>);

#[async_trait]
impl Observer for Slow {
    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn notice(&self, _: &Notice) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_observer_missed_the_end_when_the_program_exited_and_everything_in_the_next_runtime() {
    let (shelf, slow) = (support::Shelf::default(), Slow::default());
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(shelf))
        .observer(slow.clone())
        .build()
        .unwrap();
    let mut notices = 0;
    for reference in ["v1", "v2"] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let run = engine.deploy(&api, reference, me()).await.unwrap();
            // That it was opened is no event of its own.
            notices += 1 + run.await.unwrap().deployment().events().len();
            let hurried = engine.flush(Duration::ZERO).await;
            assert_eq!(hurried.map_err(|untold| untold.observers), Err(1));
            engine.flush(Duration::from_secs(10)).await.unwrap();
        });
        assert_eq!(slow.0.load(Ordering::SeqCst), notices, "after {reference}");
    }
}

/// A platform of which single calls never come back, and mind no deadline.
#[derive(Debug, Clone, Default)]
struct Hanging {
    shelf: support::Shelf,
    health_hangs: Arc<AtomicUsize>,
    observe_hangs: Arc<AtomicUsize>,
    panics: Arc<AtomicUsize>,
}

fn hangs(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok()
}

#[async_trait]
impl Backend for Hanging {
    fn kind(&self) -> BackendKind {
        self.shelf.kind()
    }

    fn workload(&self) -> &WorkloadId {
        self.shelf.workload()
    }

    fn place(&self) -> Place {
        self.shelf.place()
    }

    fn rollout(&self) -> Rollout {
        self.shelf.rollout()
    }

    fn default_restore(&self) -> Restore {
        self.shelf.default_restore()
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        self.shelf.resolve(cx, reference).await
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        assert!(!hangs(&self.panics), "the platform's library panics");
        if hangs(&self.observe_hangs) {
            std::future::pending::<()>().await;
        }
        self.shelf.observe(cx).await
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        self.shelf.availability(cx, candidate).await
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        self.shelf.prepare(cx, op).await
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        self.shelf.start(cx, op).await
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        self.shelf.switch(cx, op).await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        self.shelf.retire(cx, op).await
    }

    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        assert!(!hangs(&self.panics), "the platform's library panics");
        if hangs(&self.health_hangs) {
            std::future::pending::<()>().await;
        }
        self.shelf.health(cx, instance).await
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

fn on_hanging(hanging: &Hanging) -> (RollbackEngine, WorkloadId) {
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let gate = Gate::default().retries(3);
    let workload = Workload::new(hanging.clone()).gate(gate);
    let engine = RollbackEngine::builder(MemoryStore::new()).workload(workload);
    (engine.build().unwrap(), api)
}

async fn deployed(engine: &RollbackEngine, api: &WorkloadId, reference: &str) -> Run {
    engine.deploy(api, reference, me()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_view_of_the_platform_that_never_came_ate_the_whole_gate() {
    let hanging = Hanging::default();
    let (engine, api) = on_hanging(&hanging);
    hanging.health_hangs.store(1, Ordering::SeqCst);
    let run = deployed(&engine, &api, "v1").await;
    assert!(run.await.unwrap().succeeded());
}

#[tokio::test(start_paused = true)]
async fn a_view_that_never_came_swallowed_a_cancellation() {
    let hanging = Hanging::default();
    let (engine, api) = on_hanging(&hanging);
    assert!(
        deployed(&engine, &api, "v1")
            .await
            .await
            .unwrap()
            .succeeded()
    );
    hanging.health_hangs.store(usize::MAX, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    let run = deployed(&engine, &api, "v2").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    engine.cancel(run.id(), &me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Cancelled);
    assert_eq!(hanging.shelf.live().as_deref(), Some("v1"));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_stuck_never_ended_where_nothing_could_be_seen() {
    let hanging = Hanging::default();
    let (engine, api) = on_hanging(&hanging);
    assert!(
        deployed(&engine, &api, "v1")
            .await
            .await
            .unwrap()
            .succeeded()
    );
    let fails = ["v1".to_owned(), "v2".to_owned()].into();
    hanging.shelf.0.lock().unwrap().switch_fails = fails;
    let run = deployed(&engine, &api, "v2").await;
    hanging.observe_hangs.store(usize::MAX, Ordering::SeqCst);
    let e = run.await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted, "{e}");
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_panicked_was_nothing_to_recover() {
    let hanging = Hanging::default();
    let (engine, api) = on_hanging(&hanging);
    hanging.shelf.0.lock().unwrap().vanishes_at_switch = true;
    let run = deployed(&engine, &api, "v1").await;
    assert_eq!(run.await.unwrap_err().kind(), ErrorKind::Interrupted);
    hanging.shelf.0.lock().unwrap().unreachable = false;
    hanging.panics.store(1, Ordering::SeqCst);
    let recovered = engine.recover().await.unwrap();
    let e = recovered[0].result.as_ref().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted);
    let why = std::error::Error::source(e).unwrap().to_string();
    assert!(why.contains("it panicked"), "{why}");
    let recovered = engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.live(), &LiveRecord::Nothing);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panicked_was_told_nothing_more_and_flush_waited_for_it() {
    #[derive(Debug, Clone, Default)]
    struct Once(Arc<AtomicUsize>);
    #[async_trait]
    impl Observer for Once {
        fn runs_on(&self, _: TriggerKind) -> bool {
            true
        }
        async fn notice(&self, _: &Notice) {
            assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 0, "the first one");
        }
    }
    let (shelf, once) = (support::Shelf::default(), Once::default());
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(shelf))
        .observer(once.clone());
    let engine = engine.build().unwrap();
    let report = deployed(&engine, &api, "v1").await.await.unwrap();
    engine.flush(Duration::from_secs(5)).await.unwrap();
    let notices = 1 + report.deployment().events().len();
    assert_eq!(once.0.load(Ordering::SeqCst), notices);
}

/// A release task that never ends, and notes that it was to be abandoned.
#[derive(Debug, Clone, Default)]
struct Endless {
    begun: Arc<AtomicUsize>,
    abandoned: Arc<Mutex<Vec<DeploymentId>>>,
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

impl Endless {
    /// Deploys, and lets the process die once this has begun.
    fn dies_with(&self, engine: &RollbackEngine, api: &WorkloadId, what: &str) -> DeploymentId {
        let process = runtime();
        process.block_on(async {
            let run = deployed(engine, api, what).await;
            while self.begun.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            run.id().clone()
        })
    }
}

#[async_trait]
impl ReleaseTask for Endless {
    fn name(&self) -> String {
        "endless".into()
    }

    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn run(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn abandon(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        self.abandoned.lock().unwrap().push(op.deployment.clone());
        Ok(())
    }
}

#[test]
fn a_release_task_of_a_dead_process_went_on_after_the_deployment_had_gone_back() {
    let (shelf, endless) = (support::Shelf::default(), Endless::default());
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(shelf).task(endless.clone()))
        .build()
        .unwrap();
    let id = endless.dies_with(&engine, &api, "v1");
    let recovered = runtime().block_on(engine.recover()).unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.outcome(), Outcome::Interrupted);
    assert!(report.summary().contains("endless"), "{}", report.summary());
    assert_eq!(*endless.abandoned.lock().unwrap(), [id]);
    assert_eq!(endless.begun.load(Ordering::SeqCst), 1, "never twice");
}

/// A remediation that never ends, for a release that is sick.
#[async_trait]
impl Remediation for Endless {
    fn name(&self) -> String {
        "endless".into()
    }

    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn abandon(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        self.abandoned.lock().unwrap().push(op.deployment.clone());
        Ok(())
    }
}

#[test]
fn what_a_remediation_of_a_dead_process_had_left_half_way_was_only_judged() {
    let (shelf, endless) = (support::Shelf::default(), Endless::default());
    let api: WorkloadId = "api@web-1".parse().unwrap();
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(shelf.clone()).remediation(endless.clone()))
        .build()
        .unwrap();
    let id = endless.dies_with(&engine, &api, "sick1");
    let switches = shelf.0.lock().unwrap().switches;
    let recovered = runtime().block_on(engine.recover()).unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.outcome(), Outcome::Failed);
    // The platform puts right what was begun; the remediation itself goes on no more, nor again.
    assert_eq!(shelf.0.lock().unwrap().switches, switches + 1);
    assert_eq!(*endless.abandoned.lock().unwrap(), [id]);
    assert_eq!(endless.begun.load(Ordering::SeqCst), 1);
}

/// A release task that ends when it is told to, as a program does that is killed.
#[derive(Debug)]
struct Obedient(fn() -> HookError);

#[async_trait]
impl ReleaseTask for Obedient {
    fn name(&self) -> String {
        "obedient".into()
    }

    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn run(&self, cx: &Context, _: &Operation) -> Result<(), HookError> {
        cx.cancellation().cancelled().await;
        Err((self.0)())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_was_cancelled_during_a_hook_was_recorded_as_failed() {
    let cancelled = async |hook: Obedient| {
        let b = Bench::with(|w| w.task(hook));
        let run = b.engine.deploy(&b.api, "v1", me()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        b.engine.cancel(run.id(), &me()).await.unwrap();
        let report = run.await.unwrap();
        let cause = report.deployment().cause().unwrap().to_string();
        (report.outcome(), cause)
    };
    let (outcome, cause) = cancelled(Obedient(|| HookError::cancelled("it was killed"))).await;
    assert_eq!(outcome, Outcome::Cancelled);
    assert_eq!(cause, "cancelled by ada");
    // One that failed by itself just then says so: it is not to be lost.
    let failed = || HookError::new("it exited with 1").with_output("the disk is full");
    let (outcome, cause) = cancelled(Obedient(failed)).await;
    assert_eq!(outcome, Outcome::Failed);
    assert!(
        cause.contains("it exited with 1\nthe disk is full"),
        "{cause}"
    );
}

#[test]
fn two_workloads_at_one_place_undid_each_other() {
    let built = |ids: [&str; 2], place: fn(&str) -> Place| {
        let mut builder = RollbackEngine::builder(MemoryStore::new());
        for id in ids {
            let shelf = support::Shelf::of(id).at(place(id));
            // Shared, as for a remediation of its own.
            builder = builder.workload(Workload::new(Arc::new(shelf)));
        }
        builder.build()
    };
    let one: fn(&str) -> Place = |_| Place::new("unix:///run/docker.sock", "api");
    let e = built(["api@web-1", "old@web-1"], one).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest);
    let text = e.to_string();
    for part in ["api@web-1", "old@web-1", "api (unix:///run/docker.sock)"] {
        assert!(text.contains(part), "{text}");
    }
    built(["api@web-1", "old@web-1"], |id| Place::new("files", id)).unwrap();
}
