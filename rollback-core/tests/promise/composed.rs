//! What was begun by a program that was composed otherwise.

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::Restart;
use rollback_core::history::Holder;
use rollback_core::id::GuardName;
use rollback_core::prelude::*;

use crate::support::{Bench, me};
use crate::{instance, left_by_the_dead, prepared};

#[derive(Debug)]
struct Hook(&'static str);

#[async_trait]
impl Restart for Hook {
    fn name(&self) -> String {
        self.0.into()
    }
    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }
    async fn restart(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

/// The next program on the same history and target.
fn next(b: &Bench, adjust: impl FnOnce(Workload) -> Workload) -> RollbackEngine {
    RollbackEngine::builder(b.store.clone())
        .workload(adjust(Workload::new(b.shelf.clone())))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_program_without_the_restart_hook_finished_what_was_begun_with_it() {
    let b = Bench::with(|w| w.restart(Hook("reload nginx")));
    b.deploy("v1").await;
    let v2 = instance("v2");
    let events = vec![Event::PrepareIntended, prepared(&v2), Event::SwitchIntended];
    let id = left_by_the_dead(&b, "v2", events).await;
    let without = next(&b, |w| w);
    let recovered = without.recover().await.unwrap();
    let e = recovered[0].result.as_ref().unwrap_err();
    let Some(Refusal::ComposedDifferently { deployment, lacks }) = e.refusal() else {
        panic!("{e}")
    };
    assert_eq!((deployment, lacks.len()), (&id, 1));
    assert!(
        e.to_string()
            .contains("the restart hook reload nginx is gone"),
        "{e}"
    );
    // Neither does a request of its.
    let e = without.deploy(&b.api, "v3", me()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused);
    assert!(b.engine.get(&id).await.unwrap().settlement().is_none());
    // One that has more goes on.
    let more = next(&b, |w| {
        w.restart(Hook("reload nginx")).restart(Hook("warm up"))
    });
    let recovered = more.recover().await.unwrap();
    assert!(recovered[0].result.as_ref().unwrap().succeeded());
}

#[tokio::test]
async fn what_was_composed_otherwise_is_finished_by_force() {
    let b = Bench::with(|w| w.restart(Hook("reload nginx")));
    b.deploy("v1").await;
    let events = vec![
        Event::PrepareIntended,
        prepared(&instance("v2")),
        Event::SwitchIntended,
    ];
    let id = left_by_the_dead(&b, "v2", events).await;
    let without = next(&b, |w| w);
    let forced = |guards: Vec<GuardName>| {
        let (engine, api) = (without.clone(), b.api.clone());
        async move { engine.recover_forcing(&api, &guards).await }
    };
    assert_eq!(forced(vec![]).await.unwrap_err().kind(), ErrorKind::Refused);
    let e = forced(vec![GuardName::hold()]).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::UnknownGuard { .. })),
        "{e}"
    );
    let report = forced(vec![GuardName::composition()])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (report.deployment().id(), report.outcome()),
        (&id, Outcome::Succeeded)
    );
    let none = forced(vec![GuardName::composition()]).await.unwrap();
    assert!(none.is_none());
}

#[tokio::test]
async fn what_takes_nothing_of_what_is_gone_waited_for_a_person() {
    let b = Bench::with(|w| w.restart(Hook("reload nginx")));
    b.deploy("v1").await;
    // Nothing live was touched: going back restarts nothing, and judges nothing.
    let id = left_by_the_dead(&b, "v2", vec![Event::PrepareIntended]).await;
    let recovered = next(&b, |w| w).recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.deployment().id(), &id);
    assert_eq!(report.outcome(), Outcome::Interrupted);
}

#[tokio::test]
async fn a_plan_that_was_made_elsewhere_put_the_planners_composition_on_record() {
    let b = Bench::new();
    let elsewhere = next(&b, |w| w.restart(Hook("reload nginx")));
    let deploy = Request::deploy(b.api.clone(), "v1", me());
    let plan = elsewhere.preview(&deploy).await.unwrap();
    let run = b.engine.execute(plan).await.unwrap();
    let report = run.await.unwrap();
    let composition = report.deployment().opening().composition.as_ref();
    assert!(composition.unwrap().restarts.is_empty(), "{composition:?}");
}

#[tokio::test]
async fn an_interrupted_automatic_rollback_went_on_to_what_was_recalled_meanwhile() {
    let b = Bench::armed();
    let first = b.deploy("v1").await;
    let second = b.deploy("v2").await;
    let live = b.shelf.0.lock().unwrap().live.clone().unwrap();
    let mut new = second.deployment().opening().clone();
    new.id = DeploymentId::generate(SystemClock.now());
    new.trigger = Trigger::AutomaticRollback {
        to: first.deployment().id().clone(),
        failed: second.deployment().id().clone(),
    };
    new.from = End::Placed(live);
    new.to = End::Placed(first.deployment().instance().unwrap().clone());
    new.fallback = LiveRecord::Known(second.deployment().id().clone());
    let version = crate::state(&b).await.version;
    let holder = Holder::this_process(SystemClock.now());
    drop(b.store.begin(&new, &holder, version).await.unwrap());
    let why = "it leaks".parse().unwrap();
    b.engine.recall("v1", why, &me()).await.unwrap();
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.outcome(), Outcome::Refused);
    assert!(
        report.summary().contains("it leaks"),
        "{}",
        report.summary()
    );
    assert_eq!(b.shelf.live().as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_release_task_that_may_run_on_was_forgotten_with_its_name() {
    let b = Bench::new();
    b.deploy("v1").await;
    let begun = Event::TaskIntended {
        name: "migrate".into(),
    };
    let v2 = instance("v2");
    let events = vec![Event::PrepareIntended, prepared(&v2), begun];
    left_by_the_dead(&b, "v2", events).await;
    let e = b.engine.recover().await.unwrap().remove(0).result;
    let e = e.unwrap_err();
    let Some(Refusal::ComposedDifferently { lacks, .. }) = e.refusal() else {
        panic!("{e}")
    };
    assert_eq!(lacks, &["the release task migrate is gone"]);
    let forced = [GuardName::composition()];
    let report = b.engine.recover_forcing(&b.api, &forced).await.unwrap();
    assert_eq!(report.unwrap().outcome(), Outcome::Interrupted);
}

/// Runs on one occasion.
#[derive(Debug)]
struct Only(TriggerKind);

#[async_trait]
impl Restart for Only {
    fn name(&self) -> String {
        "reload nginx".into()
    }
    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger == self.0
    }
    async fn restart(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_deployment_was_finished_without_the_hook_that_runs_on_other_occasions_now() {
    let b = Bench::with(|w| w.restart(Only(TriggerKind::Deploy)));
    b.deploy("v1").await;
    let v2 = instance("v2");
    let events = vec![Event::PrepareIntended, prepared(&v2), Event::SwitchIntended];
    left_by_the_dead(&b, "v2", events).await;
    let next = next(&b, |w| w.restart(Only(TriggerKind::Rollback)));
    let e = next.recover().await.unwrap().remove(0).result.unwrap_err();
    let Some(Refusal::ComposedDifferently { lacks, .. }) = e.refusal() else {
        panic!("{e}")
    };
    assert_eq!(
        lacks,
        &["the restart hook reload nginx is gone, or does not run on this"]
    );
}
