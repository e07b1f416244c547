//! A shop on three platforms: `site` is a checkout, which needs the container `api`, which needs the unit
//! `worker`. So `worker` is switched first and `site` last.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rollback_core::id::StackName;
use rollback_core::prelude::*;
use rollback_core::stack::{Stack, StackGoal, StackRequest};
use rollback_docker::{DockerBackend, DockerConfig};
use rollback_git::{GitBackend, GitConfig};
use rollback_health::{CommandCheck, HttpCheck};
use rollback_sqlite::SqliteStore;
use rollback_systemd::{SystemdBackend, SystemdConfig};
use rollback_testkit::fixtures::docker::{DockerFixture, free_port};
use rollback_testkit::fixtures::git::{BUILDS, GitFixture};
use rollback_testkit::fixtures::server::server;
use rollback_testkit::fixtures::systemd::SystemdFixture;
use rollback_testkit::service::unavailable;
use rollback_testkit::world::Build;
use serde::{Deserialize, Serialize};

/// In the order of their ids: `api`, which is opened first, coordinates.
pub(crate) const ALL: [&str; 3] = ["api", "site", "worker"];

/// Where the service is in systemd's own root.
const SERVER: &str = "opt/rollback/server";

pub(crate) fn id(name: &str) -> WorkloadId {
    format!("{name}@shop-1").parse().unwrap()
}

pub(crate) fn stack() -> StackName {
    "shop".parse().unwrap()
}

pub(crate) fn me() -> Actor {
    Actor::user("ada").unwrap()
}

/// The three platforms, and where to find them.
pub(crate) struct Shop {
    pub(crate) docker: DockerFixture,
    // Held for as long as the shop is there.
    _systemd: SystemdFixture,
    _git: GitFixture,
    pub(crate) place: Place,
}

/// How another process finds the shop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    docker: PathBuf,
    registry: String,
    root: PathBuf,
    pub(crate) bus: String,
    pub(crate) api: u16,
    pub(crate) worker: u16,
}

impl Shop {
    /// One that nothing is deployed in; `None`, having said so, where a platform cannot be had.
    pub(crate) fn open() -> Option<Self> {
        Self::try_open().map_err(|why| unavailable(&why)).ok()
    }

    fn try_open() -> Result<Self, String> {
        let systemd = std::thread::spawn(|| {
            let fixture = SystemdFixture::boot()?;
            let to = fixture.root().join(SERVER);
            std::fs::create_dir_all(to.parent().unwrap()).map_err(|e| e.to_string())?;
            std::fs::copy(server()?, to).map_err(|e| e.to_string())?;
            Ok::<_, String>(fixture)
        });
        // By this thread: what it starts ends with the thread that started it.
        let docker = DockerFixture::start();
        let systemd = systemd.join().unwrap()?;
        let docker = docker?;
        let git = GitFixture::new(true);
        let place = Place {
            dir: git.dir().to_owned(),
            docker: docker.socket(),
            registry: docker.registry().to_owned(),
            root: systemd.root(),
            bus: systemd.bus(),
            api: free_port(),
            worker: free_port(),
        };
        std::fs::create_dir(place.dir.join("units")).map_err(|e| e.to_string())?;
        for build in BUILDS {
            // One that runs, and says that it is sick.
            let mode = if build == Build::Broken { "sick" } else { "" };
            let version = format!("ENV VERSION={}", build.answer());
            let lines = [&*version, &format!("ENV MODE={mode}")];
            docker.publish(&place.reference("api", build), &lines);
            let unit = place
                .dir
                .join("units")
                .join(place.reference("worker", build));
            std::fs::write(unit, place.unit(build)).map_err(|e| e.to_string())?;
        }
        Ok(Self {
            docker,
            _systemd: systemd,
            _git: git,
            place,
        })
    }
}

impl Place {
    /// How a build is asked for.
    pub(crate) fn reference(&self, name: &str, build: Build) -> String {
        match name {
            "api" => format!("{}/api:{}", self.registry, build.answer()),
            "worker" => format!("{}.service", build.answer()),
            _ => build.answer().to_owned(),
        }
    }

    /// Its build is in its command line as well, where systemd tells it.
    fn unit(&self, build: Build) -> String {
        let mode = if build == Build::Broken { "exit" } else { "" };
        let (build, port) = (build.answer(), self.worker);
        format!(
            "[Service]\nEnvironment=PORT={port}\nEnvironment=VERSION={build}\n\
             Environment=MODE={mode}\nExecStart=/{SERVER} {build}\n"
        )
    }

    pub(crate) async fn store(&self) -> Arc<dyn HistoryStore> {
        let store = SqliteStore::open(self.dir.join("history.db")).await;
        Arc::new(store.unwrap())
    }

    pub(crate) fn workload(&self, name: &str) -> Workload {
        let soak = Duration::from_millis(300);
        let healthz = |port| HttpCheck::new(&format!("http://127.0.0.1:{port}/healthz")).unwrap();
        let workload = match name {
            "api" => {
                let config = DockerConfig::new(id(name), "api", self.dir.join("docker"))
                    .socket(&self.docker)
                    .network("host")
                    .env("PORT", self.api.to_string())
                    .soak(soak);
                Workload::new(DockerBackend::new(config).unwrap())
                    .check(healthz(self.api))
                    .depends_on(id("worker"))
            }
            "worker" => {
                let (units, state) = (self.dir.join("units"), self.dir.join("systemd"));
                let unit = "worker.service".parse().unwrap();
                let config = SystemdConfig::new(id(name), unit, units, state)
                    .root(&self.root)
                    .bus(&self.bus)
                    .soak(soak);
                Workload::new(SystemdBackend::new(config).unwrap()).check(healthz(self.worker))
            }
            _ => {
                let config = GitConfig::new(id(name), self.dir.join("repo"), self.dir.join("site"));
                let version = self.dir.join("site/current/version.txt");
                let told = ["-qvx".into(), "broken".into(), version.into_os_string()];
                Workload::new(GitBackend::new(config).unwrap())
                    .check(CommandCheck::new("grep", told).unwrap())
                    .depends_on(id("api"))
            }
        };
        // A busy machine may take a while until somebody listens.
        let gate = Gate::default()
            .interval(Duration::from_millis(100))
            .start_period(Duration::from_secs(3));
        workload.gate(gate).auto_rollback()
    }

    /// An engine that knows all of the shop.
    pub(crate) fn engine(&self, store: Arc<dyn HistoryStore>) -> RollbackEngine {
        let mut builder = RollbackEngine::builder(store).stack(Stack::new(stack(), ALL.map(id)));
        for name in ALL {
            builder = builder.workload(self.workload(name));
        }
        builder.build().unwrap()
    }

    /// Asks for a build of each.
    pub(crate) fn deploy(&self, build: impl Fn(&str) -> Build) -> StackRequest {
        let references = ALL.map(|name| (id(name), self.reference(name, build(name))));
        StackRequest::deploy(stack(), references, me())
    }
}

pub(crate) fn last_healthy() -> StackRequest {
    StackRequest::rollback(stack(), StackGoal::LastHealthy, me())
}
