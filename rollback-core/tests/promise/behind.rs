//! Histories that are behind what is live, and actors that come late.

use async_trait::async_trait;
use rollback_core::engine::{AutomaticRollback, NotAttempted, RollbackEngine, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::ReleaseTask;
use rollback_core::history::{Fence, HistoryStore, Holder, Sequence};
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;

use crate::from_the_future;
use crate::support::{Bench, Shelf, me};

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
    assert!(b.adopt().await.succeeded());
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
    async fn run(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        self.0.0.lock().unwrap().published = Some(self.1.clone());
        Ok(())
    }
    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_actor_published_over_a_later_one() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let task = Overtaken(b.shelf.clone(), from_the_future(&b).await);
    let engine = RollbackEngine::builder(b.store.clone())
        .workload(Workload::new(b.shelf.clone()).task(task))
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

/// Publishes by somebody else while what is live is judged, and finds it sick.
#[derive(Debug)]
struct OvertakenAndSick(Shelf, Fence);

#[async_trait]
impl HealthCheck for OvertakenAndSick {
    fn name(&self) -> String {
        "overtaken".into()
    }
    async fn check(&self, _: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        if probe.instance.release.artifact().digest == "v1" {
            return Ok(Healthy::yes());
        }
        self.0.0.lock().unwrap().published = Some(self.1.clone());
        Err(Unhealthy::new("it answers 500"))
    }
}

#[tokio::test(start_paused = true)]
async fn an_automatic_rollback_went_ahead_in_a_history_that_is_behind() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let check = OvertakenAndSick(b.shelf.clone(), from_the_future(&b).await);
    let workload = Workload::new(b.shelf.clone()).auto_rollback();
    let engine = RollbackEngine::builder(b.store.clone())
        .workload(workload.check(check))
        .build()
        .unwrap();
    let run = engine.deploy(&b.api, "v2", me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(
        report.automatic_rollback(),
        &AutomaticRollback::NotAttempted {
            reason: NotAttempted::HistoryBehind
        }
    );
    assert!(
        report.summary().contains("adopt what is live"),
        "{}",
        report.summary()
    );
    assert_eq!(b.shelf.live().as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_history_behind_a_target_where_nothing_is_live_had_no_way_out() {
    let b = Bench::armed();
    b.deploy("v1").await;
    {
        let future = from_the_future(&b).await;
        let mut target = b.shelf.0.lock().unwrap();
        (target.live, target.published) = (None, Some(future));
    }
    let request = Request::deploy(b.api.clone(), "v2", me());
    let plan = b.engine.preview(&request).await.unwrap();
    assert!(plan.to_string().contains("an older copy"), "{plan}");
    let report = b.deploy("v2").await;
    assert!(report.succeeded());
    assert!(report.deployment().sequence() > Sequence(1_000));
    assert!(b.deploy("v3").await.succeeded());
}

/// Whose policy lets everything go that need not be kept.
fn keeping_nothing() -> Bench {
    let none = Keep::new(0, 0);
    let policy = Policy::default().retention(Retention::new(none, none));
    Bench::with(|w| w.policy(policy))
}

/// An adoption that was begun, by a process that is dead.
async fn adoption_of_the_dead(b: &Bench) {
    let live = b.shelf.0.lock().unwrap().live.clone().unwrap();
    let state = crate::state(b).await;
    let newest = b.engine.list(&Query::workload(&b.api)).await.unwrap();
    let mut new = newest.deployments[0].opening().clone();
    new.id = DeploymentId::generate(SystemClock.now());
    new.trigger = Trigger::Adopt;
    new.from = End::Placed(live.clone());
    new.to = End::Placed(live);
    let holder = Holder::this_process(SystemClock.now());
    drop(b.store.begin(&new, &holder, state.version).await.unwrap());
}

#[tokio::test]
async fn an_adoption_that_was_not_finished_had_caught_up_with_what_was_published() {
    let b = Bench::new();
    b.deploy("v1").await;
    let published = from_the_future(&b).await;
    b.shelf.0.lock().unwrap().published = Some(published.clone());
    b.store.advance(published.sequence).await.unwrap();
    // As `adopt` begins, and dies.
    adoption_of_the_dead(&b).await;
    b.engine.recover().await.unwrap();
    let e = b.engine.deploy(&b.api, "v2", me()).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::HistoryBehind { .. })),
        "{e}"
    );
    assert!(b.adopt().await.succeeded());
    assert!(b.deploy("v2").await.succeeded());
}

#[tokio::test]
async fn an_adoption_that_failed_let_retention_forget_what_was_published_last() {
    let b = keeping_nothing();
    b.deploy("v1").await;
    // It has published, on its way back.
    b.shelf.0.lock().unwrap().switch_fails.insert("v2".into());
    b.deploy("v2").await;
    adoption_of_the_dead(&b).await;
    b.engine.recover().await.unwrap();
    b.engine.clean_up(&b.api, None, &me()).await.unwrap();
    assert!(b.deploy("v3").await.succeeded());
}

#[tokio::test]
async fn a_clean_up_of_a_history_that_is_behind_let_go_what_it_did_not_know_of() {
    let b = Bench::new();
    b.deploy("v1").await;
    b.deploy("v2").await;
    let published = from_the_future(&b).await;
    {
        let mut target = b.shelf.0.lock().unwrap();
        (target.published, target.window) = (Some(published), None);
    }
    let e = b.engine.clean_up(&b.api, None, &me()).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::HistoryBehind { .. })),
        "{e}"
    );
    assert_eq!(b.shelf.0.lock().unwrap().window, None, "nothing was let go");
}

#[tokio::test]
async fn a_clean_up_acted_without_a_token() {
    let b = Bench::new();
    b.deploy("v1").await;
    let published = b.shelf.0.lock().unwrap().published.clone();
    b.engine.clean_up(&b.api, None, &me()).await.unwrap();
    let target = b.shelf.0.lock().unwrap();
    assert_eq!(target.retained_by, published);
    assert!(target.retained_by.is_some());
}

#[tokio::test]
async fn a_damaged_token_used_up_the_numbers_of_every_workload() {
    let b = Bench::new();
    b.deploy("v1").await;
    let mut garbled = from_the_future(&b).await;
    garbled.sequence = Sequence(u64::MAX);
    b.shelf.0.lock().unwrap().published = Some(garbled);
    let e = b.engine.adopt(&b.api, me()).await.unwrap_err();
    assert!(e.to_string().contains("remove it at the target"), "{e}");
    b.shelf.0.lock().unwrap().published = None;
    let report = b.deploy("v2").await;
    assert_eq!(report.deployment().sequence(), Sequence(2));
}

#[tokio::test]
async fn with_nothing_kept_a_history_seemed_to_be_behind_what_it_had_published() {
    let b = keeping_nothing();
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().switch_fails.insert("v2".into());
    b.deploy("v2").await;
    b.engine.clean_up(&b.api, None, &me()).await.unwrap();
    assert!(b.deploy("v3").await.succeeded());
}
