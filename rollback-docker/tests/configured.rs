//! Today's configuration is what the program has configured now.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use rollback_core::backend::Backend;
use rollback_core::compare::Diff;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::HistoryReader;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, cx, fixture, free_port};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

fn engine(store: &MemoryStore, config: DockerConfig) -> RollbackEngine {
    let backend = DockerBackend::new(config).unwrap();
    RollbackEngine::builder(store.clone())
        .workload(Workload::new(backend))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeploy_and_a_rollback_ignore_a_corrected_configuration() {
    let Some(w) = world() else { return };
    let store = MemoryStore::new();
    let with = |token: &str| engine(&store, w.config().env("TOKEN", token));
    let (id, me) = (w.workload(), Actor::user("me").unwrap());
    let deploy = async |engine: RollbackEngine, build: Build| {
        let run = engine.deploy(&id, w.reference(build), me.clone());
        let report = run.await.unwrap().await.unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        report.deployment().id().clone()
    };
    deploy(with("the-right-token"), Build::V1).await;
    let second = deploy(with("THE-WRONG-TOKEN"), Build::V2).await;
    assert_eq!(w.token().await, "THE-WRONG-TOKEN");
    let right = with("the-right-token");
    let redeploy = right.redeploy(&second, me.clone());
    let report = redeploy.await.unwrap().await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    assert_eq!(w.token().await, "the-right-token");
    // The same by a rollback.
    deploy(with("THE-WRONG-TOKEN"), Build::V2).await;
    let back = right.rollback(&id, Goal::Previous, me.clone());
    let report = back.await.unwrap().await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(w.token().await, "the-right-token");
    assert!(store.workload(&id).await.is_ok());
}

#[tokio::test]
async fn the_configuration_is_asked_of_what_is_live() {
    let Some(w) = world() else { return };
    let wrong = w
        .config()
        .env("TOKEN", "wrong")
        .label("old", "1")
        .memory(1 << 26);
    let live = w
        .deploy_with(&DockerBackend::new(wrong).unwrap(), Build::V1)
        .await;
    let right = w.config().env("TOKEN", "right");
    let right = DockerBackend::new(right).unwrap();
    let today = right
        .configured(&cx(), Some(&live.release))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(today.artifact(), live.release.artifact());
    let deployed = right.resolve(&cx(), &w.reference(Build::V1)).await.unwrap();
    assert_eq!(
        today.digest(),
        deployed.digest(),
        "as a deployment would have it"
    );
    let container = format!("{:?}", today.facets().get("container"));
    assert!(
        !container.contains("old") && !container.contains("memory"),
        "{container}"
    );
    let diff = format!("{:?}", Diff::between(Some(&live.release), Some(&today)));
    assert!(diff.contains("TOKEN") && !diff.contains("right"), "{diff}");
    let nothing = right.configured(&cx(), None).await.unwrap().unwrap();
    assert_eq!(nothing.facets(), today.facets());
}

#[tokio::test]
async fn what_was_found_on_a_container_made_by_hand_is_lost_with_the_first_deployment() {
    let Some(w) = world() else { return };
    w.install_by_hand(Build::V1).await;
    let dir = w.fixture.dir().join("by-hand");
    let plain = || DockerConfig::new(w.workload(), &w.name, &dir).socket(w.fixture.socket());
    let backend = |config| DockerBackend::new(config).unwrap();
    let restart = || w.inspect(&w.name, "{{.HostConfig.RestartPolicy.Name}}");
    // Nothing is configured: only the image changes, once and once more.
    for build in [Build::V2, Build::V3] {
        let config = plain().soak(std::time::Duration::from_millis(100));
        w.deploy_with(&backend(config), build).await;
        assert_eq!(w.serving().await.as_deref(), Some(build.answer()));
        assert_eq!(restart(), "unless-stopped");
    }
    // What is configured is as it says.
    let own = plain().env("PORT", w.port.to_string()).env("TOKEN", "mine");
    w.deploy_with(&backend(own.clone()), Build::V1).await;
    assert_eq!(w.token().await, "mine");
    assert_eq!(restart(), "unless-stopped");
    w.deploy_with(&backend(own.clone().without("restart")), Build::V2)
        .await;
    assert_eq!(restart(), "no");
    // What has once been left out does not come back.
    let live = w.live().await.unwrap();
    let shown = serde_json::to_string(&live.release).unwrap();
    assert!(!shown.contains("unless-stopped"), "{shown}");
    let bare = backend(own.complete())
        .resolve(&cx(), &w.reference(Build::V2))
        .await;
    let facets: Vec<_> = bare.unwrap().facets().keys().cloned().collect();
    assert_eq!(facets, ["env"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_given_the_name_of_anothers_standby_does_not_get_its_container() {
    let Some(w) = world() else { return };
    let own = engine(&MemoryStore::new(), w.config());
    let (id, me) = (w.workload(), Actor::user("me").unwrap());
    for build in [Build::V1, Build::V2] {
        let run = own.deploy(&id, w.reference(build), me.clone()).await;
        assert!(run.unwrap().await.unwrap().succeeded());
    }
    let standby = w.containers().into_iter().find(|(_, name)| *name != w.name);
    let (standby, name) = standby.unwrap();
    let thief = "thief@web-1".parse().unwrap();
    let config = DockerConfig::new(thief, &name, w.fixture.dir().join("thief"));
    let config = config
        .socket(w.fixture.socket())
        .network("host")
        .env("PORT", free_port().to_string());
    let thief = engine(&MemoryStore::new(), config);
    // However that ends.
    let id_of_thief = "thief@web-1".parse().unwrap();
    let run = thief.deploy(&id_of_thief, w.reference(Build::V2), me.clone());
    if let Ok(run) = run.await {
        let _ = run.await;
    }
    let back = own.rollback(&id, Goal::Previous, me).await;
    assert!(back.unwrap().await.unwrap().succeeded());
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    assert_eq!(w.inspect(&w.name, "{{.Id}}"), standby);
}
