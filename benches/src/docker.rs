//! The docker backend's rollback, against stop and start of containers that stand ready.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig};
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::docker::{DockerFixture, free_port};

use crate::figure::{Figure, Unit, clocked, compare, timed};

const ROUNDS: usize = 20;

fn api() -> WorkloadId {
    "api@bench".parse().unwrap()
}

/// A whole rollback to a container that is kept. `Err` says why it cannot be measured here.
pub(crate) async fn rollback(dir: &Path) -> Result<Figure, String> {
    let fixture = DockerFixture::start()?;
    let registry = fixture.registry();
    let references = ["v1", "v2"].map(|v| format!("{registry}/api:{v}"));
    for reference in &references {
        fixture.publish(reference, &[&format!("ENV VERSION={reference}")]);
    }
    let config = DockerConfig::new(api(), "api", fixture.dir().join("state"))
        .socket(fixture.socket())
        .network("host")
        .env("PORT", free_port().to_string())
        .soak(Duration::ZERO);
    let gate = Gate::default().interval(Duration::from_millis(5));
    let workload = Workload::new(DockerBackend::new(config).unwrap()).gate(gate);
    let store = SqliteStore::open(dir.join("docker.db")).await.unwrap();
    let engine = RollbackEngine::builder(store)
        .workload(workload)
        .build()
        .unwrap();
    let actor = || Actor::user("bench").unwrap();
    let (id, mut ids) = (api(), Vec::new());
    for reference in &references {
        let run = engine.deploy(&id, reference, actor());
        let report = run.await.unwrap().await.unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        ids.push(report.deployment().id().clone());
    }
    let raw = Prepared::new(&fixture, &references);
    let last = Mutex::new(0);
    let (engine, ids, last, raw) = (&engine, &ids, &last, &raw);
    Ok(compare(
        "docker: a whole rollback on SQLite, against stop + start",
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
                let run = engine.rollback(&api(), goal, actor()).await.unwrap();
                run.await.unwrap()
            };
            let (time, report) = timed(Box::pin(whole)).await;
            assert!(report.succeeded(), "{}", report.summary());
            time
        },
        |_| async move { clocked(|| raw.swap()) },
    )
    .await)
}

/// Two containers of the same images, of which one runs.
struct Prepared {
    socket: PathBuf,
    ids: Mutex<[String; 2]>,
}

impl Prepared {
    fn new(fixture: &DockerFixture, images: &[String; 2]) -> Self {
        let port = format!("PORT={}", free_port());
        let ids = images.each_ref().map(|image| {
            let made = fixture.must(&["create", "--network", "host", "-e", &port, image]);
            made.trim().to_owned()
        });
        let prepared = Self {
            socket: fixture.socket(),
            ids: Mutex::new(ids),
        };
        prepared.post(&prepared.ids.lock().unwrap()[0], "start");
        prepared
    }

    /// What no swap of containers can do without.
    fn swap(&self) {
        let mut ids = self.ids.lock().unwrap();
        self.post(&ids[0], "stop");
        self.post(&ids[1], "start");
        ids.reverse();
    }

    fn post(&self, id: &str, verb: &str) {
        let mut socket = UnixStream::connect(&self.socket).unwrap();
        write!(
            socket,
            "POST /containers/{id}/{verb} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
}
