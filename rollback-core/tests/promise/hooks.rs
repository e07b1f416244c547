//! Hooks that panic each time, or cannot be ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::{Guard, MigrationLog, ReleaseTask, Remediation, Restart, Ruling};
use rollback_core::id::GuardName;
use rollback_core::prelude::*;

use crate::support::{Bench, me};
use crate::{instance, left_by_the_dead, prepared, state};

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
    async fn run(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        panic!("the task's library panics")
    }
    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
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
    async fn restart(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
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
    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        panic!("the remediation's library panics")
    }
    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
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
    ) -> Result<Vec<String>, HookError> {
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
        let workload = Workload::new(plain.shelf.clone()).auto_rollback();
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

/// May run on, until it is said that it does not.
#[derive(Debug, Clone, Default)]
struct RunsOn(Arc<AtomicBool>);

#[async_trait]
impl ReleaseTask for RunsOn {
    fn name(&self) -> String {
        "migrate".into()
    }
    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }
    async fn run(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        match self.0.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("process group 17 does not end".into()),
        }
    }
}

#[tokio::test]
async fn a_task_that_could_not_be_ended_ran_on_beside_the_next_deployment() {
    let task = RunsOn::default();
    let b = Bench::with(|w| w.task(task.clone()));
    b.deploy("v1").await;
    let begun = Event::TaskIntended {
        name: "migrate".into(),
    };
    let v2 = instance("v2");
    let events = vec![Event::PrepareIntended, prepared(&v2), begun];
    let id = left_by_the_dead(&b, "v2", events).await;
    let e = b.engine.deploy(&b.api, "v3", me()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted, "{e}");
    assert_eq!(e.subject(), Some(id.as_str()));
    assert!(e.to_string().contains("process group 17"), "{e}");
    task.0.store(true, Ordering::SeqCst);
    assert!(b.deploy("v3").await.succeeded());
    let record = b.engine.get(&id).await.unwrap();
    assert_eq!(record.outcome(), Some(Outcome::Interrupted));
}
