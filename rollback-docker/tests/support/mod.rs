//! A world of one docker workload: a real dockerd and a real registry, shared by the worlds of
//! one test.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{Backend, End, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::history::Sequence;
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_core::time::{Clock, SystemClock};
use rollback_docker::{DockerBackend, DockerConfig, NetworkAttachment, Successor};
pub use rollback_testkit::fixtures::docker::free_port;
use rollback_testkit::fixtures::docker::{DockerFixture, Resolver};
use rollback_testkit::service::unavailable;
use rollback_testkit::world::{Build, World};

pub const TOKEN: &str = "a-token-that-nobody-may-see";

pub mod answers;
pub mod apart;
pub mod census;
pub mod cutting;
pub mod guarded;
pub mod overhear;
#[cfg(feature = "tls")]
pub mod pki;
pub mod sshd;
pub mod swarm;

static WORLDS: AtomicU64 = AtomicU64::new(1);
static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// The daemon and the registry in a network of their own, or the reason why the test is skipped.
pub fn fixture() -> Option<DockerFixture> {
    let started = DockerFixture::with_networks();
    started.map_err(|why| unavailable(&why)).ok()
}

/// A registry that answers everything with this status, until the test ends; its address.
pub fn registry_that_says(fixture: &DockerFixture, status: &'static str) -> String {
    let listener = fixture.listen().unwrap();
    let at = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 2048]);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    at
}

/// How a world's containers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// At the daemon's own loopback device, which costs a start the least.
    Host,
    /// By ports of two addresses, in a network with a fixed address of each kind and an alias.
    Bridge,
    /// By its name and an alias in a network, where a successor runs beside it.
    Beside,
}

pub struct DockerWorld {
    pub fixture: Arc<DockerFixture>,
    pub name: String,
    pub port: u16,
    pub reach: Reach,
    state: PathBuf,
    cut: AtomicBool,
    digests: HashMap<Build, String>,
    resolver: Arc<OnceLock<Resolver>>,
}

impl DockerWorld {
    pub fn new(fixture: &Arc<DockerFixture>) -> Self {
        Self::reached(fixture, Reach::Host)
    }

    /// One whose container has networks, addresses and ports.
    pub fn bridged(fixture: &Arc<DockerFixture>) -> Self {
        Self::reached(fixture, Reach::Bridge)
    }

    /// One in which a successor runs beside what is live.
    pub fn beside(fixture: &Arc<DockerFixture>) -> Self {
        Self::reached(fixture, Reach::Beside)
    }

    fn reached(fixture: &Arc<DockerFixture>, reach: Reach) -> Self {
        Self::nth(WORLDS.fetch_add(1, Ordering::SeqCst), fixture, reach)
    }

    /// One of this number: the same each time, for another process to know it.
    pub fn nth(nth: u64, fixture: &Arc<DockerFixture>, reach: Reach) -> Self {
        let name = format!("w{nth}");
        if reach != Reach::Host {
            let nets = ["network", "create", "--ipv6"];
            let (v4, v6) = (format!("10.99.{nth}.0/24"), format!("fd00:d0c:{nth}::/64"));
            let subnets = ["--subnet", &v4, "--subnet", &v6, &network_of(&name)];
            fixture.must(&[&nets[..], &subnets].concat());
        }
        if reach == Reach::Beside {
            let (probe, network) = (probe_of(&name), network_of(&name));
            // For what nobody is called it asks the fixture, which answers at once.
            let run = ["run", "-d", "--dns", "127.0.0.2", "--network", &network];
            let run = [&run[..], &["--name", &probe]].concat();
            fixture.must(&[&run[..], &["rollback-test/base"]].concat());
        }
        let mut world = Self {
            fixture: Arc::clone(fixture),
            reach,
            port: free_port(),
            state: fixture.dir().join("state").join(&name),
            cut: AtomicBool::new(false),
            digests: HashMap::new(),
            resolver: Arc::default(),
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

    /// `repository@digest`.
    pub fn digest(&self, build: Build) -> &str {
        &self.digests[&build]
    }

    pub fn config(&self) -> DockerConfig {
        let config = DockerConfig::new(self.workload(), &self.name, &self.state);
        reachable(config, self.reach, &self.name, self.port)
            .socket(self.fixture.socket())
            .env("TOKEN", TOKEN)
            .soak(Duration::from_millis(600))
    }

    pub fn docker(&self) -> DockerBackend {
        DockerBackend::new(self.config()).unwrap()
    }

    pub async fn plan(&self, backend: &DockerBackend, from: End, reference: &str) -> Operation {
        let release = backend.resolve(&cx(), reference).await.unwrap();
        self.operation(from, End::Planned(release))
    }

    pub fn operation(&self, from: End, to: End) -> Operation {
        operation(&self.name, from, to)
    }

    /// Runs an operation from beginning to end.
    pub async fn run(&self, backend: &DockerBackend, mut op: Operation) -> Operation {
        op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
        backend.switch(&cx(), &op).await.unwrap();
        backend.retire(&cx(), &op).await.unwrap();
        op
    }

    /// Deploys a build from what is live.
    pub async fn deploy(&self, build: Build) -> Instance {
        self.deploy_with(&self.docker(), build).await
    }

    pub async fn deploy_with(&self, backend: &DockerBackend, build: Build) -> Instance {
        let from = self.live().await.map_or(End::Nothing, End::Placed);
        let op = self.plan(backend, from, &self.reference(build)).await;
        self.run(backend, op).await.to.instance().unwrap().clone()
    }

    pub async fn live(&self) -> Option<Instance> {
        let seen = self.docker().observe(&cx()).await.unwrap();
        seen.live_instance().cloned()
    }

    /// One container's property, as a Go template.
    pub fn inspect(&self, container: &str, format: &str) -> String {
        let out = self.fixture.must(&["inspect", "-f", format, container]);
        out.trim().to_owned()
    }

    /// This world's containers: id and name.
    pub fn containers(&self) -> Vec<(String, String)> {
        self.list(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}"])
    }

    fn list(&self, args: &[&str]) -> Vec<(String, String)> {
        let prefix = format!("{}-", self.name);
        self.fixture
            .must(args)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, name)| *name == self.name || name.starts_with(&prefix))
            .map(|(id, name)| (id.to_owned(), name.to_owned()))
            .collect()
    }

    /// The secret that the service was given, by its own account.
    pub async fn token(&self) -> String {
        self.serving().await.expect("it serves");
        // On a busy machine one connection may time out; what counts is what it says.
        for _ in 0..40 {
            if let Some(token) = self.get("/token").await {
                return token;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not answer")
    }

    /// What is found under the names by which a successor gets its traffic: of each that answers.
    async fn by_name(&self, path: &'static str) -> Option<String> {
        let (fixture, name) = (Arc::clone(&self.fixture), self.name.clone());
        let resolver = Arc::clone(&self.resolver);
        let asked = tokio::task::spawn_blocking(move || {
            let resolver = resolver.get_or_init(|| fixture.resolver_of(&probe_of(&name)));
            let find = |called: &str| resolver.addresses_of(called);
            let all = [find("service"), find(&name)].concat();
            let all = BTreeSet::from_iter(all).into_iter();
            let answers = all.map(|ip| fixture.http(&format!("{ip}:8080"), "GET", path));
            Vec::from_iter(answers)
        });
        let all: Option<Vec<String>> = asked.await.unwrap().into_iter().collect();
        let all = all?.into_iter();
        let bodies = all.filter_map(|a| Some(a.split_once("\r\n\r\n")?.1.to_owned()));
        let bodies = Vec::from_iter(BTreeSet::from_iter(bodies)).join("+");
        (!bodies.is_empty()).then_some(bodies)
    }

    /// GET of a path; the body.
    pub async fn get(&self, path: &'static str) -> Option<String> {
        if self.reach == Reach::Beside {
            return self.by_name(path).await;
        }
        let at = format!("127.0.0.1:{}", self.port);
        let fixture = Arc::clone(&self.fixture);
        let answer = tokio::task::spawn_blocking(move || fixture.http(&at, "GET", path));
        let answer = answer.await.unwrap()?;
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
    }
}

impl Drop for DockerWorld {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // The fixture removes everything; a second panic would abort.
        }
        for (id, _) in self.containers() {
            let _ = self.fixture.docker(&["rm", "-f", &id]);
        }
        if self.reach == Reach::Beside {
            let _ = self.fixture.docker(&["rm", "-f", &probe_of(&self.name)]);
        }
        if self.reach != Reach::Host {
            let network = network_of(&self.name);
            let _ = self.fixture.docker(&["network", "rm", &network]);
        }
    }
}

fn network_of(world: &str) -> String {
    format!("net-{world}")
}

fn probe_of(world: &str) -> String {
    format!("probe-of-{world}")
}

/// The addresses that a world's container has in its network.
fn addresses_of(world: &str) -> (Ipv4Addr, Ipv6Addr) {
    let nth: u8 = world.trim_start_matches('w').parse().unwrap();
    let v6 = format!("fd00:d0c:{nth}::9").parse().unwrap();
    (Ipv4Addr::new(10, 99, nth, 9), v6)
}

/// What a world is configured with for its container to be reached, wherever its process is.
pub fn reachable(config: DockerConfig, reach: Reach, world: &str, port: u16) -> DockerConfig {
    let attachment = NetworkAttachment::to(network_of(world)).alias("service");
    let (v4, v6) = match reach {
        Reach::Host => return config.network("host").env("PORT", port.to_string()),
        Reach::Bridge => addresses_of(world),
        Reach::Beside => {
            return config
                .join(&attachment)
                .env("ADDRESS", "0.0.0.0")
                .successor(Successor::Beside);
        }
    };
    config
        .join(&attachment.ipv4(v4).ipv6(v6))
        .publish(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), 8080)
        .publish(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), 8080)
        .env("ADDRESS", "0.0.0.0")
}

/// An operation of a deployment of its own.
pub fn operation(service: &str, from: End, to: End) -> Operation {
    Operation::new(
        format!("{service}@web-1").parse().unwrap(),
        DeploymentId::generate(SystemClock.now()),
        Sequence(SEQUENCE.fetch_add(1, Ordering::SeqCst)),
        from,
        to,
    )
}

pub fn cx() -> Context {
    Context::new(Duration::from_secs(60))
}

#[async_trait]
impl World for DockerWorld {
    fn workload(&self) -> WorkloadId {
        format!("{}@web-1", self.name).parse().unwrap()
    }

    fn backend(&self) -> Arc<dyn Backend> {
        let config = match self.cut.load(Ordering::SeqCst) {
            true => self.config().socket(self.fixture.dir().join("nowhere")),
            false => self.config(),
        };
        Arc::new(DockerBackend::new(config).unwrap())
    }

    fn reference(&self, build: Build) -> String {
        let registry = self.fixture.registry();
        format!("{registry}/{}:{}", self.name, build.answer())
    }

    async fn serving(&self) -> Option<String> {
        for _ in 0..60 {
            if let Some(body) = self.get("/").await {
                return Some(body);
            }
            if self.running().await == 0 {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    async fn running(&self) -> usize {
        self.list(&["ps", "--format", "{{.ID}} {{.Names}}"]).len()
    }

    async fn install_by_hand(&self, build: Build) {
        let (port, network) = (self.port, network_of(&self.name));
        let reached = match self.reach {
            Reach::Host => format!("--network host -e PORT={port}"),
            Reach::Beside => {
                format!("--network {network} --network-alias service -e ADDRESS=0.0.0.0")
            }
            Reach::Bridge => {
                let (v4, v6) = addresses_of(&self.name);
                format!(
                    "--network {network} --network-alias service --ip {v4} --ip6 {v6} \
                     -p 127.0.0.1:{port}:8080 -p [::1]:{port}:8080 -e ADDRESS=0.0.0.0"
                )
            }
        };
        let run = ["run", "-d", "--name", &self.name];
        let reached: Vec<&str> = reached.split_whitespace().collect();
        let restart = ["--restart", "unless-stopped", &self.reference(build)];
        self.fixture.must(&[&run[..], &reached, &restart].concat());
    }

    async fn tamper(&self) {
        let memory = ["--memory", "64m", "--memory-swap", "64m"];
        let mut args = vec!["update"];
        args.extend(memory);
        args.push(&self.name);
        self.fixture.must(&args);
    }

    async fn lose(&self, build: Build) {
        let digest = self.digest(build);
        let id = self
            .fixture
            .docker(&["image", "inspect", "-f", "{{.Id}}", digest]);
        if let Ok(image) = id {
            for (id, _) in self.containers() {
                if self.inspect(&id, "{{.Image}}") == image.trim() {
                    self.fixture.must(&["rm", "-f", &id]);
                }
            }
            self.fixture.must(&["rmi", "-f", image.trim()]);
            self.fixture.delete_configuration(digest, image.trim());
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
