//! What a service of a Swarm is: its settings, its values, its tasks and its records.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::{Backend, End, Live, Running, WayBack};
use rollback_core::context::{Context, ProgressSink};
use rollback_core::drift::drift;
use rollback_core::engine::Workload;
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::health::{HealthCheck, Healthy, Probe, Unhealthy};
use rollback_core::prelude::*;
use rollback_docker::{Healthcheck, SwarmBackend};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::world::{Build, World};
use support::cx;
use support::swarm::{engine_of, me, world};

const CANARY: &str = "nobody-may-see-this";

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_tasks_is_left_to_whoever_scales_unless_it_is_configured() {
    let Some(w) = world() else { return };
    let config = || w.apart();
    let backend = SwarmBackend::new(config()).unwrap();
    let first = w.deploy(&backend, Build::V1).await;
    let scale = |n: &str| {
        let to = format!("{}={n}", w.name);
        w.fixture.must(&["service", "scale", &to]);
    };
    scale("2");
    let seen = backend.observe(&cx()).await.unwrap();
    assert!(!drift(Some(&first), &seen).is_drift(), "{seen:?}");
    let op = w.prepared(&backend, Build::V2).await;
    let (sink, mut said) = ProgressSink::channel();
    let heard = tokio::spawn(async move {
        let mut all = Vec::new();
        while said.changed().await.is_ok() {
            all.extend(said.borrow_and_update().rollout);
        }
        all
    });
    let cx_told = cx().with_progress(sink);
    backend.switch(&cx_told, &op).await.unwrap();
    drop(cx_told);
    let heard = heard.await.unwrap();
    assert!(heard.iter().all(|p| p.desired == 2), "{heard:?}");
    assert!(heard.iter().any(|p| p.ready == 1), "{heard:?}");
    let last = heard.last().unwrap();
    assert_eq!((last.ready, last.available), (2, 2));
    assert_eq!(w.running().await, 2);
    // Where it is configured it is part of the release, and scaling is drift.
    let fixed = SwarmBackend::new(config().replicas(2)).unwrap();
    let third = w.deploy(&fixed, Build::V3).await;
    scale("1");
    let seen = fixed.observe(&cx()).await.unwrap();
    assert!(drift(Some(&third), &seen).is_drift(), "{seen:?}");
    w.deploy(&fixed, Build::V1).await;
    assert_eq!(w.running().await, 2);
    scale("0");
    let Live::One(seen) = fixed.observe(&cx()).await.unwrap().live else {
        panic!("one is live")
    };
    assert!(matches!(seen.running, Running::No(_)), "{seen:?}");
}

/// A check of the workload's own: whether any task is there to answer.
#[derive(Debug)]
struct Answers(Arc<DockerFixture>, String);

#[async_trait]
impl HealthCheck for Answers {
    fn name(&self) -> String {
        "whether any task answers".to_owned()
    }

    async fn check(&self, _cx: &Context, _probe: &Probe) -> Result<Healthy, Unhealthy> {
        let label = format!("label=com.docker.swarm.service.name={}", self.1);
        match self.0.must(&["ps", "-q", "--filter", &label]).is_empty() {
            true => Err(Unhealthy::new("nobody answers")),
            false => Ok(Healthy::default()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_scaled_to_no_task_is_deployed_and_rolled_back_without_a_verdict() {
    let Some(w) = world() else { return };
    let workload = Workload::new(SwarmBackend::new(w.apart()).unwrap());
    let answers = Answers(Arc::clone(&w.fixture), w.name.clone());
    let (engine, id) = (engine_of(workload.check(answers)), w.workload());
    let scale = |n: &str| {
        let to = format!("{}={n}", w.name);
        w.fixture.must(&["service", "scale", &to]);
    };
    let image = || w.show()["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].to_string();
    let first = engine.deploy(&id, w.reference(Build::V1), me()).await;
    let first = first.unwrap().await.unwrap();
    assert_eq!(first.verdict(), &Verdict::Passed, "{}", first.summary());
    let of_first = image();
    scale("0");
    // Even of what could not run nothing is known: it was not asked to.
    let report = engine.deploy(&id, w.reference(Build::Broken), me()).await;
    let report = report.unwrap().await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(report.verdict(), &Verdict::Unknown);
    assert_ne!(image(), of_first);
    // A release that nobody saw run is not the last healthy one: that is the first.
    let back = engine.rollback(&id, Goal::LastHealthy, me()).await;
    let back = back.unwrap().await.unwrap();
    assert!(back.succeeded(), "{}", back.summary());
    assert_eq!(back.verdict(), &Verdict::Unknown);
    assert_eq!(image(), of_first);
    let replicas = &w.show()["Spec"]["Mode"]["Replicated"]["Replicas"];
    assert_eq!(replicas, 0, "nobody has scaled it");
    scale("1");
    let health = engine.health(&id).await.unwrap();
    assert!(!health.drift.is_drift(), "{:?}", health.drift);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_by_hand_comes_back_as_it_was() {
    let Some(w) = world() else { return };
    let port = format!("PORT={}", w.port);
    w.fixture
        .must(&["network", "create", "-d", "overlay", "back"]);
    let options = [
        "--network=host",
        "--env=MODE=",
        "--label=team=a",
        "--container-label=in=b",
        "--mount=type=volume,source=data,target=/data",
        "--mount=type=tmpfs,target=/t",
        "--limit-memory=64m",
        "--limit-cpu=0.5",
        "--reserve-memory=16m",
        "--restart-delay=700ms",
        "--stop-grace-period=3s",
        "--hostname=h",
        "--constraint=node.role==manager",
        "--cap-drop=CHOWN",
        "--ulimit=nofile=1000:2000",
        "--log-driver=json-file",
        "--log-opt=max-size=1m",
        "--dns=10.1.1.1",
        "--host=db:10.2.2.2",
        "--read-only",
        "--init",
        "--user=0",
        "--update-failure-action=rollback",
    ];
    let create = ["service", "create", "-q", "--name", &w.name, "--env", &port];
    let reference = w.reference(Build::V1);
    w.fixture
        .must(&[&create[..], &options[..], &[&*reference]].concat());
    let spec = || {
        let mut spec = w.show()["Spec"].take();
        let labels = spec["Labels"].as_object_mut().unwrap();
        labels.retain(|name, _| !name.starts_with("rollback."));
        // How it is updated is this crate's to say.
        spec.as_object_mut().unwrap().remove("UpdateConfig");
        spec["TaskTemplate"]
            .as_object_mut()
            .unwrap()
            .remove("ForceUpdate");
        spec
    };
    let before = spec();
    // What the configuration says nothing about is taken over.
    let backend = SwarmBackend::new(w.apart()).unwrap();
    let from = backend.observe(&cx()).await.unwrap();
    let Live::One(found) = &from.live else {
        panic!("{from:?}")
    };
    assert_eq!(found.way_back, WayBack::Exact);
    let (from, v2) = (found.instance.clone(), w.reference(Build::V2));
    let op = w.plan(&backend, End::Placed(from), &v2).await;
    let op = w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    let mut after = spec();
    after["TaskTemplate"]["ContainerSpec"]["Image"] =
        before["TaskTemplate"]["ContainerSpec"]["Image"].clone();
    after["TaskTemplate"]["Placement"]["Platforms"] =
        before["TaskTemplate"]["Placement"]["Platforms"].clone();
    let flat = |spec: &serde_json::Value| {
        let mut container = spec["TaskTemplate"]["ContainerSpec"].clone();
        let env = container["Env"].as_array_mut().unwrap();
        env.sort_by_key(ToString::to_string);
        container
    };
    for (field, value) in flat(&before).as_object().unwrap() {
        let now = &flat(&after)[field];
        let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        assert!(
            now == value || empty || field == "StopGracePeriod",
            "{field}: {value} {now}"
        );
    }
    // And back it is the very same.
    backend.switch(&cx(), &op.reversed()).await.unwrap();
    backend.retire(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    assert_eq!(spec(), before);
    assert_eq!(
        w.live().await.map(|i| i.handle),
        Some(found.instance.handle.clone())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_kept_at_the_swarm_and_nowhere_else() {
    let Some(w) = world() else { return };
    let plain = w.config();
    let config = w
        .config()
        .env("PASSWORD", format!("{CANARY}1"))
        .command([format!("--token={CANARY}2")])
        .label("key", format!("{CANARY}3"))
        .container_label("key", format!("{CANARY}4"))
        .healthcheck(&Healthcheck::new([
            "/server",
            "check",
            &format!("{CANARY}5"),
        ]));
    let backend = SwarmBackend::new(config.clone()).unwrap();
    let shown = format!("{config:?} {backend:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    let first = w.deploy(&backend, Build::V1).await;
    let recorded = serde_json::to_string(&first).unwrap();
    assert!(!recorded.contains(CANARY), "{recorded}");
    let seen = format!("{:?}", backend.observe(&cx()).await.unwrap());
    assert!(!seen.contains(CANARY), "{seen}");
    // Another configuration later, they come from the record.
    let later = SwarmBackend::new(plain).unwrap();
    w.deploy(&later, Build::V2).await;
    assert!(!w.show()["Spec"].to_string().contains(CANARY));
    let live = w.live().await.unwrap();
    let back = support::operation(&w.name, End::Placed(live), End::Placed(first));
    w.run(&later, back).await;
    let shown = w.show()["Spec"].to_string();
    for n in 1..=5 {
        assert!(shown.contains(&format!("{CANARY}{n}")), "{shown}");
    }
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_swarm_takes_for_a_bad_template_is_in_no_error() {
    let Some(w) = world() else { return };
    let first = w
        .deploy(&SwarmBackend::new(w.apart()).unwrap(), Build::V1)
        .await;
    for value in [
        format!("{CANARY}{{{{{CANARY}"),
        "a{{undisclosed}}".to_owned(),
    ] {
        let backend = SwarmBackend::new(w.apart().env("PASSWORD", value)).unwrap();
        let op = w.prepared(&backend, Build::V2).await;
        let e = backend.switch(&cx(), &op).await.unwrap_err();
        let told = format!("{e} {e:?}");
        assert!(
            told.contains("PASSWORD") && told.contains("template"),
            "{told}"
        );
        assert!(
            !told.contains(CANARY) && !told.contains("undisclosed"),
            "{told}"
        );
        assert_eq!(e.impact(), LiveImpact::Untouched, "{told}");
        assert_eq!(w.live().await.as_ref(), Some(&first));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_refused_before_anything_moves() {
    let Some(w) = world() else { return };
    let image = w.reference(Build::V1);
    let args = [
        "service",
        "create",
        "-q",
        "-d",
        "--mode",
        "replicated-job",
        "--name",
    ];
    w.fixture.must(&[&args[..], &[&w.name, &image]].concat());
    let backend = SwarmBackend::new(w.apart()).unwrap();
    let live = w.live().await.unwrap();
    let op = w
        .plan(&backend, End::Placed(live), &w.reference(Build::V2))
        .await;
    let e = backend.prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("a job is no service"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_removed_is_no_loss_as_long_as_it_is_live() {
    let Some(w) = world() else { return };
    let backend = w.swarm();
    let first = w.deploy(&backend, Build::V1).await;
    for record in w.records() {
        w.fixture.must(&["config", "rm", &record]);
    }
    let op = w.prepared(&backend, Build::V2).await;
    assert_eq!(op.from.instance().unwrap().handle, first.handle);
    let op = w.run(&backend, op).await;
    backend.switch(&cx(), &op.reversed()).await.unwrap();
    backend.retire(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    assert_eq!(w.live().await.as_ref(), op.from.instance());
    // What is let go leaves nothing at the Swarm but what is live and its token.
    backend.retain(&cx(), &[]).await.unwrap();
    assert_eq!(w.records().len(), 1, "{:?}", w.records());
}
