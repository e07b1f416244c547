//! A world of one service of a compose project: a real dockerd, registry and compose, shared by the
//! worlds of one test.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_compose::{ComposeProject, ComposeService};
use rollback_core::backend::Backend;
use rollback_core::id::WorkloadId;
use rollback_docker::{DockerBackend, DockerConfig};
use rollback_testkit::fixtures::docker::{DockerFixture, free_port};
use rollback_testkit::world::{Build, World};

const TOKEN: &str = "a-token-that-nobody-may-see";

static WORLDS: AtomicU64 = AtomicU64::new(1);

/// When a world is asked what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// In the middle of a deployment, too, where two containers have compose's labels.
    AnyTime,
    /// When nothing is under way, and compose is to count one.
    AtRest,
}

pub struct ComposeWorld {
    pub fixture: Arc<DockerFixture>,
    /// The project's.
    pub name: String,
    pub port: u16,
    asked: Asked,
    service: ComposeService,
    cut: AtomicBool,
    digests: HashMap<Build, String>,
}

impl ComposeWorld {
    pub async fn new(fixture: &Arc<DockerFixture>) -> Self {
        let nth = WORLDS.fetch_add(1, Ordering::SeqCst);
        Self::nth(nth, fixture, Asked::AnyTime).await
    }

    /// One of this number: the same each time, for another process to know it.
    pub async fn nth(nth: u64, fixture: &Arc<DockerFixture>, asked: Asked) -> Self {
        let (name, port) = (format!("c{nth}"), free_port());
        let dir = fixture.dir().join(&name);
        std::fs::create_dir(&dir).unwrap();
        let mut digests = HashMap::new();
        for build in [Build::V1, Build::V2, Build::V3, Build::Broken] {
            let version = format!("ENV VERSION={}", build.answer());
            let label = format!("LABEL world={name}");
            let mode = match build {
                Build::Broken => "ENV MODE=exit",
                _ => "ENV MODE=",
            };
            let lines = [version.as_str(), mode, label.as_str()];
            let reference = reference(fixture.registry(), &name, build);
            digests.insert(build, fixture.publish(&reference, &lines));
        }
        let image = reference(fixture.registry(), &name, Build::V1);
        std::fs::write(dir.join("docker-compose.yml"), file(&image, port)).unwrap();
        let service = read(dir, fixture.socket()).await;
        Self {
            fixture: Arc::clone(fixture),
            name,
            port,
            asked,
            service,
            cut: AtomicBool::new(false),
            digests,
        }
    }

    fn dir(&self) -> PathBuf {
        self.fixture.dir().join(&self.name)
    }

    fn config(&self) -> DockerConfig {
        configured(&self.service, &self.name, self.fixture.dir().join("state"))
    }

    /// The live container's name.
    pub fn live(&self) -> String {
        format!("{}_api_1", self.name)
    }

    fn list(&self, args: &[&str]) -> Vec<String> {
        let format = ["--no-trunc", "--format", "{{.ID}} {{.Names}}"];
        let listed = self.fixture.must(&[&["ps"], args, &format].concat());
        let own = format!("{}_", self.name);
        let all = listed.lines().filter_map(|line| line.split_once(' '));
        let own = all.filter(|(_, name)| name.contains(&own));
        own.map(|(id, _)| id.to_owned()).collect()
    }

    async fn get(&self) -> Option<String> {
        let at = format!("127.0.0.1:{}", self.port);
        let fixture = Arc::clone(&self.fixture);
        let answer = tokio::task::spawn_blocking(move || fixture.http(&at, "GET", "/"));
        let answer = answer.await.unwrap()?;
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
    }
}

pub fn reference(registry: &str, world: &str, build: Build) -> String {
    format!("{registry}/{world}:{}", build.answer())
}

fn file(image: &str, port: u16) -> String {
    format!(
        "version: '3.8'\nservices:\n  api:\n    image: {image}\n    \
         environment: {{TOKEN: {TOKEN}, ADDRESS: '0.0.0.0'}}\n    \
         ports: ['127.0.0.1:{port}:8080']\n    volumes: ['data:/data']\n    \
         restart: unless-stopped\nvolumes: {{data: {{}}}}\n"
    )
}

pub async fn read(dir: PathBuf, socket: PathBuf) -> ComposeService {
    let project = ComposeProject::at(dir).program(["docker-compose"]);
    project.socket(socket).read("api").await.unwrap()
}

pub fn configured(service: &ComposeService, world: &str, state: PathBuf) -> DockerConfig {
    let workload = format!("{world}@web-1").parse().unwrap();
    let config = service.config(workload, state.join(world)).unwrap();
    config.soak(Duration::from_millis(600))
}

impl Drop for ComposeWorld {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // The fixture removes everything; a second panic would abort.
        }
        for id in self.list(&["-a"]) {
            let _ = self.fixture.docker(&["rm", "-f", &id]);
        }
        let network = format!("{}_default", self.name);
        let _ = self.fixture.docker(&["network", "rm", &network]);
    }
}

#[async_trait]
impl World for ComposeWorld {
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
        reference(self.fixture.registry(), &self.name, build)
    }

    async fn serving(&self) -> Option<String> {
        for _ in 0..60 {
            if let Some(body) = self.get().await {
                return Some(body);
            }
            if self.list(&[]).is_empty() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// Of one that is asked at rest, those that compose counts too, if they are more.
    async fn running(&self) -> usize {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let counted = match self.asked {
            Asked::AnyTime => 0,
            Asked::AtRest => self.list(&["-a", "--filter", &project]).len(),
        };
        self.list(&[]).len().max(counted)
    }

    async fn install_by_hand(&self, build: Build) {
        let path = self.dir().join("docker-compose.yml");
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, file(&self.reference(build), self.port)).unwrap();
        let mut up = std::process::Command::new("docker-compose");
        let socket = format!("unix://{}", self.fixture.socket().display());
        up.args(["up", "-d"]).current_dir(self.dir());
        let output = up.env("DOCKER_HOST", socket).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        std::fs::write(path, before).unwrap();
    }

    async fn tamper(&self) {
        let update = ["update", "--memory", "64m", "--memory-swap", "64m"];
        self.fixture.must(&[&update[..], &[&self.live()]].concat());
    }

    async fn lose(&self, build: Build) {
        let digest = &self.digests[&build];
        let id = self
            .fixture
            .docker(&["image", "inspect", "-f", "{{.Id}}", digest]);
        if let Ok(image) = id {
            for id in self.list(&["-a"]) {
                let format = ["inspect", "-f", "{{.Image}}", &id];
                if self.fixture.must(&format).trim() == image.trim() {
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
