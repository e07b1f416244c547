//! A project of compose's on a real dockerd with networks, and the compose that Debian has.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rollback_compose::{ComposeProject, ComposeService};
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::health::Gate;
use rollback_core::id::{Actor, WorkloadId};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::Outcome;
use rollback_docker::{DockerBackend, DockerConfig, PullPolicy};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::service::unavailable;

pub mod world;

/// A daemon with networks, or the reason why the test is skipped.
pub fn fixture() -> Option<DockerFixture> {
    let has_compose = Command::new("docker-compose")
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if has_compose.is_err() {
        unavailable("docker-compose is not installed");
        return None;
    }
    DockerFixture::with_networks()
        .map_err(|why| unavailable(&why))
        .ok()
}

/// Whether all cases and all points of the sweep are wanted: the README names the variable.
pub fn is_whole() -> bool {
    std::env::var_os("ROLLBACK_WHOLE").is_some()
}

pub fn me() -> Actor {
    Actor::user("me").unwrap()
}

/// The project `shop`, with the service `api`, and the images `api:v1` and `api:v2`.
pub struct Shop {
    pub fixture: Arc<DockerFixture>,
    pub dir: PathBuf,
    pub store: MemoryStore,
}

impl Shop {
    pub fn new() -> Option<Self> {
        let fixture = Arc::new(fixture()?);
        for version in ["v1", "v2"] {
            let line = format!("ENV VERSION={version}");
            fixture.build(&format!("api:{version}"), &[&line]);
        }
        let dir = fixture.dir().join("shop");
        std::fs::create_dir(&dir).unwrap();
        Some(Self {
            fixture,
            dir,
            store: MemoryStore::new(),
        })
    }

    pub fn id() -> WorkloadId {
        "api@web-1".parse().unwrap()
    }

    /// Writes the file anew.
    pub fn write(&self, text: &str) {
        std::fs::write(self.dir.join("docker-compose.yml"), text).unwrap();
    }

    /// The same with this image and these further lines of the service.
    pub fn write_api(&self, image: &str, lines: &[&str]) {
        let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
        self.write(&format!(
            "version: '3.8'\nservices:\n  api:\n    image: {image}\n{lines}"
        ));
    }

    /// Debian's compose, as a person would run it; what it says.
    pub fn compose(&self, args: &[&str]) -> String {
        let output = Command::new("docker-compose")
            .args(args)
            .current_dir(&self.dir)
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.fixture.socket().display()),
            )
            .env_remove("COMPOSE_PROJECT_NAME")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        said
    }

    pub fn project(&self) -> ComposeProject {
        ComposeProject::at(&self.dir)
            .socket(self.fixture.socket())
            .program(["docker-compose"])
    }

    pub async fn read(&self) -> ComposeService {
        self.project().read("api").await.unwrap()
    }

    pub fn config(&self, service: &ComposeService) -> DockerConfig {
        let config = service.config(Self::id(), self.fixture.dir().join("state"));
        config
            .unwrap()
            .pull(PullPolicy::Never)
            .soak(Duration::from_millis(300))
    }

    /// An engine with what the file says now.
    pub async fn engine(&self) -> RollbackEngine {
        self.engine_of(self.config(&self.read().await))
    }

    pub fn engine_of(&self, config: DockerConfig) -> RollbackEngine {
        let gate = Gate::default().interval(Duration::from_millis(50));
        RollbackEngine::builder(self.store.clone())
            .workload(Workload::new(DockerBackend::new(config).unwrap()).gate(gate))
            .build()
            .unwrap()
    }

    /// Deploys the image that the file names.
    pub async fn deploy(&self) {
        let service = self.read().await;
        let engine = self.engine_of(self.config(&service));
        let run = engine.deploy(&Self::id(), service.image(), me()).await;
        let report = run.unwrap().await.unwrap();
        assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
    }

    /// The containers that compose counts to the service: name, id, when it was started, its image.
    pub fn counted(&self) -> Vec<String> {
        let filter = "label=com.docker.compose.service=api";
        let ids = self.fixture.must(&["ps", "-aq", "--filter", filter]);
        let format = "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.State.Status}} {{.Image}}";
        let one = |id| self.fixture.must(&["inspect", "-f", format, id]);
        let all = ids.split_whitespace().map(one);
        all.map(|line| line.trim().to_owned()).collect()
    }

    /// What compose counts, after an `up` that has to change nothing.
    pub fn up_changes_nothing(&self) -> Vec<String> {
        let before = self.counted();
        let said = self.compose(&["up", "-d"]);
        assert!(said.contains("shop_api_1 is up-to-date"), "{said}");
        for other in ["Creating", "Recreating", "Starting", "Stopping", "Pulling"] {
            assert!(!said.contains(other), "{said}");
        }
        assert_eq!(self.counted(), before);
        let shown = self.compose(&["ps", "-q", "api"]);
        assert_eq!(shown.split_whitespace().count(), 1, "{shown}");
        assert_eq!(before.len(), 1, "{before:?}");
        before
    }

    /// Which version runs, by the environment of its image.
    pub fn version(&self) -> String {
        let format = "{{range .Config.Env}}{{println .}}{{end}}";
        let env = self.fixture.must(&["inspect", "-f", format, "shop_api_1"]);
        let line = env.lines().find_map(|line| line.strip_prefix("VERSION="));
        line.unwrap().to_owned()
    }
}
