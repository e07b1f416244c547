//! A Swarm service under the engine and by its verbs: failures, races, hands, and what is kept.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::{Backend, End, Live, Operation, Running, WayBack};
use rollback_core::context::{Context, ProgressSink};
use rollback_core::drift::drift;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::health::View;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{Healthcheck, SwarmBackend, SwarmConfig, UpdateOrder};
use rollback_testkit::fixtures::relay::{Mode, Relay};
use rollback_testkit::world::{Build, World};
use support::swarm::{SwarmWorld, swarm};
use support::{TOKEN, cx};

const CANARY: &str = "nobody-may-see-this";

fn world() -> Option<SwarmWorld> {
    Some(SwarmWorld::new(&Arc::new(swarm()?)))
}

fn engine(config: SwarmConfig) -> RollbackEngine {
    let gate = Gate::default().interval(Duration::from_millis(50));
    let workload = Workload::new(SwarmBackend::new(config).unwrap());
    RollbackEngine::builder(MemoryStore::new())
        .workload(workload.gate(gate).auto_rollback())
        .build()
        .unwrap()
}

fn me() -> Actor {
    Actor::user("me").unwrap()
}

async fn prepared(w: &SwarmWorld, backend: &SwarmBackend, build: Build) -> Operation {
    let from = w.live().await.map_or(End::Nothing, End::Placed);
    let mut op = w.plan(backend, from, &w.reference(build)).await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    op
}

/// A configuration that says nothing of variables and networks: each task is by itself.
fn apart(w: &SwarmWorld) -> SwarmConfig {
    SwarmConfig::new(w.workload(), &w.name, w.fixture.dir().join("apart"))
        .socket(w.fixture.socket())
        .monitor(Duration::from_millis(300))
        .soak(Duration::ZERO)
}

/// Waits until the service is this, rolled out or not.
async fn asked_for(w: &SwarmWorld, op: &Operation) {
    let to = op.to.instance().unwrap();
    while !w.swarm().observe(&cx()).await.unwrap().leads_to(to) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_pauses_the_rollout_and_the_engine_goes_back_to_the_record() {
    let Some(w) = world() else { return };
    let engine = engine(w.config());
    let id = w.workload();
    let deploy = async |build| {
        let run = engine.deploy(&id, w.reference(build), me()).await.unwrap();
        run.await.unwrap()
    };
    let first = deploy(Build::V1).await;
    assert!(first.succeeded(), "{}", first.summary());
    let report = deploy(Build::Broken).await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let told = serde_json::to_string(&report).unwrap();
    assert!(told.contains("the rollout failed"), "{told}");
    assert!(told.contains("non-zero exit (3)"), "{told}");
    assert!(told.contains("token is ***"), "{told}");
    assert!(!told.contains(TOKEN), "{told}");
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    let action = &w.show()["Spec"]["UpdateConfig"]["FailureAction"];
    assert_eq!(action, "pause", "Swarm does not go back by itself");
    // Cancelled in the middle, it goes back as well.
    let run = engine.deploy(&id, w.reference(Build::V2), me()).await;
    let run = run.unwrap();
    while run.progress().rollout.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run.cancel();
    assert_eq!(run.await.unwrap().outcome(), Outcome::Cancelled);
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    let health = engine.health(&id).await.unwrap();
    assert!(!health.drift.is_drift(), "{:?}", health.drift);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_fails_beside_old_tasks_is_seen_to_fail() {
    let Some(w) = world() else { return };
    for config in [
        apart(&w).replicas(2),
        apart(&w).order(UpdateOrder::StartFirst),
    ] {
        let backend = SwarmBackend::new(config).unwrap();
        let first = w.deploy(&backend, Build::V1).await;
        let op = prepared(&w, &backend, Build::Broken).await;
        let e = backend.switch(&cx(), &op).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Failed, "{e}");
        assert!(e.to_string().contains("non-zero exit (3)"), "{e}");
        backend.switch(&cx(), &op.reversed()).await.unwrap();
        backend.retire(&cx(), &op.reversed()).await.unwrap();
        assert_eq!(w.live().await.as_ref(), Some(&first));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_no_node_takes_does_not_hold_up_the_way_back() {
    let Some(w) = world() else { return };
    let first = SwarmBackend::new(apart(&w)).unwrap();
    w.deploy(&first, Build::V1).await;
    // The one node's port is taken, which the scheduler knows.
    let other = format!("{}-other", w.name);
    let publish = format!("mode=host,published={},target=80", w.port);
    let image = w.reference(Build::V1);
    let args = [
        "service",
        "create",
        "-q",
        "--publish",
        &publish,
        "--name",
        &other,
        &image,
    ];
    w.fixture.must(&args);
    let second = SwarmBackend::new(apart(&w).publish_on_host(w.port, 80)).unwrap();
    let op = prepared(&w, &second, Build::V2).await;
    let short = Context::new(Duration::from_secs(15));
    let e = second.switch(&short, &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::DeadlineExceeded, "{e}");
    let tasks = w
        .fixture
        .must(&["service", "ps", "--format", "{{.CurrentState}}", &w.name]);
    assert!(tasks.contains("Pending"), "{tasks}");
    second.switch(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.live().await.as_ref(), op.from.instance());
    // Nor any that comes later.
    w.deploy(&first, Build::V3).await;
    w.fixture.must(&["service", "rm", &other]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rollback_by_hand_an_old_failure_is_not_the_next_rollouts() {
    let Some(w) = world() else { return };
    let backend = SwarmBackend::new(apart(&w).soak(Duration::from_secs(600))).unwrap();
    w.deploy(&backend, Build::V1).await;
    w.deploy(&backend, Build::V2).await;
    let label = format!("label=com.docker.swarm.service.name={}", w.name);
    let container = w.fixture.must(&["ps", "-q", "--filter", &label]);
    w.fixture.must(&["kill", container.trim()]);
    let tasks = ["service", "ps", "--format", "{{.CurrentState}}", &w.name];
    while !w.fixture.must(&tasks).contains("Failed") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    w.fixture.must(&["service", "rollback", "-q", &w.name]);
    let again = w.deploy(&backend, Build::V2).await;
    let view = backend.health(&cx(), &again).await.unwrap();
    assert!(matches!(view, View::NotYet(_)), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn swarms_own_way_back_is_a_failure_and_is_not_fought() {
    let Some(w) = world() else { return };
    let backend = Arc::new(SwarmBackend::new(apart(&w)).unwrap());
    let first = w.deploy(&backend, Build::V1).await;
    let op = prepared(&w, &backend, Build::V2).await;
    let switch = {
        let (backend, op) = (Arc::clone(&backend), op.clone());
        tokio::spawn(async move { backend.switch(&cx(), &op).await })
    };
    asked_for(&w, &op).await;
    w.fixture.must(&["service", "rollback", "-d", &w.name]);
    let e = switch.await.unwrap().unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Failed, "{e}");
    assert!(e.to_string().contains("Swarm itself went back"), "{e}");
    backend.switch(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.live().await.as_ref(), Some(&first));
    let state = &w.show()["UpdateStatus"]["State"];
    assert_eq!(state, "rollback_completed", "nothing was asked for again");
    // Nothing is owed: the next deployment is as any.
    let third = w.deploy(&backend, Build::V3).await;
    assert_eq!(w.live().await.as_ref(), Some(&third));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_run_again_where_nothing_else_was_asked_for() {
    let Some(w) = world() else { return };
    let relay = Relay::new(w.fixture.dir().join("relay"), w.fixture.socket());
    let backend = SwarmBackend::new(w.config().socket(relay.socket())).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = prepared(&w, &backend, Build::V2).await;
    let hand = |args: &'static [&'static str]| {
        let (fixture, name) = (Arc::clone(&w.fixture), w.name.clone());
        let first = ["service", "update", "-d", "-q"];
        move || drop(fixture.must(&[&first[..], args, &[&*name]].concat()))
    };
    let updates = || {
        let heard = String::from_utf8_lossy(&relay.take().bytes).into_owned();
        heard.matches("/update?version=").count()
    };
    // The same again: its version moves, and nothing else.
    updates();
    let id = format!("/services/{}/update", w.show()["ID"].as_str().unwrap());
    relay.before(&id, hand(&["--no-resolve-image"]));
    backend.switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    assert!(updates() >= 2, "it was refused once");
    // Something else: that is somebody's wish.
    let op = prepared(&w, &backend, Build::V3).await;
    relay.before(&id, hand(&["--label-add", "by=hand"]));
    let e = backend.switch(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    let e = backend.switch(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    assert!(
        !e.is_transient() && e.to_string().contains("by hand"),
        "{e}"
    );
    assert_eq!(w.show()["Spec"]["Labels"]["by"], "hand");
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_tasks_is_left_to_whoever_scales_unless_it_is_configured() {
    let Some(w) = world() else { return };
    let config = || apart(&w);
    let backend = SwarmBackend::new(config()).unwrap();
    let first = w.deploy(&backend, Build::V1).await;
    let scale = |n: &str| {
        let to = format!("{}={n}", w.name);
        w.fixture.must(&["service", "scale", &to]);
    };
    scale("2");
    let seen = backend.observe(&cx()).await.unwrap();
    assert!(!drift(Some(&first), &seen).is_drift(), "{seen:?}");
    let op = prepared(&w, &backend, Build::V2).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_service_scaled_to_no_task_is_deployed_and_rolled_back_without_a_verdict() {
    let Some(w) = world() else { return };
    let (engine, id) = (engine(apart(&w)), w.workload());
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
    let backend = SwarmBackend::new(apart(&w)).unwrap();
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
async fn a_health_check_is_the_services_own_and_a_slow_one_is_waited_for() {
    let Some(w) = world() else { return };
    let check = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_millis(300))
        .start_period(Duration::from_secs(30));
    let backend = SwarmBackend::new(w.config().healthcheck(&check)).unwrap();
    let publish = |name: &str| {
        let reference = format!("{}/{}:{name}", w.fixture.registry(), w.name);
        let lines = [format!("ENV VERSION={name}"), format!("ENV MODE={name}")];
        w.fixture
            .publish(&reference, &[lines[0].as_str(), lines[1].as_str()]);
        reference
    };
    // It says for 6 s that it is starting.
    let op = w.plan(&backend, End::Nothing, &publish("late")).await;
    let late = w.run(&backend, op).await;
    let instance = late.to.instance().unwrap();
    let view = backend.health(&cx(), instance).await.unwrap();
    assert_eq!(view, View::Healthy);
    let health = w.get("/healthz").await;
    assert_eq!(
        health.as_deref(),
        Some("fine"),
        "it was not switched to before"
    );
    // One that never passes is a rollout that failed.
    let quick = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_millis(200))
        .retries(2);
    let sick = SwarmBackend::new(w.config().healthcheck(&quick)).unwrap();
    let mut op = w.plan(&sick, late.to.clone(), &publish("sick")).await;
    op.to = End::Placed(sick.prepare(&cx(), &op).await.unwrap().to);
    let e = sick.switch(&cx(), &op).await.unwrap_err();
    assert!(e.to_string().contains("unhealthy"), "{e}");
    let view = sick.health(&cx(), op.to.instance().unwrap()).await.unwrap();
    assert!(view.is_failed(), "{view}");
    let words = sick.diagnose(&cx(), op.to.instance().unwrap()).await;
    let words = words.unwrap();
    assert!(
        words.log.iter().any(|line| line.contains("this is sick")),
        "{words:?}"
    );
    backend.switch(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("late"));
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
        .deploy(&SwarmBackend::new(apart(&w)).unwrap(), Build::V1)
        .await;
    for value in [
        format!("{CANARY}{{{{{CANARY}"),
        "a{{undisclosed}}".to_owned(),
    ] {
        let backend = SwarmBackend::new(apart(&w).env("PASSWORD", value)).unwrap();
        let op = prepared(&w, &backend, Build::V2).await;
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
async fn a_service_that_somebody_removes_as_it_is_updated_is_a_lost_race() {
    let Some(w) = world() else { return };
    let relay = Relay::new(w.fixture.dir().join("relay"), w.fixture.socket());
    let backend = SwarmBackend::new(apart(&w).socket(relay.socket())).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = prepared(&w, &backend, Build::V2).await;
    let id = format!("/services/{}/update", w.show()["ID"].as_str().unwrap());
    let (fixture, name) = (Arc::clone(&w.fixture), w.name.clone());
    relay.before(&id, move || drop(fixture.must(&["service", "rm", &name])));
    let e = backend.switch(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_away_for_one_look_does_not_end_a_rollout() {
    let Some(w) = world() else { return };
    let relay = Relay::new(w.fixture.dir().join("relay"), w.fixture.socket());
    let relay = Arc::new(relay);
    let backend = SwarmBackend::new(apart(&w).socket(relay.socket())).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = prepared(&w, &backend, Build::V2).await;
    let id = format!("/services/{}/update", w.show()["ID"].as_str().unwrap());
    let body = r#"{"message":"rpc error: code = Unavailable desc = connection error"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let next = Arc::clone(&relay);
    relay.before(&id, move || next.set(Mode::Answer(answer.into_bytes())));
    backend.switch(&cx(), &op).await.unwrap();
    assert_eq!(w.live().await.as_ref(), op.to.instance());
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
    let backend = SwarmBackend::new(apart(&w)).unwrap();
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
    let op = prepared(&w, &backend, Build::V2).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_in_no_swarm_is_said_to_be_no_manager() {
    let Some(w) = world() else { return };
    w.fixture.must(&["swarm", "leave", "--force"]);
    let e = w
        .swarm()
        .observe(&Context::new(Duration::from_secs(20)))
        .await;
    let e = e.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("manager"), "{e}");
}
