//! A Swarm rolls a service out, or fails to: what the engine and the verbs make of it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::{Backend, End};
use rollback_core::context::{Context, ProgressSink};
use rollback_core::error::BackendErrorKind;
use rollback_core::health::View;
use rollback_core::prelude::*;
use rollback_docker::{Healthcheck, SwarmBackend, UpdateOrder};
use rollback_testkit::world::{Build, World};
use support::swarm::{engine, me, world};
use support::{TOKEN, cx};

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
        w.apart().replicas(2),
        w.apart().order(UpdateOrder::StartFirst),
    ] {
        let backend = SwarmBackend::new(config).unwrap();
        let first = w.deploy(&backend, Build::V1).await;
        let op = w.prepared(&backend, Build::Broken).await;
        let e = backend.switch(&cx(), &op).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Failed, "{e}");
        assert!(e.to_string().contains("non-zero exit (3)"), "{e}");
        backend.switch(&cx(), &op.reversed()).await.unwrap();
        backend.retire(&cx(), &op.reversed()).await.unwrap();
        assert_eq!(w.live().await.as_ref(), Some(&first));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_fail_once_swarm_no_longer_watches_them_were_waited_for_to_the_deadline() {
    let Some(w) = world() else { return };
    // So short that it has called every task good before it fails.
    let config = w.apart().monitor(Duration::from_nanos(1)).replicas(3);
    let backend = SwarmBackend::new(config).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = w.prepared(&backend, Build::Broken).await;
    // One that is met as it runs is in place: that it does not stay so is for the gate to see.
    if let Err(e) = backend.switch(&cx(), &op).await {
        assert_eq!(e.kind(), BackendErrorKind::Failed, "{e}");
        assert!(e.to_string().contains("non-zero exit (3)"), "{e}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_no_node_takes_does_not_hold_up_the_way_back() {
    let Some(w) = world() else { return };
    let first = SwarmBackend::new(w.apart()).unwrap();
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
    let second = SwarmBackend::new(w.apart().publish_on_host(w.port, 80)).unwrap();
    let op = w.prepared(&second, Build::V2).await;
    let (sink, mut progress) = ProgressSink::channel();
    let heard = tokio::spawn(async move {
        let mut all = Vec::new();
        while progress.changed().await.is_ok() {
            all.push(progress.borrow_and_update().line.clone());
        }
        all
    });
    let short = Context::new(Duration::from_secs(15)).with_progress(sink);
    let e = second.switch(&short, &op).await.unwrap_err();
    drop(short);
    assert_eq!(e.kind(), BackendErrorKind::DeadlineExceeded, "{e}");
    // It says what it waits for: while it does, at its end, and to whoever asks.
    let want = "no node takes what is left (no suitable node (host-mode port already in use";
    assert!(e.to_string().contains(want), "{e}");
    assert!(heard.await.unwrap().iter().any(|said| said.contains(want)));
    let to = op.to.instance().unwrap();
    let view = second.health(&cx(), to).await.unwrap();
    assert!(
        matches!(&view, View::NotYet(why) if why.contains(want)),
        "{view}"
    );
    let words = second.diagnose(&cx(), to).await.unwrap();
    let pending = words.facts.get("pending");
    assert!(
        pending.is_some_and(|why| why.contains("no suitable node")),
        "{words:?}"
    );
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
    let backend = SwarmBackend::new(w.apart().soak(Duration::from_secs(600))).unwrap();
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
    let backend = Arc::new(SwarmBackend::new(w.apart()).unwrap());
    let first = w.deploy(&backend, Build::V1).await;
    let op = w.prepared(&backend, Build::V2).await;
    let switch = {
        let (backend, op) = (Arc::clone(&backend), op.clone());
        tokio::spawn(async move { backend.switch(&cx(), &op).await })
    };
    w.asked_for(&op).await;
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
