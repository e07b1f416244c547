//! `RecreateContainer` on a real dockerd: what it heals, what it keeps, where it may be cut off,
//! and what it refuses.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{Availability, Backend, End, Instance, Live, Operation, Running};

use rollback_core::context::Context;
use rollback_core::drift::drift;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::LiveImpact;
use rollback_core::guard::Remediation;
use rollback_core::health::{Probe, View};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig, RecreateContainer, RestartContainer};
use rollback_docker::{Healthcheck, RestartPolicy};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, TOKEN, cx, fixture};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

/// An image of this world with a volume that it names no source for.
fn with_volume(w: &DockerWorld, name: &str) -> String {
    let reference = format!("{}/{}:{name}", w.fixture.registry(), w.name);
    let version = format!("ENV VERSION={name}");
    let seed = "COPY --from=rollback-test/base /server";
    let (anon, named) = (format!("{seed} /anon/seed"), format!("{seed} /named/seed"));
    w.fixture
        .publish(&reference, &[&version, &anon, &named, "VOLUME /anon"]);
    reference
}

fn full(w: &DockerWorld) -> DockerConfig {
    let check = Healthcheck::new(["/server", "check"]).interval(Duration::from_millis(300));
    w.config()
        .publish("127.0.0.1:18080".parse().unwrap(), 80)
        .bind(format!("{}-named", w.name), "/named")
        .label("team", "a")
        .memory(1 << 26)
        .stop_timeout(Duration::from_secs(7))
        .healthcheck(&check)
        .restart(RestartPolicy::Always)
}

/// A file of this name and content in a container, as `docker cp` puts it there.
fn put(fixture: &DockerFixture, container: &str, at: &str, content: &str) {
    let file: PathBuf = fixture.dir().join("put");
    fs::write(&file, content).unwrap();
    let to = format!("{container}:{at}");
    fixture.must(&["cp", file.to_str().unwrap(), &to]);
}

fn has(fixture: &DockerFixture, container: &str, at: &str) -> bool {
    let (from, to) = (format!("{container}:{at}"), fixture.dir().join("got"));
    fixture.docker(&["cp", &from, to.to_str().unwrap()]).is_ok()
}

async fn deploy(w: &DockerWorld, backend: &DockerBackend, reference: &str) -> Operation {
    let from = w.live().await.map_or(End::Nothing, End::Placed);
    let op = w.plan(backend, from, reference).await;
    w.run(backend, op).await
}

/// The handle is live, runs and differs in nothing from its record; nothing else is left of it.
async fn settled(w: &DockerWorld, backend: &DockerBackend, to: &Instance, context: &str) {
    let seen = backend.observe(&cx()).await.unwrap();
    let drift = drift(Some(to), &seen);
    assert!(!drift.is_drift(), "{context}: {drift:?}");
    let Live::One(sighting) = &seen.live else {
        panic!("{context}: {seen:?}")
    };
    assert_eq!(sighting.running, Running::Yes, "{context}");
    let near = backend.availability(&cx(), &End::Placed(to.clone())).await;
    assert_eq!(near.unwrap(), Availability::Standby, "{context}");
    // Either may be away from its resting name; what neither handle needs is gone.
    let all = w.containers();
    assert!(all.len() <= 2, "{context}: {all:?}");
    let handle = "{{.Id}} {{index .Config.Labels \"rollback.handle\"}}";
    let is = |id: &String| w.inspect(id, handle).contains(to.handle.as_str());
    let own = all.iter().filter(|(id, _)| is(id)).count();
    assert_eq!(own, 1, "{context}: {all:?}");
    assert_eq!(w.running().await, 1, "{context}");
}

/// The first verdict: dockerd's check has not run yet when the container has just been made.
async fn judged(backend: &DockerBackend, to: &Instance) -> View {
    loop {
        match backend.health(&cx(), to).await.unwrap() {
            View::NotYet(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            verdict => return verdict,
        }
    }
}

#[tokio::test]
async fn a_damaged_layer_is_healed_and_everything_else_is_kept() {
    let Some(w) = world() else { return };
    let backend = Arc::new(DockerBackend::new(full(&w)).unwrap());
    let former = deploy(&w, &backend, &with_volume(&w, "first")).await;
    let op = deploy(&w, &backend, &with_volume(&w, "second")).await;
    let to = op.to.instance().unwrap().clone();
    for path in ["/named/kept", "/anon/kept", "/server"] {
        put(&w.fixture, &w.name, path, "not a program");
    }
    let facts = || {
        let config = "{{json .Config.Env}} {{json .Config.Healthcheck}} {{.Config.StopTimeout}}";
        let host = "{{json .HostConfig.PortBindings}} {{json .HostConfig.RestartPolicy}} \
                    {{.HostConfig.Memory}} {{.HostConfig.NetworkMode}} {{.Image}} \
                    {{.Config.Labels.team}} {{index .Config.Labels \"rollback.release\"}}";
        let volumes = "{{range .Mounts}}{{.Destination}}={{.Name}};{{end}}";
        let volumes = w.inspect(&w.name, volumes);
        let mut volumes: Vec<&str> = volumes.split(';').collect();
        volumes.sort_unstable();
        let all = w.inspect(&w.name, &format!("{config} {host}"));
        format!("{all} {volumes:?}")
    };
    let before = facts();
    // What a restart finds is the same damaged file.
    let restart = RestartContainer::new(Arc::clone(&backend));
    restart.attempt(&cx(), &op, "500").await.unwrap_err();
    assert_eq!(w.serving().await, None);
    // Settings that somebody changed are made again as they were recorded.
    w.fixture.must(&["update", "--cpu-shares", "99", &w.name]);
    let recreate = RecreateContainer::new(Arc::clone(&backend));
    assert_eq!(recreate.name(), format!("recreate {}", w.name));
    for round in ["once", "twice"] {
        let id = w.inspect(&w.name, "{{.Id}}");
        let did = recreate.attempt(&cx(), &op, "500").await.unwrap();
        assert!(did.contains(&id[..12]), "{did}");
        assert_ne!(w.inspect(&w.name, "{{.Id}}"), id, "{round}");
        assert!(w.fixture.docker(&["inspect", &id]).is_err(), "it is gone");
        assert_eq!(w.serving().await.as_deref(), Some("second"), "{round}");
        assert_eq!(w.token().await, TOKEN);
        assert_eq!(facts(), before, "{round}");
        assert!(has(&w.fixture, &w.name, "/named/kept"), "{round}");
        assert!(has(&w.fixture, &w.name, "/anon/kept"), "{round}");
        settled(&w, &backend, &to, round).await;
        assert_eq!(judged(&backend, &to).await, View::Healthy, "{round}");
    }
    // It is a standby like any other, known by the same handle.
    let back = w.operation(op.to.clone(), former.to.clone());
    w.run(&backend, back).await;
    assert_eq!(w.serving().await.as_deref(), Some("first"));
    let near = backend.availability(&cx(), &op.to).await.unwrap();
    assert_eq!(near, Availability::Standby);
    backend
        .retain(&cx(), std::slice::from_ref(&to))
        .await
        .unwrap();
    let again = w.operation(former.to, op.to);
    let again = w.run(&backend, again).await;
    assert_eq!(w.serving().await.as_deref(), Some("second"));
    assert!(has(&w.fixture, &w.name, "/anon/kept"), "on the way back");
    settled(&w, &backend, &to, "brought back").await;
    // A volume that the service has emptied stays empty: the image's files do not come back.
    let sources: Vec<String> = ["anon", "named"]
        .map(|at| format!("{{{{range .Mounts}}}}{{{{if eq .Destination \"/{at}\"}}}}{{{{.Source}}}}{{{{end}}}}{{{{end}}}}"))
        .map(|format| w.inspect(&w.name, &format))
        .into();
    let files = |dir: &String| fs::read_dir(dir).unwrap().count();
    for dir in &sources {
        assert_eq!(files(dir), 2, "{dir}: seeded once, and written to");
        for file in fs::read_dir(dir).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    recreate.attempt(&cx(), &again, "500").await.unwrap();
    assert_eq!(sources.iter().map(files).sum::<usize>(), 0);
}

#[tokio::test]
async fn cut_off_anywhere_whoever_comes_next_finds_the_handle_and_goes_on() {
    let Some(w) = world() else { return };
    let config = w.config().restart(RestartPolicy::Always);
    let backend = Arc::new(DockerBackend::new(config).unwrap());
    let recreate = RecreateContainer::new(Arc::clone(&backend));
    let from = deploy(&w, &backend, &w.reference(Build::V1)).await.to;
    let first = from.instance().unwrap().clone();
    // The deployment's own: what goes back is what made the container.
    let op = deploy(&w, &backend, &with_volume(&w, "sick")).await;
    let to = op.to.instance().unwrap().clone();
    put(&w.fixture, &w.name, "/anon/kept", "data");
    let mut points = 0;
    for who in ["again", "switch", "back", "daemon"] {
        for stop in 0.. {
            assert!(stop < 30, "it never ends");
            let at = format!("{who} after {stop}");
            put(&w.fixture, &w.name, "/mark", "of the old layer");
            let cut = cx().stopping_after(stop);
            let ended = recreate.attempt(&cut, &op, "500").await;
            let seen = backend.observe(&cx()).await.unwrap();
            match &seen.live {
                // Then recovery judges, and it is something that runs.
                Live::One(s) => {
                    assert_eq!(s.instance.handle, to.handle, "{at}");
                    assert_eq!(s.running, Running::Yes, "{at}");
                }
                // Then recovery switches, and has something to switch to.
                Live::Nothing => {
                    let near = backend.availability(&cx(), &op.to).await.unwrap();
                    assert_eq!(near, Availability::Standby, "{at}: {seen:?}");
                }
                _ => panic!("{at}: {seen:?}"),
            }
            match who {
                "again" => {
                    recreate.attempt(&cx(), &op, "500").await.unwrap();
                    assert!(!has(&w.fixture, &w.name, "/mark"), "{at}: healed");
                }
                "switch" => drop(backend.switch(&cx(), &op).await.unwrap()),
                "back" => {
                    let back = w.run(&backend, op.reversed()).await;
                    assert_eq!(w.serving().await.as_deref(), Some("v1"), "{at}");
                    settled(&w, &backend, &first, &at).await;
                    // What was never live may be gone by then; it is made again.
                    let forth = backend.prepare(&cx(), &back.reversed()).await.unwrap();
                    assert_eq!(forth.to, to, "{at}");
                    backend.switch(&cx(), &op).await.unwrap();
                }
                _ => {
                    // Nobody comes, and the machine starts anew: one at most runs.
                    w.fixture.stop_dockerd();
                    w.fixture.start_dockerd().unwrap();
                    assert!(w.running().await <= 1, "{at}");
                    backend.switch(&cx(), &op).await.unwrap();
                }
            }
            backend.retire(&cx(), &op).await.unwrap();
            assert_eq!(w.serving().await.as_deref(), Some("sick"), "{at}");
            assert!(has(&w.fixture, &w.name, "/anon/kept"), "{at}");
            settled(&w, &backend, &to, &at).await;
            assert_eq!(w.containers().len(), 2, "{at}");
            if ended.is_ok() {
                break;
            }
            points += 1;
        }
    }
    assert!(points >= 4 * 7, "only {points} points");
}

#[tokio::test]
async fn what_it_cannot_make_anew_it_leaves_alone() {
    let Some(w) = world() else { return };
    w.install_by_hand(Build::V1).await;
    let backend = Arc::new(w.docker());
    let recreate = RecreateContainer::new(Arc::clone(&backend));
    let refused = async |cx: Context, op: &Operation, why: &str| {
        let state = "{{.Id}} {{.State.StartedAt}} {{.Name}}";
        let (before, all) = (w.inspect(&w.name, state), w.containers());
        let e = recreate.attempt(&cx, op, "500").await.unwrap_err();
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
        let e = e.to_string();
        assert!(e.contains(why), "{e}");
        assert!(!e.contains(TOKEN), "{e}");
        assert_eq!(w.inspect(&w.name, state), before, "{why}");
        assert_eq!(w.containers(), all, "{why}");
    };
    // Made by hand: nobody knows what it has.
    let adopted = End::Placed(w.live().await.unwrap());
    let op = w.operation(End::Nothing, adopted);
    refused(cx(), &op, "made by hand").await;
    let old = deploy(&w, &backend, &w.reference(Build::V2)).await;
    let op = deploy(&w, &backend, &w.reference(Build::V3)).await;
    // Not the recorded one.
    refused(
        cx(),
        &old,
        "the container of this deployment is not the live one",
    )
    .await;
    refused(
        cx(),
        &op.reversed(),
        "the container of this deployment is not the live one",
    )
    .await;
    let nothing = w.operation(op.to.clone(), End::Nothing);
    refused(
        cx(),
        &nothing,
        "the container of this deployment is not the live one",
    )
    .await;
    // Stopped, it would not run again in time.
    let soon = Context::new(Duration::from_secs(8));
    refused(soon, &op, "give tasks a longer deadline").await;
    // Nobody has the recorded value any longer.
    let text = serde_json::to_string(&op).unwrap();
    let lost: Operation = serde_json::from_str(&text.replace("TOKEN", "LOST")).unwrap();
    refused(cx(), &lost, "LOST").await;
    assert_eq!(w.serving().await.as_deref(), Some("v3"));
}

#[tokio::test]
async fn one_that_does_not_start_gives_way_to_the_one_that_ran() {
    let Some(w) = world() else { return };
    // The directory is there when it is made, and no file can be mounted over it.
    let source = w.fixture.dir().join("tool");
    fs::write(&source, "x").unwrap();
    let config = w.config().bind(source.to_str().unwrap(), "/tool");
    let backend = Arc::new(DockerBackend::new(config).unwrap());
    let op = deploy(&w, &backend, &w.reference(Build::V1)).await;
    let id = w.inspect(&w.name, "{{.Id}}");
    put(&w.fixture, &w.name, "/mark", "of the old layer");
    let text = serde_json::to_string(&op).unwrap();
    let text = text.replace("/tool", "/server");
    let wrong: Operation = serde_json::from_str(&text).unwrap();
    let recreate = RecreateContainer::new(Arc::clone(&backend));
    let e = recreate.attempt(&cx(), &wrong, "500").await.unwrap_err();
    let e = e.to_string();
    assert!(e.contains("what was live runs again"), "{e}");
    assert!(e.contains("cause: "), "{e}");
    assert!(e.contains("cannot start"), "{e}");
    assert_eq!(w.inspect(&w.name, "{{.Id}}"), id);
    assert!(has(&w.fixture, &w.name, "/mark"));
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    settled(&w, &backend, op.to.instance().unwrap(), "put back").await;
}

/// Damages the layer of the first container that it sees; only another one is whole.
#[derive(Debug)]
struct Whole(Arc<DockerFixture>, String, AtomicBool);

#[async_trait]
impl HealthCheck for Whole {
    fn name(&self) -> String {
        "the layer is whole".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        if !self.2.swap(true, Ordering::SeqCst) {
            put(&self.0, &self.1, "/mark", "damage");
        }
        match has(&self.0, &self.1, "/mark") {
            true => Err(Unhealthy::new("a file is damaged")),
            false => Ok(Healthy::yes()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engines_record_holds_after_it_and_so_does_the_way_back() {
    let Some(w) = world() else { return };
    let backend = Arc::new(w.docker());
    let gate = Gate::default()
        .retries(1)
        .interval(Duration::from_millis(50))
        .start_period(Duration::ZERO);
    let check = Whole(
        Arc::clone(&w.fixture),
        w.name.clone(),
        AtomicBool::new(false),
    );
    let workload = Workload::new(Arc::clone(&backend))
        .gate(gate)
        .check(check)
        .remediation(RestartContainer::new(Arc::clone(&backend)))
        .remediation(RecreateContainer::new(Arc::clone(&backend)))
        .auto_rollback();
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let id = w.workload();
    let me = Actor::user("me").unwrap();
    let deploy = async |build: Build| {
        let run = engine.deploy(&id, w.reference(build), me.clone());
        run.await.unwrap().await.unwrap()
    };
    let report = deploy(Build::V1).await;
    let by = format!("recreate {}", w.name);
    assert_eq!(report.verdict(), &Verdict::Healed { by });
    let recorded = report.deployment().instance().unwrap().clone();
    settled(&w, &backend, &recorded, "healed").await;
    assert!(deploy(Build::V2).await.succeeded());
    let back = engine.rollback(&id, Goal::Previous, me.clone());
    let report = back.await.unwrap().await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    settled(&w, &backend, &recorded, "rolled back").await;
}
