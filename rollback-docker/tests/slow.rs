//! What takes its time: Docker's own intervals, a long soak, a registry that goes away in the middle of
//! a pull. All of it waits side by side, on one daemon.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::{Backend, End};
use rollback_core::context::Context;
use rollback_core::engine::{Report, RollbackEngine, Workload};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig, Healthcheck};
use rollback_testkit::world::{Build, World};
use support::cutting::{CuttingProxy, large};
use support::{DockerWorld, fixture};

/// Deploys under the policy that there is if nothing is said, with this soak of the gate's own.
async fn deploy(w: &DockerWorld, config: DockerConfig, soak: u64, reference: &str) -> Report {
    let gate = Gate::default().soak(Duration::from_secs(soak));
    let workload = Workload::new(DockerBackend::new(config).unwrap()).gate(gate);
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let me = Actor::user("me").unwrap();
    let workload = w.workload();
    let run = engine.deploy(&workload, reference, me);
    run.await.unwrap().await.unwrap()
}

fn image(w: &DockerWorld, name: &str, lines: &[&str]) -> String {
    let reference = format!("{}/{}:{name}", w.fixture.registry(), w.name);
    let version = format!("ENV VERSION={name}");
    w.fixture
        .publish(&reference, &[&[&*version], lines].concat());
    reference
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_minutes_is_judged_by_what_comes_of_it() {
    let Some(fixture) = fixture() else { return };
    let fixture = Arc::new(fixture);
    let world = || DockerWorld::new(&fixture);
    tokio::join!(
        dockers_default_interval_and_a_long_start_are_waited_for(world()),
        a_soak_of_a_minute_and_a_half_passes(world()),
        one_that_is_checked_passes_a_soak(world()),
        one_that_sours_in_its_soak_fails(world()),
        a_registry_that_goes_away_in_the_middle_of_a_pull_touches_nothing(world()),
    );
}

/// A check that asks every second.
fn check() -> Healthcheck {
    Healthcheck::new(["/server", "check"])
        .interval(Duration::from_secs(1))
        .retries(2)
}

async fn dockers_default_interval_and_a_long_start_are_waited_for(w: DockerWorld) {
    // The first look, after 30 s, is too early for it; that counts for nothing in the start period.
    let check = "HEALTHCHECK --start-period=60s CMD [\"/server\", \"check\"]";
    let late = image(&w, "late", &["ENV MODE=late SECONDS=35", check]);
    let report = deploy(&w, w.config(), 0, &late).await;
    assert_eq!(report.verdict(), &Verdict::Passed, "{}", report.summary());
    let format = "{{len .State.Health.Log}} {{.State.Health.Status}}";
    assert_eq!(w.inspect(&w.name, format), "2 healthy");
}

async fn a_soak_of_a_minute_and_a_half_passes(w: DockerWorld) {
    let config = w.config().soak(Duration::from_secs(90));
    let report = deploy(&w, config, 0, &w.reference(Build::V1)).await;
    assert_eq!(report.verdict(), &Verdict::Passed, "{}", report.summary());
}

async fn one_that_is_checked_passes_a_soak(w: DockerWorld) {
    let config = w.config().healthcheck(&check());
    let report = deploy(&w, config, 90, &w.reference(Build::V1)).await;
    assert_eq!(report.verdict(), &Verdict::Passed, "{}", report.summary());
}

async fn one_that_sours_in_its_soak_fails(w: DockerWorld) {
    let sours = image(&w, "sours", &["ENV MODE=sours SECONDS=20"]);
    let report = deploy(&w, w.config().healthcheck(&check()), 90, &sours).await;
    let Verdict::Failed { diagnostic } = report.verdict() else {
        panic!("{}", report.summary())
    };
    assert!(diagnostic.contains("health check fails"), "{diagnostic}");
}

async fn a_registry_that_goes_away_in_the_middle_of_a_pull_touches_nothing(w: DockerWorld) {
    let live = w.deploy(Build::V1).await;
    let state = || w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let before = state();
    let reference = large(&w, "large", &[24]);
    let proxy = CuttingProxy::new(&w.fixture);
    let by_proxy = reference.replacen(w.fixture.registry(), proxy.at(), 1);
    let backend = w.docker();
    let op = w.plan(&backend, End::Placed(live), &by_proxy).await;
    proxy.cut(4 << 20);
    // dockerd tries each layer again, four times, and lets more time pass each time.
    let patient = Context::new(Duration::from_secs(240));
    let e = backend.prepare(&patient, &op).await.unwrap_err();
    assert!(proxy.is_cut(), "it was in the middle of it");
    assert_eq!(e.kind(), BackendErrorKind::Unreachable, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    assert!(e.is_transient() && e.to_string().contains("EOF"), "{e}");
    assert_eq!(state(), before);
    assert_eq!(w.containers().len(), 1, "nothing is left of what failed");
    // Who waits for less than dockerd tries is told of the deadline: the image's configuration is given
    // up after less than four seconds, its layers later.
    proxy.cut(2 << 20);
    let hasty = Context::new(Duration::from_secs(2));
    let e = backend.prepare(&hasty, &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::DeadlineExceeded, "{e}");
    assert_eq!(state(), before);
    proxy.mend();
    w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("large"));
}
