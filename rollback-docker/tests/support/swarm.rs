//! A world of one Swarm service: a Swarm of one node, shared by the worlds of one test.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{Backend, End, Instance, Operation};
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::health::Gate;
use rollback_core::id::{Actor, WorkloadId};
use rollback_core::memory::MemoryStore;
use rollback_docker::{SwarmBackend, SwarmConfig};
use rollback_testkit::fixtures::docker::{DockerFixture, free_port};
use rollback_testkit::service::unavailable;
use rollback_testkit::world::{Build, World};

use super::{TOKEN, cx, operation};

static WORLDS: AtomicU64 = AtomicU64::new(1);

/// A Swarm, or the reason why the test is skipped.
pub fn swarm() -> Option<DockerFixture> {
    DockerFixture::with_swarm()
        .map_err(|why| unavailable(&why))
        .ok()
}

/// A world on a Swarm of its own.
pub fn world() -> Option<SwarmWorld> {
    Some(SwarmWorld::new(&Arc::new(swarm()?)))
}

/// An engine with one service, whose gate is impatient.
pub fn engine(config: SwarmConfig) -> RollbackEngine {
    engine_of(Workload::new(SwarmBackend::new(config).unwrap()))
}

pub fn engine_of(workload: Workload) -> RollbackEngine {
    let gate = Gate::default().interval(Duration::from_millis(50));
    RollbackEngine::builder(MemoryStore::new())
        .workload(workload.gate(gate).auto_rollback())
        .build()
        .unwrap()
}

pub fn me() -> Actor {
    Actor::user("me").unwrap()
}

pub struct SwarmWorld {
    pub fixture: Arc<DockerFixture>,
    pub name: String,
    pub port: u16,
    state: PathBuf,
    cut: AtomicBool,
    reconfigured: AtomicBool,
    digests: HashMap<Build, String>,
}

impl SwarmWorld {
    pub fn new(fixture: &Arc<DockerFixture>) -> Self {
        let name = format!("s{}", WORLDS.fetch_add(1, Ordering::SeqCst));
        let mut world = Self {
            fixture: Arc::clone(fixture),
            port: free_port(),
            state: fixture.dir().join("state").join(&name),
            cut: AtomicBool::new(false),
            reconfigured: AtomicBool::new(false),
            digests: HashMap::new(),
            name,
        };
        for build in [Build::V1, Build::V2, Build::V3, Build::Broken] {
            let version = format!("ENV VERSION={}", build.answer());
            let label = format!("LABEL world={}", world.name);
            let mode = match build {
                Build::Broken => "ENV MODE=exit",
                _ => "ENV MODE=",
            };
            let lines = [version.as_str(), mode, label.as_str()];
            let digest = fixture.publish(&world.reference(build), &lines);
            world.digests.insert(build, digest);
        }
        world
    }

    pub fn config(&self) -> SwarmConfig {
        let config = SwarmConfig::new(self.workload(), &self.name, &self.state)
            .socket(self.fixture.socket())
            .network("host")
            .env("PORT", self.port.to_string())
            .env("TOKEN", TOKEN)
            .monitor(Duration::from_millis(300))
            .soak(Duration::from_millis(300));
        match self.reconfigured.load(Ordering::SeqCst) {
            true => config.env("MORE", "a").memory(1 << 26),
            false => config,
        }
    }

    pub fn swarm(&self) -> SwarmBackend {
        SwarmBackend::new(self.config()).unwrap()
    }

    /// A configuration that says nothing of variables and networks: each task is by itself.
    pub fn apart(&self) -> SwarmConfig {
        SwarmConfig::new(
            self.workload(),
            &self.name,
            self.fixture.dir().join("apart"),
        )
        .socket(self.fixture.socket())
        .monitor(Duration::from_millis(300))
        .soak(Duration::ZERO)
    }

    /// An operation from what is live to this build, prepared.
    pub async fn prepared(&self, backend: &SwarmBackend, build: Build) -> Operation {
        let from = self.live().await.map_or(End::Nothing, End::Placed);
        let mut op = self.plan(backend, from, &self.reference(build)).await;
        op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
        op
    }

    /// Waits until the service is this, rolled out or not.
    pub async fn asked_for(&self, op: &Operation) {
        let to = op.to.instance().unwrap();
        while !self.swarm().observe(&cx()).await.unwrap().leads_to(to) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn plan(&self, backend: &SwarmBackend, from: End, reference: &str) -> Operation {
        let release = backend.resolve(&cx(), reference).await.unwrap();
        operation(&self.name, from, End::Planned(release))
    }

    /// Runs an operation from beginning to end.
    pub async fn run(&self, backend: &SwarmBackend, mut op: Operation) -> Operation {
        op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
        backend.switch(&cx(), &op).await.unwrap();
        backend.retire(&cx(), &op).await.unwrap();
        op
    }

    /// Deploys a build from what is live.
    pub async fn deploy(&self, backend: &SwarmBackend, build: Build) -> Instance {
        let from = self.live().await.map_or(End::Nothing, End::Placed);
        let op = self.plan(backend, from, &self.reference(build)).await;
        self.run(backend, op).await.to.instance().unwrap().clone()
    }

    pub async fn live(&self) -> Option<Instance> {
        let seen = self.swarm().observe(&cx()).await.unwrap();
        seen.live_instance().cloned()
    }

    /// The service, as Swarm shows it.
    pub fn show(&self) -> serde_json::Value {
        let shown = self.fixture.must(&["service", "inspect", &self.name]);
        let mut all: serde_json::Value = serde_json::from_str(&shown).unwrap();
        all[0].take()
    }

    /// The ids of the records that are kept.
    pub fn records(&self) -> Vec<String> {
        let label = format!("label=rollback.workload={}", self.workload());
        let all = ["config", "ls", "--filter", &label, "--format", "{{.Name}}"];
        let all = self.fixture.must(&all);
        let names = all.lines().filter(|name| !name.ends_with(".token"));
        names.map(str::to_owned).collect()
    }

    /// GET of a path; the body.
    pub async fn get(&self, path: &'static str) -> Option<String> {
        let (fixture, at) = (
            Arc::clone(&self.fixture),
            format!("127.0.0.1:{}", self.port),
        );
        let answer = tokio::task::spawn_blocking(move || fixture.http(&at, "GET", path));
        let answer = answer.await.unwrap()?;
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
    }
}

impl Drop for SwarmWorld {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // The fixture removes everything; a second panic would abort.
        }
        let _ = self.fixture.docker(&["service", "rm", &self.name]);
    }
}

#[async_trait]
impl World for SwarmWorld {
    fn workload(&self) -> WorkloadId {
        format!("{}@web-1", self.name).parse().unwrap()
    }

    fn backend(&self) -> Arc<dyn Backend> {
        let config = match self.cut.load(Ordering::SeqCst) {
            true => self.config().socket(self.fixture.dir().join("nowhere")),
            false => self.config(),
        };
        Arc::new(SwarmBackend::new(config).unwrap())
    }

    fn reference(&self, build: Build) -> String {
        let registry = self.fixture.registry();
        format!("{registry}/{}:{}", self.name, build.answer())
    }

    async fn serving(&self) -> Option<String> {
        for _ in 0..100 {
            if let Some(body) = self.get("/").await {
                return Some(body);
            }
            if self.running().await == 0
                && self
                    .fixture
                    .docker(&["service", "inspect", &self.name])
                    .is_err()
            {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    async fn running(&self) -> usize {
        let label = format!("label=com.docker.swarm.service.name={}", self.name);
        let all = self.fixture.must(&["ps", "-q", "--filter", &label]);
        all.lines().count()
    }

    async fn install_by_hand(&self, build: Build) {
        let port = format!("PORT={}", self.port);
        self.fixture.must(&[
            "service",
            "create",
            "-q",
            "--name",
            &self.name,
            "--network",
            "host",
            "--env",
            &port,
            "--label",
            "team=a",
            &self.reference(build),
        ]);
    }

    async fn tamper(&self) {
        let memory = ["--limit-memory", "64m"];
        let mut args = vec!["service", "update", "-q"];
        args.extend(memory);
        args.push(&self.name);
        self.fixture.must(&args);
    }

    async fn reconfigure(&self) -> bool {
        self.reconfigured.store(true, Ordering::SeqCst);
        true
    }

    async fn lose(&self, build: Build) {
        let digest = &self.digests[&build];
        let format = "{{.Id}}";
        let id = self
            .fixture
            .docker(&["image", "inspect", "-f", format, digest]);
        if let Ok(image) = id {
            let image = image.trim();
            // Swarm keeps the containers of tasks that have ended.
            let ancestor = format!("ancestor={image}");
            let ids = self.fixture.must(&["ps", "-aq", "--filter", &ancestor]);
            for id in ids.lines() {
                self.fixture.must(&["rm", "-f", id]);
            }
            self.fixture.must(&["rmi", "-f", image]);
            self.fixture.delete_configuration(digest, image);
        }
        self.fixture.delete_from_registry(digest);
    }

    async fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    async fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}
