//! The health gate and the switch's deadline, for containers that take their time.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollback_core::backend::{Backend, End};
use rollback_core::context::Context;
use rollback_core::engine::{Report, RollbackEngine, Workload};
use rollback_core::health::View;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig, Healthcheck, RestartPolicy};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, TOKEN, cx, fixture};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

fn image(w: &DockerWorld, mode: &str) -> String {
    let reference = format!("{}/{}:{mode}", w.fixture.registry(), w.name);
    let lines = [format!("ENV VERSION={mode}"), format!("ENV MODE={mode}")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    w.fixture.publish(&reference, &lines);
    reference
}

/// Deploys with a policy under which one look at the platform may take 20 s.
async fn deploy(w: &DockerWorld, config: DockerConfig, reference: &str) -> Report {
    let mut policy = Policy::default();
    policy.deadlines.observe = Duration::from_secs(20);
    policy.deadlines.gate = Duration::from_secs(90);
    let gate = Gate::default().interval(Duration::from_millis(200));
    let workload = Workload::new(DockerBackend::new(config).unwrap())
        .gate(gate)
        .policy(policy);
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let me = Actor::user("me").unwrap();
    let id = w.workload();
    let run = engine.deploy(&id, reference, me);
    run.await.unwrap().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_container_always_fails_the_gate() {
    let Some(w) = world() else { return };
    // Longer than one look may take.
    let check = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_secs(25))
        .start_period(Duration::from_secs(60));
    let began = Instant::now();
    let report = deploy(&w, w.config().healthcheck(&check), &image(&w, "late")).await;
    assert_eq!(report.verdict(), &Verdict::Passed, "{}", report.summary());
    assert!(
        began.elapsed() > Duration::from_secs(20),
        "it took its time"
    );
    assert_eq!(w.serving().await.as_deref(), Some("late"));
    w.fixture.must(&["rm", "-f", &w.name]);
    // So does a soak, and it is counted once.
    let soak = w.config().soak(Duration::from_secs(22));
    let report = deploy(&w, soak, &w.reference(Build::V1)).await;
    assert_eq!(report.verdict(), &Verdict::Passed, "{}", report.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hopeless_container_is_waited_for() {
    let Some(w) = world() else { return };
    let soak = || w.config().soak(Duration::from_secs(60));
    let check = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_millis(200))
        .retries(2);
    for (config, mode, why) in [
        (soak(), "exit", "exited with code 3"),
        (soak().restart(RestartPolicy::Always), "exit", "restarted"),
        (soak().healthcheck(&check), "sick", "its health check fails"),
    ] {
        let began = Instant::now();
        let report = deploy(&w, config, &image(&w, mode)).await;
        let Verdict::Failed { diagnostic } = report.verdict() else {
            panic!("{mode}: {}", report.summary())
        };
        assert!(diagnostic.contains(why), "{mode}: {diagnostic}");
        assert!(began.elapsed() < Duration::from_secs(45), "{mode}: waited");
    }
}

#[tokio::test]
async fn a_soak_begins_again_with_each_look() {
    let Some(w) = world() else { return };
    let config = || w.config().soak(Duration::from_secs(3));
    let first = DockerBackend::new(config()).unwrap();
    let op = w.plan(&first, End::Nothing, &w.reference(Build::V1)).await;
    let op = w.run(&first, op).await;
    let placed = op.to.instance().unwrap();
    let view = first.health(&cx(), placed).await.unwrap();
    assert!(matches!(view, View::NotYet(_)), "{view}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Also by whoever has never looked before.
    let other = DockerBackend::new(config()).unwrap();
    for backend in [first, other] {
        assert_eq!(backend.health(&cx(), placed).await.unwrap(), View::Healthy);
    }
}

#[tokio::test]
async fn a_stop_that_takes_longer_than_the_deadline_is_an_outage() {
    let Some(w) = world() else { return };
    let stubborn = format!("{}/{}:stubborn", w.fixture.registry(), w.name);
    let lines = ["ENV VERSION=stubborn", "STOPSIGNAL SIGTERM"];
    w.fixture.publish(&stubborn, &lines);
    let config = w.config().stop_timeout(Duration::from_secs(6));
    let backend = DockerBackend::new(config).unwrap();
    let op = w.plan(&backend, End::Nothing, &stubborn).await;
    let from = w.run(&backend, op).await.to;
    let mut op = w.plan(&backend, from, &w.reference(Build::V1)).await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    let began = Instant::now();
    let short = Context::new(Duration::from_secs(4));
    backend.switch(&short, &op).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(6), "it had its time");
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    assert_eq!(w.running().await, 1);
}

#[tokio::test]
async fn health_is_what_docker_proves_and_nothing_less() {
    let Some(w) = world() else { return };
    let check = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_millis(300))
        .retries(2);
    let config = || w.config().soak(Duration::from_secs(30));
    let judge = async |backend: &DockerBackend, reference: &str, cx: Context| {
        let from = w.live().await.map_or(End::Nothing, End::Placed);
        let mut op = w.plan(backend, from, reference).await;
        let placed = backend.prepare(&cx, &op).await.unwrap().to;
        op.to = End::Placed(placed.clone());
        backend.switch(&cx, &op).await.unwrap();
        let mut view = backend.health(&cx, &placed).await.unwrap();
        while matches!(view, View::NotYet(_)) && cx.remaining() > Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            view = backend.health(&cx, &placed).await.unwrap();
        }
        backend.retire(&cx, &op).await.unwrap();
        view
    };
    let image = |name: &str, lines: &[&str]| {
        let reference = format!("{}/{}:{name}", w.fixture.registry(), w.name);
        w.fixture.publish(&reference, lines);
        reference
    };
    let why = |view: View| match view {
        View::Failed(why) => why,
        other => panic!("it failed, but is {other}"),
    };
    // A health check that passes.
    let checked = DockerBackend::new(config().healthcheck(&check)).unwrap();
    let v1 = w.reference(Build::V1);
    assert_eq!(judge(&checked, &v1, cx()).await, View::Healthy);
    // One that fails, with what it and the service said.
    let sick = image("sick", &["ENV VERSION=sick MODE=sick"]);
    let said = why(judge(&checked, &sick, cx()).await);
    assert!(
        said.contains("500") && said.contains("this is sick"),
        "{said}"
    );
    // One that has not answered yet is not healthy, however long it has been running.
    let starting = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_secs(60))
        .start_period(Duration::from_secs(60));
    let starting = DockerBackend::new(config().healthcheck(&starting)).unwrap();
    let soon = Context::new(Duration::from_secs(6));
    let view = judge(&starting, &w.reference(Build::V2), soon).await;
    assert!(
        matches!(&view, View::NotYet(why) if why.contains("starting")),
        "{view}"
    );
    // None at all, and too little time to watch it: no proof.
    let soaking = DockerBackend::new(config()).unwrap();
    let soon = Context::new(Duration::from_secs(6));
    let view = judge(&soaking, &w.reference(Build::V3), soon).await;
    let what = "not watched for long enough";
    assert!(
        matches!(&view, View::NotYet(why) if why.contains(what)),
        "{view}"
    );
    // One that ends: the exit code and its last words, without the values it was given.
    let telling = image("telling", &["ENV VERSION=telling MODE=exit"]);
    let short = DockerBackend::new(w.config()).unwrap();
    let said = why(judge(&short, &telling, cx()).await);
    assert!(said.contains("exited with code 3"), "{said}");
    assert!(said.contains("token is ***"), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    // One that is restarted again and again is not healthy in between.
    let config = w.config().restart(RestartPolicy::Always);
    let looping = DockerBackend::new(config.soak(Duration::from_secs(5))).unwrap();
    let said = why(judge(&looping, &telling, cx()).await);
    assert!(
        said.contains("restarted") || said.contains("exited"),
        "{said}"
    );
}

#[tokio::test]
async fn a_container_gets_its_own_time_to_stop() {
    let Some(w) = world() else { return };
    // As process 1 without a handler it does not heed SIGTERM: it takes all its time.
    let stubborn = format!("{}/{}:stubborn", w.fixture.registry(), w.name);
    let lines = ["ENV VERSION=stubborn", "STOPSIGNAL SIGTERM"];
    w.fixture.publish(&stubborn, &lines);
    let config = w.config().stop_timeout(Duration::from_secs(2));
    let backend = DockerBackend::new(config).unwrap();
    let op = w.plan(&backend, End::Nothing, &stubborn).await;
    let from = w.run(&backend, op).await.to;
    let mut op = w.plan(&backend, from, &w.reference(Build::V1)).await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    let began = Instant::now();
    backend.switch(&cx(), &op).await.unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_container_that_crashed_went_away_with_it() {
    let Some(w) = world() else { return };
    // A key, in PEM: each of its lines is a secret.
    let key = format!("-----BEGIN-----\n{TOKEN}\n{TOKEN}-more\n-----END-----\n");
    let backend = DockerBackend::new(w.config().env("TOKEN", key)).unwrap();
    let workload = Workload::new(backend).auto_rollback().gate(
        Gate::default()
            .interval(Duration::from_millis(200))
            .retries(1),
    );
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let deploy = async |build: Build| {
        let (id, me) = (w.workload(), Actor::user("me").unwrap());
        let run = engine.deploy(&id, w.reference(build), me);
        run.await.unwrap().await.unwrap()
    };
    let good = deploy(Build::V1).await;
    assert!(good.succeeded(), "{}", good.summary());
    assert_eq!(good.diagnosis(), None);
    let report = deploy(Build::Broken).await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    let stored = engine.get(report.deployment().id()).await.unwrap();
    let seen = stored.diagnosis().expect("it was looked at");
    assert!(!seen.attempts.is_empty(), "{seen}");
    let facts = &seen.platform.facts;
    let handle = stored.instance().unwrap().handle.to_string();
    assert_eq!(facts["container"], handle, "{seen}");
    for fact in ["exit_code", "oom_killed", "restarts", "status"] {
        assert!(facts.contains_key(fact), "{fact}: {seen}");
    }
    assert_ne!(facts["exit_code"], "0", "{seen}");
    assert!(!format!("{seen:?}").contains(TOKEN));
    let log = seen.platform.log.join("\n");
    assert!(
        log.contains("cannot start: told to exit; token is ***"),
        "{seen}"
    );
    let record = serde_json::to_string(&stored).unwrap();
    assert!(!record.contains(TOKEN), "{record}");
}
