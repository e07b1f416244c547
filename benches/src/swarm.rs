//! The Swarm backend's rollback, against Swarm's own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::prelude::*;
use rollback_docker::{SwarmBackend, SwarmConfig};
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::docker::DockerFixture;
use serde_json::Value;

use crate::figure::{Figure, Unit, clocked, compare, timed};

/// Each takes some seconds: Swarm lets a task that stops wait for two.
const ROUNDS: usize = 6;

/// For how long Swarm watches a new task, here and there.
const MONITOR: Duration = Duration::from_millis(300);

/// A whole rollback of a service of one task. `Err` says why it cannot be measured here.
pub(crate) async fn rollback(dir: &Path) -> Result<Figure, String> {
    let fixture = DockerFixture::with_swarm()?;
    let registry = fixture.registry();
    let references = ["v1", "v2"].map(|v| format!("{registry}/api:{v}"));
    for reference in &references {
        fixture.publish(reference, &[&format!("ENV VERSION={reference}")]);
    }
    let id: WorkloadId = "api@bench".parse().unwrap();
    let config = SwarmConfig::new(id.clone(), "api", fixture.dir().join("state"))
        .socket(fixture.socket())
        .monitor(MONITOR)
        .soak(Duration::ZERO);
    let gate = Gate::default().interval(Duration::from_millis(5));
    let workload = Workload::new(SwarmBackend::new(config).unwrap()).gate(gate);
    let store = SqliteStore::open(dir.join("swarm.db")).await.unwrap();
    let engine = RollbackEngine::builder(store)
        .workload(workload)
        .build()
        .unwrap();
    let actor = || Actor::user("bench").unwrap();
    let mut ids = Vec::new();
    for reference in &references {
        let run = engine.deploy(&id, reference, actor());
        let report = run.await.unwrap().await.unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        ids.push(report.deployment().id().clone());
    }
    let own = Own::new(&fixture, &references);
    let last = Mutex::new(0);
    let (engine, ids, last, own, id) = (&engine, &ids, &last, &own, &id);
    Ok(compare(
        "swarm: a whole rollback on SQLite, against Swarm's own",
        Unit::Millis,
        ROUNDS,
        |_| async move {
            let goal = {
                let mut last = last.lock().unwrap();
                let goal = Goal::To(ids[*last].clone());
                *last = 1 - *last;
                goal
            };
            let whole = async {
                let run = engine.rollback(id, goal, actor()).await.unwrap();
                run.await.unwrap()
            };
            let (time, report) = timed(Box::pin(whole)).await;
            assert!(report.succeeded(), "{}", report.summary());
            time
        },
        |_| async move {
            own.update();
            clocked(|| own.roll_back())
        },
    )
    .await)
}

/// A service that Swarm itself takes back.
struct Own<'a> {
    fixture: &'a DockerFixture,
    references: &'a [String; 2],
}

impl<'a> Own<'a> {
    fn new(fixture: &'a DockerFixture, references: &'a [String; 2]) -> Self {
        let monitor = format!("{}ms", MONITOR.as_millis());
        let create = ["service", "create", "-q", "--name", "own"];
        let watch = ["--update-monitor", &monitor, "--rollback-monitor", &monitor];
        fixture.must(&[&create[..], &watch, &[&*references[0]]].concat());
        Self {
            fixture,
            references,
        }
    }

    /// There is something to go back from; nothing of that is measured.
    fn update(&self) {
        let image = &self.references[1];
        self.fixture
            .must(&["service", "update", "-q", "--image", image, "own"]);
        self.wait("completed");
    }

    /// What no way back can do without: asked for, and polled until it is so.
    fn roll_back(&self) {
        let service = self.ask("GET", "/services/own", "");
        let version = &service["Version"]["Index"];
        let path = format!("/services/own/update?version={version}&rollback=previous");
        self.ask("POST", &path, &service["Spec"].to_string());
        self.wait("rollback_completed");
    }

    fn wait(&self, state: &str) {
        loop {
            let service = self.ask("GET", "/services/own", "");
            let tasks = self.ask(
                "GET",
                "/tasks?filters=%7B%22name%22%3A%5B%22own.%22%5D%7D",
                "",
            );
            let image = &service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"];
            let is = |of_image: bool| {
                tasks.as_array().into_iter().flatten().any(|task| {
                    let own = task["Spec"]["ContainerSpec"]["Image"] == *image;
                    own == of_image && task["Status"]["State"] == "running"
                })
            };
            if service["UpdateStatus"]["State"] == state && is(true) && !is(false) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut socket = UnixStream::connect(self.fixture.socket()).unwrap();
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.split(' ').nth(1) == Some("200"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}
