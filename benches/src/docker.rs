//! The docker backend's rollback, against stop and start of containers that stand ready, and against
//! docker-compose.

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

use crate::compose::Compose;
use crate::figure::{Figure, Unit, clocked, compare, timed};
use crate::prober::downtime;
use crate::report::Report;

const ROUNDS: usize = 20;

/// docker-compose takes its time.
const FEW: usize = 8;

/// How the containers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Net {
    Host,
    Bridge,
}

fn api() -> WorkloadId {
    "api@bench".parse().unwrap()
}

/// Measures what can be measured here.
pub(crate) async fn figures(dir: &Path, report: &mut Report) {
    for net in [Net::Host, Net::Bridge] {
        let swap = match Swap::new(net, dir).await {
            Ok(swap) => swap,
            Err(why) => return report.say(format!("docker was not measured: {why}")),
        };
        if net == Net::Host {
            let raw = Prepared::new(&swap.fixture, &swap.images);
            report.add(swap.whole(&raw).await.at_most("1.15"));
            report.add(raw.kept(&swap.images[0]).await);
            report.add(swap.downtime(&raw).await.at_most("1.15"));
        }
        let bound = match net {
            Net::Host => "3.5",
            Net::Bridge => "2",
        };
        let figure = swap.composed().await.map(|f| f.at_least(bound));
        report.add_or_say("docker-compose", figure);
    }
}

/// A workload with two releases, of which the other one is kept.
struct Swap {
    net: Net,
    engine: RollbackEngine,
    images: [String; 2],
    port: u16,
    ids: Vec<DeploymentId>,
    last: Mutex<usize>,
    fixture: DockerFixture,
}

impl Swap {
    async fn new(net: Net, dir: &Path) -> Result<Self, String> {
        let fixture = match net {
            Net::Host => DockerFixture::start()?,
            Net::Bridge => DockerFixture::with_networks()?,
        };
        let registry = fixture.registry();
        let images = ["v1", "v2"].map(|v| format!("{registry}/api:{v}"));
        for image in &images {
            fixture.publish(image, &[&format!("ENV VERSION={image}")]);
        }
        let port = free_port();
        let config = DockerConfig::new(api(), "api", fixture.dir().join("state"))
            .socket(fixture.socket())
            .soak(Duration::ZERO);
        let config = match net {
            Net::Host => config.network("host").env("PORT", port.to_string()),
            Net::Bridge => config
                .publish(([127, 0, 0, 1], port).into(), 8080)
                .env("ADDRESS", "0.0.0.0"),
        };
        let gate = Gate::default().interval(Duration::from_millis(5));
        let workload = Workload::new(DockerBackend::new(config).unwrap()).gate(gate);
        let store = SqliteStore::open(dir.join(format!("docker-{net:?}.db"))).await;
        let engine = RollbackEngine::builder(store.unwrap())
            .workload(workload)
            .build()
            .unwrap();
        let (id, mut ids) = (api(), Vec::new());
        for image in &images {
            let run = engine.deploy(&id, image, actor());
            let report = run.await.unwrap().await.unwrap();
            assert!(report.succeeded(), "{}", report.summary());
            ids.push(report.deployment().id().clone());
        }
        Ok(Self {
            net,
            engine,
            images,
            port,
            ids,
            last: Mutex::new(0),
            fixture,
        })
    }

    /// A whole rollback to the container that is kept.
    async fn roll_back(&self) {
        let goal = {
            let mut last = self.last.lock().unwrap();
            let goal = Goal::To(self.ids[*last].clone());
            *last = 1 - *last;
            goal
        };
        let id = api();
        let run = self.engine.rollback(&id, goal, actor()).await.unwrap();
        let report = run.await.unwrap();
        assert!(report.succeeded(), "{}", report.summary());
    }

    async fn whole(&self, raw: &Prepared) -> Figure {
        compare(
            "docker: a whole rollback on SQLite, against stop + start",
            Unit::Millis,
            ROUNDS,
            |_| async { timed(Box::pin(self.roll_back())).await.0 },
            |_| async { clocked(|| raw.swap()) },
        )
        .await
    }

    async fn downtime(&self, raw: &Prepared) -> Figure {
        compare(
            "docker: nobody answers in a rollback, against stop + start",
            Unit::Millis,
            ROUNDS,
            |_| downtime(self.port, Box::pin(self.roll_back())),
            |_| downtime(raw.port, async { raw.swap() }),
        )
        .await
    }

    async fn composed(&self) -> Result<Figure, String> {
        let port = free_port();
        let rest = match self.net {
            Net::Host => vec![
                "network_mode: host".to_owned(),
                format!("environment: [\"PORT={port}\"]"),
            ],
            Net::Bridge => vec![
                "network_mode: bridge".to_owned(),
                format!("ports: [\"127.0.0.1:{port}:8080\"]"),
                "environment: [\"ADDRESS=0.0.0.0\"]".into(),
            ],
        };
        let compose = &Compose::new(&self.fixture, &self.images, &rest)?;
        let on = match self.net {
            Net::Host => "the host's network",
            Net::Bridge => "a bridge",
        };
        let figure = compare(
            format!("docker-compose up -d, against a whole rollback, on {on}"),
            Unit::Millis,
            FEW,
            |_| async { clocked(|| compose.up()) },
            |_| async { timed(Box::pin(self.roll_back())).await.0 },
        );
        Ok(figure.await)
    }
}

fn actor() -> Actor {
    Actor::user("bench").unwrap()
}

/// Two containers of the same images, of which one runs.
struct Prepared {
    socket: PathBuf,
    port: u16,
    ids: Mutex<[String; 2]>,
}

impl Prepared {
    fn new(fixture: &DockerFixture, images: &[String; 2]) -> Self {
        let at = free_port();
        let port = format!("PORT={at}");
        let ids = images.each_ref().map(|image| {
            let made = fixture.must(&["create", "--network", "host", "-e", &port, image]);
            made.trim().to_owned()
        });
        let prepared = Self {
            socket: fixture.socket(),
            port: at,
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

    /// The floor of a rollback: a swap that can be gone back from, by whoever comes after a crash. A token
    /// is kept, what stops does not start again by itself, and the names say which is which.
    async fn kept(&self, image: &str) -> Figure {
        compare(
            "docker: stop + start with a token, policies and names, against stop + start",
            Unit::Millis,
            ROUNDS,
            |round| async move { clocked(|| self.keep(image, round)) },
            |_| async { clocked(|| self.swap()) },
        )
        .await
    }

    fn keep(&self, image: &str, round: usize) {
        let mut ids = self.ids.lock().unwrap();
        let restart = |name: &str| format!("{{\"RestartPolicy\":{{\"Name\":\"{name}\"}}}}");
        let token = format!("/images/{image}/tag?repo=floor.local/token&tag={round}");
        self.ask(&token, "");
        self.post(&ids[0], "stop");
        let [former, successor] = ids.each_ref().map(|id| format!("/containers/{id}"));
        self.ask(&format!("{former}/update"), &restart("no"));
        self.ask(&format!("{former}/rename?name=former-{round}"), "");
        self.ask(&format!("{successor}/rename?name=live-{round}"), "");
        self.ask(&format!("{successor}/update"), &restart("unless-stopped"));
        self.post(&ids[1], "start");
        ids.reverse();
    }

    fn post(&self, id: &str, verb: &str) {
        self.ask(&format!("/containers/{id}/{verb}"), "");
    }

    fn ask(&self, path: &str, body: &str) {
        let mut socket = UnixStream::connect(&self.socket).unwrap();
        write!(
            socket,
            "POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }
}
