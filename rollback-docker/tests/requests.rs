//! How often dockerd is asked: each request costs it, and whoever waits, some milliseconds.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::Backend;
use rollback_core::engine::{Report, RollbackEngine, Workload};
use rollback_core::error::BackendErrorKind;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, RestartPolicy};
use rollback_testkit::fixtures::relay::{Mode, Relay};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, cx, fixture};

struct Counted {
    world: DockerWorld,
    relay: Relay,
    engine: RollbackEngine,
}

impl Counted {
    fn new() -> Option<Self> {
        let world = DockerWorld::new(&Arc::new(fixture()?));
        let fixture = &world.fixture;
        let relay = Relay::new(fixture.dir().join("relay"), fixture.socket());
        let config = world.config().socket(relay.socket()).soak(Duration::ZERO);
        let config = config.restart(RestartPolicy::UnlessStopped);
        let workload = Workload::new(DockerBackend::new(config).unwrap());
        let engine = RollbackEngine::builder(MemoryStore::new())
            .workload(workload)
            .build()
            .unwrap();
        Some(Self {
            world,
            relay,
            engine,
        })
    }

    async fn deploy(&self, build: Build) -> Report {
        let (id, me) = (self.world.workload(), Actor::user("me").unwrap());
        let run = self.engine.deploy(&id, self.world.reference(build), me);
        succeeded(run.await.unwrap().await.unwrap())
    }

    async fn rollback(&self, goal: Goal) -> Report {
        let (id, me) = (self.world.workload(), Actor::user("me").unwrap());
        let run = self.engine.rollback(&id, goal, me);
        succeeded(run.await.unwrap().await.unwrap())
    }

    /// What was asked since the last time, in order.
    fn asked(&self) -> Vec<String> {
        let heard = self.relay.take().bytes;
        let lines = String::from_utf8_lossy(&heard).into_owned();
        lines.lines().filter_map(kind).collect()
    }
}

fn succeeded(report: Report) -> Report {
    assert!(report.succeeded(), "{}", report.summary());
    report
}

/// What a request's first line asks, without version, query and the name of what it is about; `None`
/// for any other line.
fn kind(line: &str) -> Option<String> {
    let line = line.strip_suffix(" HTTP/1.1")?;
    let (method, path) = line.split_once(' ')?;
    let path = path.split('?').next().unwrap_or(path);
    let parts = path.split('/');
    let parts: Vec<&str> = parts
        .filter(|p| !p.is_empty() && !p.starts_with("v1."))
        .collect();
    Some(match parts[..] {
        [what, "json"] => format!("{method} list {what}"),
        [_, .., verb] if method == "POST" => verb.to_owned(),
        [what, ..] => format!("{method} {what}"),
        [] => method.to_owned(),
    })
}

fn count(asked: &[String]) -> BTreeMap<&str, usize> {
    let mut out = BTreeMap::new();
    for kind in asked {
        *out.entry(kind.as_str()).or_default() += 1;
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_asks_dockerd_for_no_more_than_each_verb_needs_however_much_is_kept() {
    let Some(w) = Counted::new() else { return };
    let first = w.deploy(Build::V1).await;
    let second = w.deploy(Build::V2).await;
    w.asked();
    w.rollback(Goal::To(first.deployment().id().clone())).await;
    let few = w.asked();
    let changes = few.iter().filter(|kind| !kind.starts_with("GET "));
    let changes: Vec<&str> = changes.map(String::as_str).collect();
    // The token supersedes the former one's while that stops, wherever that falls in between. The former
    // one's policy goes after it has stopped and before anything else may start; the successor's comes
    // before it starts. The image of what is kept is held already.
    let expected = [
        "tag", "stop", "update", "rename", "rename", "update", "start",
    ];
    let moves = changes.iter().filter(|kind| **kind != "DELETE images");
    assert_eq!(Vec::from_iter(moves.copied()), expected);
    assert_eq!(changes.len(), expected.len() + 1, "{changes:?}");
    let looks = BTreeMap::from([
        // One a verb: observe, availability, preflight, prepare, switch, retire, retain. Who holds the ports,
        // and who depends on what is live, is in the same.
        ("GET list containers", 7),
        // The tokens and the pins: observe, prepare, switch, retire, retain.
        ("GET list images", 5),
        // The live one and the other: preflight, prepare and switch need both, observe, availability and
        // health one; and what was started is looked at.
        ("GET containers", 10),
    ]);
    let mut all = count(&few);
    all.retain(|kind, _| kind.starts_with("GET "));
    assert_eq!(all, looks);
    for build in [Build::V3, Build::V1, Build::V2, Build::V3] {
        w.deploy(build).await;
    }
    w.asked();
    w.rollback(Goal::To(second.deployment().id().clone())).await;
    let many = w.asked();
    assert_eq!(count(&many)["GET containers"], looks["GET containers"]);
    assert!(many.len() <= few.len(), "{many:#?}");
}

/// What a newer dockerd says to a client that has agreed with an older one.
fn refusal() -> Vec<u8> {
    let why = "client version 1.41 is too old. Minimum supported API version is 1.44";
    let body = format!("{{\"message\":\"{why}\"}}");
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_asked_for_once_and_again_when_another_dockerd_answers() {
    let Some(w) = Counted::new() else { return };
    let fixture = &w.world.fixture;
    w.deploy(Build::V1).await;
    w.deploy(Build::V2).await;
    let version = |asked: Vec<String>| count(&asked).get("GET version").copied();
    assert_eq!(version(w.asked()), Some(1));
    let backend = DockerBackend::new(w.world.config().socket(w.relay.socket())).unwrap();
    backend.observe(&cx()).await.unwrap();
    for (mode, kind) in [
        (Mode::Away, "dockerd does not answer"),
        (Mode::Answer(refusal()), "client version 1.41 is too old"),
    ] {
        w.relay.set(mode.clone());
        let e = backend.observe(&cx()).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Unreachable, "{e}");
        assert!(e.is_transient() && e.to_string().contains(kind), "{e}");
        w.relay.set(Mode::Pass);
        w.asked();
        backend.observe(&cx()).await.unwrap();
        backend.observe(&cx()).await.unwrap();
        assert_eq!(version(w.asked()), Some(1), "{mode:?}");
    }
    // One that was only restarted answers the next request.
    fixture.stop_dockerd();
    fixture.start_dockerd().unwrap();
    backend.observe(&cx()).await.unwrap();
}
