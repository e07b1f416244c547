//! What is written down, what is restored, who is told.

use std::collections::BTreeMap;

use rollback_core::prelude::*;

use crate::support::{Bench, Log, Logged, Task, api, me, on_every_store, text, to};

fn env(b: &[(&str, &str)]) -> Facet {
    let plain = |v: &str| FacetValue::Plain(v.into());
    let rows: BTreeMap<_, _> = b.iter().map(|(k, v)| ((*k).into(), plain(v))).collect();
    Facet::Table(rows)
}

async fn live_release(b: &Bench) -> Release {
    let id = b.state().await.live.known().unwrap().clone();
    b.engine.get(&id).await.unwrap().release().unwrap().clone()
}

#[tokio::test]
async fn ask_07_the_environment_comes_back_by_choice() {
    on_every_store(async |setup| {
        let b = setup.engine();
        setup.registry.env("MODE", "old");
        let v1 = b.deploy("v1").await;
        setup.registry.env("MODE", "new");
        setup.registry.env("EXTRA", "1");
        b.deploy("v2").await;
        let (old, today) = (
            env(&[("MODE", "old")]),
            env(&[("MODE", "new"), ("EXTRA", "1")]),
        );

        let request = Request::rollback(api(), to(&v1), me()).restore(Restore::Artifact);
        let plan = b.engine.preview(&request).await.unwrap();
        assert!(
            plan.to_string().contains("stays:      env: EXTRA, MODE"),
            "{plan}"
        );
        b.run(request).await.unwrap();
        let live = live_release(&b).await;
        assert_eq!((b.live().as_str(), &live.facets()["env"]), ("v1", &today));

        b.deploy("v3").await;
        let request = Request::rollback(api(), to(&v1), me()).restore(Restore::Everything);
        let plan = b.engine.preview(&request).await.unwrap();
        assert_eq!(plan.from_today(), [], "nothing is today's");
        b.run(request).await.unwrap();
        let live = live_release(&b).await;
        assert_eq!((b.live().as_str(), &live.facets()["env"]), ("v1", &old));
    })
    .await;
}

#[tokio::test]
async fn ask_13_what_is_skipped_over_is_marked_bad() {
    on_every_store(async |setup| {
        let b = setup.engine();
        let v1 = b.deploy("v1").await;
        let v2 = b.deploy("v2").await;
        let v3 = b.deploy("v3").await;
        let request = Request::rollback(api(), to(&v1), me()).mark_skipped_bad();
        let plan = b.engine.preview(&request).await.unwrap();
        let skipped = [&v3, &v2].map(|r| r.deployment().id().clone());
        assert_eq!(plan.skipped(), skipped);
        let back = b.run(request).await.unwrap();
        for skipped in [&v2, &v3] {
            let record = b.engine.get(skipped.deployment().id()).await.unwrap();
            let note = record.annotations().bad.as_ref().unwrap();
            assert_eq!(note.by, me());
            assert!(note.text.as_str().contains(back.deployment().id().as_str()));
            let no = b.back(to(skipped)).await.unwrap_err();
            assert_eq!(no.kind(), ErrorKind::InvalidRequest, "{no}");
        }
        b.deploy("v4").await;
        let plan = b.plan_back(Goal::LastHealthy).await.unwrap();
        assert_eq!(plan.release().unwrap().artifact().digest, "v1");
        let id = v2.deployment().id();
        b.engine.clear_bad(id, &me()).await.unwrap();
        assert!(b.back(to(&v2)).await.unwrap().succeeded());
    })
    .await;
}

#[tokio::test]
async fn ask_13_unless_asked_for_what_is_skipped_over_stays_a_target() {
    on_every_store(async |setup| {
        let b = setup.engine();
        let v1 = b.deploy("v1").await;
        let v2 = b.deploy("v2").await;
        b.back(to(&v1)).await.unwrap();
        assert!(b.back(to(&v2)).await.unwrap().succeeded());
        assert_eq!(b.live(), "v2");
    })
    .await;
}

#[tokio::test]
async fn ask_14_who_and_why() {
    on_every_store(async |setup| {
        let b = setup.armed();
        b.deploy("v1").await;
        let bob = Actor::user_via("bob", "web").unwrap();
        let request = Request::deploy(api(), "v2", bob.clone())
            .because(text("the campaign starts at noon"))
            .label("ticket", "OPS-7")
            .correlation(text("build 4711"));
        b.run(request).await.unwrap();
        let request = Request::rollback(api(), Goal::LastHealthy, bob.clone())
            .because(text("checkout answers 500"));
        let plan = b.engine.preview(&request).await.unwrap();
        assert!(plan.to_string().contains("asked by:   bob (web)"), "{plan}");
        assert!(
            plan.to_string()
                .contains("because:    checkout answers 500")
        );
        b.run(request).await.unwrap();
        b.deploy("broken3").await;

        let mut query = Query::workload(&api());
        query.actor = Some(text("bob"));
        let found = b.engine.list(&query).await.unwrap().deployments;
        assert_eq!(found.len(), 2);
        assert_eq!(*found[0].actor(), bob);
        let new = found[1].opening();
        assert_eq!(new.reason, Some(text("the campaign starts at noon")));
        assert_eq!(new.labels["ticket"], "OPS-7");
        assert_eq!(new.correlation, Some(text("build 4711")));
        query.actor = Some(text("automatic-rollback"));
        let found = b.engine.list(&query).await.unwrap().deployments;
        assert_eq!(found.len(), 1, "what nobody asked for has an actor too");
    })
    .await;
}

#[tokio::test]
async fn ask_15_images_are_shown_in_the_history() {
    on_every_store(async |setup| {
        let b = setup.engine();
        setup.registry.tag("stable", "aaaabbbbcccc0123");
        b.deploy("stable").await;
        let rows = b.rows().await;
        let release = rows[0].deployment.release().unwrap();
        assert_eq!(release.to_string(), "stable (aaaabbbbcccc)");
        let json = serde_json::to_value(&rows[0]).unwrap();
        let artifact = &json["to"]["planned"]["artifact"];
        assert_eq!(artifact["reference"], "stable", "{json:#}");
        assert_eq!(artifact["digest"], "aaaabbbbcccc0123");
        assert_eq!(json["standing"], "live");
    })
    .await;
}

#[tokio::test]
async fn ask_22_hooks_run_on_rollbacks_too() {
    on_every_store(async |setup| {
        use TriggerKind::{AutomaticRollback, Deploy, Rollback};
        let log = Log::default();
        let task = |name, on: &[TriggerKind]| Task {
            name,
            log: log.clone(),
            on: on.to_vec(),
        };
        let backwards = Logged {
            log: log.clone(),
            on: vec![Rollback, AutomaticRollback],
        };
        let workload = setup
            .workload(api())
            .auto_rollback()
            .task(task("migrate", &[Deploy]))
            .task(task("purge-cache", &[Rollback, AutomaticRollback]))
            .restart(backwards.clone());
        let b = setup.built(|e| e.workload(workload).observer(backwards));
        b.deploy("v1").await;
        b.deploy("v2").await;
        assert_eq!(log.take(), ["migrate v1", "migrate v2"]);
        b.back(Goal::LastHealthy).await.unwrap();
        let ran = log.until("settled rollback").await;
        assert_eq!(ran, ["purge-cache v1", "restart v1", "settled rollback"]);
        b.deploy("broken3").await;
        let ran = log.until("settled automatic rollback").await;
        let expected = [
            "migrate broken3",
            "purge-cache v1",
            "restart v1",
            "settled automatic rollback",
        ];
        assert_eq!(ran, expected);
    })
    .await;
}
