//! The rules of going back: what a plan says, which guards speak, what follows.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::deployment::Skipped;
use rollback_core::engine::{AutomaticRollback, NotAttempted, RollbackEngine, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::{Action, Authorizer, MigrationLog, Restart, Verb};
use rollback_core::id::GuardName;
use rollback_core::memory::MemoryStore;
use rollback_core::plan::Migrations;
use rollback_core::policy::{AfterRollback, OnMigrations};
use rollback_core::prelude::*;
use support::{Bench, Shelf, me};

fn plain(rows: &[(&str, &str)]) -> std::collections::BTreeMap<String, FacetValue> {
    rows.iter()
        .map(|(k, v)| ((*k).to_owned(), FacetValue::Plain((*v).to_owned())))
        .collect()
}

/// A migration log that says this.
#[derive(Debug, Clone)]
struct Log(Result<Vec<String>, String>);

impl Log {
    fn of(names: &[&str]) -> Self {
        Self(Ok(names.iter().map(|n| (*n).to_owned()).collect()))
    }
}

#[async_trait]
impl MigrationLog for Log {
    async fn applied_since(
        &self,
        _: &Context,
        _: &WorkloadId,
        _: Timestamp,
    ) -> Result<Vec<String>, HookError> {
        self.0.clone().map_err(HookError::from)
    }
}

fn workload(name: &str) -> WorkloadId {
    format!("{name}@web-1").parse().unwrap()
}

#[tokio::test]
async fn a_plan_says_everything_before_anything_happens() {
    let shelf = Shelf::default();
    let api = workload("api");
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(
            Workload::new(shelf.clone())
                .migrations(Log::of(&["0007_add_index", "0008_drop_column"])),
        )
        .workload(Workload::new(Shelf::of("web@web-1")).depends_on(api.clone()))
        .build()
        .unwrap();
    let deploy = |reference: &'static str| {
        let (engine, api) = (engine.clone(), api.clone());
        async move {
            engine
                .deploy(&api, reference, me())
                .await
                .unwrap()
                .await
                .unwrap()
        }
    };
    shelf.0.lock().unwrap().env = plain(&[("MODE", "old"), ("GONE", "1")]);
    shelf.0.lock().unwrap().unit = Some("[Service]\nExecStart=/a\n".into());
    let d1 = deploy("v1").await;
    shelf.0.lock().unwrap().env = plain(&[("MODE", "new")]);
    let d2 = deploy("v2").await;
    shelf.0.lock().unwrap().unit = Some("[Service]\nExecStart=/b\n".into());
    shelf.0.lock().unwrap().branch = Some("v3");
    let d3 = deploy("main").await;
    let to = |d: &rollback_core::engine::Report| d.deployment().id().clone();
    let request = Request::rollback(api.clone(), Goal::To(to(&d1)), me())
        .because("it leaks".parse().unwrap())
        .restore(Restore::Facets(vec!["unit".into()]));
    let plan = engine.preview(&request).await.unwrap();
    let expected = format!(
        "\
Roll api@web-1 back to v1
  goal:       the release of {d1}
  back to:    {d1}
  asked by:   ada
  because:    it leaks
  live now:   main (v3)
  changes:    artifact main (v3) -> v1
              unit:
              --- before
              +++ after
              @@ -1,2 +1,2 @@
               [Service]
              -ExecStart=/b
              +ExecStart=/a
  stays:      env: GONE, MODE, as it is today
  skips over: {d3}
  skips over: {d2}
  affects:    web@web-1
  migrations: 2 since: 0007_add_index, 0008_drop_column
  available:  its artifact is at the target
  way back:   exact
  warning:    a rollback does not restore: data, database schema, volumes, domains
  warning:    2 migrations were applied since (0007_add_index, 0008_drop_column): the older \
code may not fit today's schema
  warning:    main still means v3, which is being abandoned: the next deploy of main brings it \
back; move it, or hold deploys",
        d1 = to(&d1),
        d2 = to(&d2),
        d3 = to(&d3),
    );
    assert_eq!(plan.to_string(), expected);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["new"]["warnings"].as_array().unwrap().len(), 3);
    assert_eq!(json["dependents"][0], "web@web-1");
    assert_eq!(shelf.live().as_deref(), Some("v3"), "nothing has happened");
    // And a plan with nothing to warn of has an empty array.
    let forward = engine
        .preview(&Request::deploy(api, "v4", me()))
        .await
        .unwrap();
    let json = serde_json::to_value(&forward).unwrap();
    assert_eq!(json["new"]["warnings"], serde_json::json!([]));
    assert_eq!(forward.migrations(), None);
}

#[tokio::test]
async fn a_dependency_or_a_dependent_in_trouble_refuses_unless_the_guard_is_forced_by_name() {
    let (api, db, web) = (workload("api"), workload("db"), workload("web"));
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(Shelf::default()).depends_on(db.clone()))
        .workload(Workload::new(Shelf::of("web@web-1")).depends_on(api.clone()))
        .workload(Workload::new(Shelf::of("db@web-1")))
        .build()
        .unwrap();
    let deploy = |w: &WorkloadId, r: &str| {
        let (engine, request) = (engine.clone(), Request::deploy(w.clone(), r, me()));
        async move { engine.run(request).await?.await }
    };
    let refused = |e: &Error, word: &str| {
        assert_eq!(
            (e.kind(), e.http_status()),
            (ErrorKind::Refused, 403),
            "{e}"
        );
        let text = e.to_string();
        assert!(
            text.contains(word) && text.contains("dependencies"),
            "{text}"
        );
    };
    refused(
        &deploy(&api, "v1").await.unwrap_err(),
        "nothing is live on it",
    );
    deploy(&db, "v1").await.unwrap();
    // A dependent that is not deployed is not affected.
    deploy(&api, "v1").await.unwrap();
    deploy(&web, "sick").await.unwrap();
    refused(
        &deploy(&api, "v2").await.unwrap_err(),
        "dependent web@web-1: it is unhealthy",
    );
    let other = Request::deploy(api.clone(), "v2", me()).force(GuardName::migrations());
    refused(&engine.run(other).await.unwrap_err(), "dependent web@web-1");
    let forced = Request::deploy(api.clone(), "v2", me()).force(GuardName::dependencies());
    let report = engine.run(forced).await.unwrap().await.unwrap();
    let new = report.deployment().opening();
    assert_eq!(new.forced, [GuardName::dependencies()]);
    assert!(
        new.warnings
            .iter()
            .any(|w| w.to_string().contains("forced: dependent web@web-1"))
    );
    let forced = Request::deploy(api, "missing", me()).force(GuardName::dependencies());
    let e = engine.run(forced).await.unwrap_err();
    assert_eq!(
        e.http_status(),
        404,
        "what does not exist cannot be forced: {e}"
    );
}

#[tokio::test]
async fn migrations_since_warn_by_default_block_by_policy_and_unknown_is_said() {
    let away = Log(Err("the database is away".into()));
    for (log, block, warns, refuses) in [
        (Log::of(&[]), true, None, false),
        (
            Log::of(&["0007"]),
            false,
            Some("1 migration was applied since (0007)"),
            false,
        ),
        (Log::of(&["0007"]), true, None, true),
        (
            away.clone(),
            false,
            Some("not known: the database is away"),
            false,
        ),
        (away, true, None, true),
    ] {
        let mut policy = Policy::default();
        if block {
            policy.migrations = OnMigrations::Block;
        }
        let b = Bench::with(|w| w.migrations(log.clone()).policy(policy));
        b.deploy("v1").await;
        b.deploy("v2").await;
        let back = Request::rollback(b.api.clone(), Goal::LastHealthy, me());
        match b.engine.preview(&back).await {
            Ok(plan) => {
                assert!(!refuses, "{log:?}");
                let said = plan.warnings().iter().map(ToString::to_string);
                let said: Vec<_> = said.filter(|w| w.contains("migration")).collect();
                assert_eq!(said.len(), usize::from(warns.is_some()), "{said:?}");
                assert!(said.iter().all(|s| s.contains(warns.unwrap())), "{said:?}");
            }
            Err(e) => {
                assert!(refuses, "{log:?}: {e}");
                assert_eq!(e.http_status(), 403);
                let forced = back.force(GuardName::migrations());
                b.engine.run(forced).await.unwrap().await.unwrap();
                assert_eq!(b.live(), "v1");
            }
        }
    }
    let untracked = Bench::new();
    untracked.deploy("v1").await;
    untracked.deploy("v2").await;
    let back = Request::rollback(untracked.api.clone(), Goal::LastHealthy, me());
    let plan = untracked.engine.preview(&back).await.unwrap();
    assert_eq!(plan.migrations(), Some(&Migrations::NotTracked));
    assert!(
        plan.to_string()
            .contains("unknown: no migration log is set up")
    );
}

#[tokio::test]
async fn automatic_rollback_does_not_go_past_migrations_that_the_policy_blocks_on() {
    let policy = Policy::default()
        .rollback(RollbackMode::Auto)
        .migrations(OnMigrations::Block);
    let b = Bench::with(|w| w.policy(policy).migrations(Log::of(&["0007"])));
    b.deploy("v1").await;
    let report = b.deploy("sick2").await;
    let reason = NotAttempted::Migrations;
    let expected = AutomaticRollback::NotAttempted { reason };
    assert_eq!(*report.automatic_rollback(), expected);
    assert_eq!(
        (report.outcome(), b.live()),
        (Outcome::Failed, "sick2".into())
    );
    assert!(
        report.summary().contains("Migrations stand in the way"),
        "{}",
        report.summary()
    );
}

/// Writes down what it is asked, and says no to the names it is given.
#[derive(Debug, Clone, Default)]
struct Doorman {
    asked: Arc<Mutex<Vec<String>>>,
    no: Vec<Verb>,
}

#[async_trait]
impl Authorizer for Doorman {
    async fn authorize(&self, a: &Action<'_>) -> Result<(), String> {
        let deployment = a.deployment.map_or("-".to_owned(), ToString::to_string);
        let line = format!("{} {} {} {deployment}", a.actor, a.verb, a.workload);
        self.asked.lock().unwrap().push(line);
        if self.no.contains(&a.verb) {
            Err("not on call".into())
        } else {
            Ok(())
        }
    }
}

#[tokio::test]
async fn the_authorizer_sees_actor_workload_and_deployment_and_cannot_be_forced() {
    let doorman = Doorman {
        no: vec![Verb::Rollback, Verb::Configure],
        ..Doorman::default()
    };
    let api = workload("api");
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(Shelf::default()))
        .authorizer(doorman.clone())
        .build()
        .unwrap();
    let d1 = engine
        .deploy(&api, "v1", me())
        .await
        .unwrap()
        .await
        .unwrap();
    let id = d1.deployment().id().clone();
    let mut back = Request::rollback(api.clone(), Goal::To(id.clone()), me());
    for guard in ["dependencies", "migrations", "hold", "authorization"] {
        back = back.force(guard.parse().unwrap());
    }
    let e = engine.preview(&back).await.unwrap_err();
    assert!(
        matches!(e.refusal(), Some(Refusal::Unauthorized { .. })),
        "{e}"
    );
    assert_eq!(e.http_status(), 403);
    let e = engine
        .configure(&api, Some(&Policy::default()), &me())
        .await
        .unwrap_err();
    assert_eq!(
        e.to_string(),
        "ada may not configure api@web-1: not on call; ask somebody who may"
    );
    engine.pin(&id, &me()).await.unwrap();
    engine
        .hold(&api, "freeze".parse().unwrap(), me())
        .await
        .unwrap();
    engine.clean_up(&api, None, &me()).await.unwrap();
    let asked = doorman.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            "ada deploy api@web-1 -".to_owned(),
            // Again before it is carried out.
            "ada deploy api@web-1 -".to_owned(),
            format!("ada roll back api@web-1 {id}"),
            "ada configure api@web-1 -".to_owned(),
            format!("ada annotate api@web-1 {id}"),
            "ada hold api@web-1 -".to_owned(),
            "ada clean up api@web-1 -".to_owned(),
        ]
    );
}

#[tokio::test]
async fn after_a_rollback_the_policy_holds_deploys_until_somebody_lifts_the_hold() {
    for automatic in [false, true] {
        let mut policy = Policy::default().after_rollback(AfterRollback::Hold);
        if automatic {
            policy.rollback = RollbackMode::Auto;
        }
        let b = Bench::with(|w| w.policy(policy));
        b.deploy("v1").await;
        if automatic {
            b.deploy("sick2").await;
        } else {
            b.deploy("v2").await;
            b.rollback(Goal::LastHealthy).await.unwrap();
        }
        assert_eq!(b.live(), "v1");
        let e = b.engine.deploy(&b.api, "v3", me()).await.unwrap_err();
        assert!(matches!(e.refusal(), Some(Refusal::Held { .. })), "{e}");
        assert_eq!(e.http_status(), 403);
        let hold = b.engine.lift_hold(&b.api, &me()).await.unwrap().unwrap();
        assert!(
            hold.why
                .as_str()
                .starts_with("held after the rollback deploy-")
        );
        assert!(b.deploy("v3").await.succeeded());
        assert_eq!(b.engine.lift_hold(&b.api, &me()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_a_rollback_skips_over_is_marked_bad_on_demand_and_only_when_it_succeeds() {
    let b = Bench::new();
    let d1 = b.deploy("v1").await;
    let d2 = b.deploy("v2").await;
    b.deploy("v3").await;
    let to = Goal::To(d1.deployment().id().clone());
    let back = Request::rollback(b.api.clone(), to, me()).mark_skipped_bad();
    b.shelf.0.lock().unwrap().switch_fails.insert("v1".into());
    b.engine.run(back.clone()).await.unwrap().await.unwrap();
    let bad = |id: DeploymentId| {
        let engine = b.engine.clone();
        async move { engine.get(&id).await.unwrap().annotations().bad.clone() }
    };
    let d2 = d2.deployment().id().clone();
    assert_eq!(bad(d2.clone()).await, None, "that rollback failed");
    b.shelf.0.lock().unwrap().switch_fails.clear();
    let report = b.engine.run(back).await.unwrap().await.unwrap();
    assert!(report.succeeded());
    assert_eq!(report.deployment().opening().of_skipped, Skipped::MarkedBad);
    let note = bad(d2).await.unwrap();
    assert_eq!(note.by, me());
    b.deploy("v4").await;
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(b.live(), "v1", "v2 and v3 are marked bad");
}

#[tokio::test]
async fn redeploy_places_the_artifact_anew_with_todays_configuration() {
    let b = Bench::new();
    b.shelf.0.lock().unwrap().env = plain(&[("MODE", "wrong")]);
    let d1 = b.deploy("v1").await;
    b.shelf.0.lock().unwrap().env = plain(&[("MODE", "right")]);
    b.deploy("v2").await;
    let of = d1.deployment().id();
    let run = b.engine.redeploy(of, me()).await.unwrap();
    let again = run.await.unwrap();
    assert_eq!(
        *again.deployment().trigger(),
        Trigger::Redeploy { of: of.clone() }
    );
    assert_eq!(b.live(), "v1");
    let (old, new) = (
        d1.deployment().instance().unwrap(),
        again.deployment().instance().unwrap(),
    );
    assert_ne!(old.handle, new.handle, "nothing that was kept is reused");
    assert_eq!(
        new.release.facets()["env"],
        Facet::Table(plain(&[("MODE", "right")]))
    );
    // The same again is a deploy of what is live, and no rollback point is skipped.
    let run = b
        .engine
        .redeploy(again.deployment().id(), me())
        .await
        .unwrap();
    assert!(run.await.unwrap().succeeded());
    b.engine
        .mark_bad(of, "leaks".parse().unwrap(), &me())
        .await
        .unwrap();
    let e = b.engine.redeploy(of, me()).await.unwrap_err();
    assert_eq!(e.http_status(), 400, "{e}");
}

/// Writes down what it is called for.
#[derive(Debug, Clone, Default)]
struct Bell(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Restart for Bell {
    fn name(&self) -> String {
        "bell".into()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger != TriggerKind::AutomaticRollback
    }

    async fn restart(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        let to = &op.to.release().unwrap().artifact().digest;
        self.0.lock().unwrap().push(to.clone());
        if to == "mute-v3" {
            return Err("it does not come up".into());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_restart_hook_runs_with_each_switch_in_both_directions_as_it_declares() {
    let bell = Bell::default();
    let b = Bench::with(|w| w.restart(bell.clone()).auto_rollback());
    b.deploy("v1").await;
    b.deploy("v2").await;
    b.rollback(Goal::LastHealthy).await.unwrap();
    assert_eq!(*bell.0.lock().unwrap(), ["v1", "v2", "v1"]);
    // Its failure is a failed switch: the way back rings, too.
    let report = b.deploy("mute-v3").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert!(
        report
            .summary()
            .contains("restart bell failed: it does not come up")
    );
    assert_eq!(bell.0.lock().unwrap()[3..], ["mute-v3", "v1"]);
    // It declares not to run on automatic rollback.
    b.deploy("sick4").await;
    assert_eq!(bell.0.lock().unwrap()[5..], ["sick4"]);
    assert_eq!(b.live(), "v1");
}
