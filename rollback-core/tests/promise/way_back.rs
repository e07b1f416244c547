//! Automatic rollbacks insist; rollbacks and redeploys use today's configuration.

use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{AutomaticRollback, NotAttempted};
use rollback_core::guard::Restart;
use rollback_core::history::HistoryStore;
use rollback_core::prelude::*;

use crate::support::{Bench, me};
use crate::{instance, state};

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

fn env(token: &str) -> std::collections::BTreeMap<String, FacetValue> {
    [("TOKEN".to_owned(), FacetValue::Plain(token.to_owned()))].into()
}

fn token(b: &Bench) -> Facet {
    let live = b.shelf.0.lock().unwrap().live.clone().unwrap();
    live.release.facets()["env"].clone()
}

#[tokio::test]
async fn redeploy_and_rollback_ignored_a_corrected_configuration() {
    let artifact = Policy::default().restore(Some(Restore::Artifact));
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

#[tokio::test(start_paused = true)]
async fn what_a_person_had_put_live_during_the_gate_was_taken_away_when_it_failed() {
    for armed in [false, true] {
        let b = if armed { Bench::armed() } else { Bench::new() };
        let v1 = b.deploy("v1").await;
        let former = b.shelf.0.lock().unwrap().live.clone();
        for by_hand in [former, Some(instance("by-hand"))] {
            let slow = [("sick-v2".to_owned(), 3)].into();
            b.shelf.0.lock().unwrap().not_yet_of = slow;
            let run = b.engine.deploy(&b.api, "sick-v2", me()).await.unwrap();
            while b.shelf.live().as_deref() != Some("sick-v2") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let before = {
                let mut target = b.shelf.0.lock().unwrap();
                target.live = by_hand.clone();
                (target.retires, target.switches)
            };
            let report = run.await.unwrap();
            assert_eq!(report.outcome(), Outcome::Interrupted, "{armed}");
            let is_v1 = b.shelf.live().as_deref() == Some("v1");
            let live = match is_v1 {
                true => LiveRecord::Known(v1.deployment().id().clone()),
                false => LiveRecord::Unknown,
            };
            assert_eq!(report.live(), &live);
            let target = b.shelf.0.lock().unwrap();
            assert_eq!(target.live, by_hand);
            assert_eq!(
                (target.retires, target.switches),
                before,
                "nothing is touched"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_fails_for_good_locked_the_workload_with_the_sick_release_live() {
    let artifact = Policy::default()
        .restore(Some(Restore::Artifact))
        .rollback(RollbackMode::Auto);
    let b = Bench::with(|w| w.policy(artifact));
    b.deploy("v1").await;
    b.shelf.0.lock().unwrap().configured_fails = true;
    let report = b.deploy("sick-v2").await;
    let AutomaticRollback::NotAttempted { reason } = report.automatic_rollback() else {
        panic!("{}", report.summary())
    };
    assert_eq!(reason, &NotAttempted::NotLookedUp);
    assert!(state(&b).await.in_flight.is_none());
}

/// Hangs on the way back to v1, until it is told to stop.
#[derive(Debug)]
struct Hangs;

#[async_trait]
impl Restart for Hangs {
    fn name(&self) -> String {
        "hangs".into()
    }
    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }
    async fn restart(&self, cx: &Context, op: &Operation) -> Result<(), HookError> {
        if op.from.release().is_none() {
            return Ok(());
        }
        cx.cancellation().cancelled().await;
        Err(HookError::cancelled("told to stop"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_hook_that_hung_on_the_way_back_left_its_deployment_unsettled_for_ever() {
    let b = Bench::with(|w| w.restart(Hangs));
    b.deploy("v1").await;
    let report = b.deploy("v2").await;
    // It is not the platform that is away: a person has to look.
    assert_eq!(report.outcome(), Outcome::Degraded);
    assert!(state(&b).await.in_flight.is_none());
}
