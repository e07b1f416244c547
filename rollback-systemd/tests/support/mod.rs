//! A world of one unit in a real systemd. Many worlds share one booted systemd.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{Backend, Operation};
use rollback_core::health::Verdict;
use rollback_core::id::WorkloadId;
use rollback_systemd::{SystemdBackend, SystemdConfig};
use rollback_testkit::backend_suite::{Driver, WorldBuilder};
use rollback_testkit::fixtures::systemd::SystemdFixture;
use rollback_testkit::fixtures::{probe, server};
use rollback_testkit::world::{Build, World};

const SERVER: &str = "opt/rollback/server";

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// Boots systemd with the server in it; `None`, having said so, where it cannot be had.
pub fn boot() -> Option<Arc<SystemdFixture>> {
    let booted = SystemdFixture::boot().and_then(|fixture| {
        let to = fixture.root().join(SERVER);
        std::fs::create_dir_all(to.parent().unwrap()).map_err(|e| e.to_string())?;
        std::fs::copy(server::server()?, to).map_err(|e| e.to_string())?;
        Ok(fixture)
    });
    match booted {
        Ok(fixture) => Some(Arc::new(fixture)),
        Err(why) => {
            rollback_testkit::service::unavailable(&why);
            None
        }
    }
}

pub struct Worlds(pub Arc<SystemdFixture>);

#[async_trait]
impl WorldBuilder for Worlds {
    async fn build(&self) -> Box<dyn World> {
        Box::new(SystemdWorld::new(Arc::clone(&self.0)))
    }
}

pub struct SystemdWorld {
    pub fixture: Arc<SystemdFixture>,
    dir: tempfile::TempDir,
    pub unit: String,
    pub port: u16,
    cut: AtomicBool,
    /// Whether backends are told to enable the unit.
    pub enable: AtomicBool,
}

pub fn config(unit: &str, dir: &Path, root: &Path, bus: &str) -> SystemdConfig {
    SystemdConfig::new(
        workload(),
        unit.parse().unwrap(),
        dir.join("sources"),
        dir.join("state"),
    )
    .root(root)
    .bus(bus)
    .soak(Duration::from_millis(300))
}

pub fn workload() -> WorkloadId {
    "svc@container".parse().unwrap()
}

pub fn reference(build: Build) -> String {
    format!("{}.service", build.answer())
}

/// Calls the manager, and must succeed.
pub fn call(fixture: &SystemdFixture, args: &[&str]) {
    let output = try_call(fixture, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
}

fn try_call(fixture: &SystemdFixture, args: &[&str]) -> Output {
    Command::new("busctl")
        .arg(format!("--address={}", fixture.bus()))
        .args([
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
        ])
        .args(args)
        .output()
        .unwrap()
}

/// SHA-256 in hex, as anybody would guess with it.
pub fn sha256(content: &[u8]) -> String {
    use sha2::Digest;
    base16ct::lower::encode_string(&sha2::Sha256::digest(content))
}

/// The platform's judgement of `op.to`, waited for.
pub async fn judged(d: &Driver, op: &Operation) -> Verdict {
    d.health(op).await.verdict()
}

impl SystemdWorld {
    pub fn new(fixture: Arc<SystemdFixture>) -> Self {
        let unit = format!("svc-{}.service", NEXT.fetch_add(1, Ordering::SeqCst));
        Self::named(fixture, unit)
    }

    pub fn called(fixture: Arc<SystemdFixture>, unit: &str) -> Self {
        Self::named(fixture, unit.to_owned())
    }

    /// One whose unit is an instance of the template `tpl@.service`.
    pub fn of_template(fixture: Arc<SystemdFixture>) -> Self {
        let unit = format!("tpl@{}.service", NEXT.fetch_add(1, Ordering::SeqCst));
        Self::named(fixture, unit)
    }

    fn named(fixture: Arc<SystemdFixture>, unit: String) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rollback-unit-")
            .tempdir()
            .unwrap();
        let sources = dir.path().join("sources");
        std::fs::create_dir(&sources).unwrap();
        let world = Self {
            fixture,
            dir,
            unit,
            port: probe::free_port(),
            cut: AtomicBool::new(false),
            enable: AtomicBool::new(false),
        };
        for build in [Build::V1, Build::V2, Build::V3, Build::Broken] {
            std::fs::write(sources.join(reference(build)), world.content(build)).unwrap();
        }
        world
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn content(&self, build: Build) -> String {
        let mode = if build == Build::Broken { "exit" } else { "" };
        // The argument only tells this service's processes from another's.
        format!(
            "[Unit]\nDescription=a service under test\n\n[Service]\nEnvironment=TOKEN=s3cret\n\
             Environment=PORT={port}\nEnvironment=VERSION={}\nEnvironment=MODE={mode}\n\
             ExecStart=/{SERVER} {port}\n",
            build.answer(),
            port = self.port,
        )
    }

    pub fn fragment(&self) -> PathBuf {
        self.fixture
            .root()
            .join("etc/systemd/system")
            .join(&self.unit)
    }

    pub fn systemd(&self) -> SystemdBackend {
        let bus = if self.cut.load(Ordering::SeqCst) {
            "unix:path=/nonexistent/bus".to_owned()
        } else {
            self.fixture.bus()
        };
        let config = config(&self.unit, self.dir(), &self.fixture.root(), &bus);
        SystemdBackend::new(config.enable(self.enable.load(Ordering::SeqCst))).unwrap()
    }

    pub fn call(&self, args: &[&str]) {
        call(&self.fixture, args);
    }

    /// A call that may end the bus under itself.
    pub fn try_call(&self, args: &[&str]) -> Output {
        try_call(&self.fixture, args)
    }
}

impl Drop for SystemdWorld {
    fn drop(&mut self) {
        // The container goes with its fixture; until then other worlds need quiet.
        let _ = self.try_call(&["StopUnit", "ss", &self.unit, "replace"]);
    }
}

#[async_trait]
impl World for SystemdWorld {
    fn workload(&self) -> WorkloadId {
        workload()
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.systemd())
    }

    fn reference(&self, build: Build) -> String {
        reference(build)
    }

    async fn serving(&self) -> Option<String> {
        probe::answer(self.port).await
    }

    async fn running(&self) -> usize {
        let argument = format!("\0{}\0", self.port);
        let serves = |process: &Path| {
            let cmdline = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
            cmdline.starts_with(&format!("/{SERVER}\0")) && cmdline.contains(&argument)
        };
        // What the manager has forked and called started, and has not become the server yet.
        let is_starting = |process: &Path| {
            let cgroup = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            let exe = std::fs::read_link(process.join("exe")).unwrap_or_default();
            let unit = format!("/{}", self.unit);
            cgroup.lines().any(|line| line.ends_with(&unit)) && exe.ends_with("systemd")
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|process| process.join("cmdline").exists())
            .filter(|process| serves(process) || is_starting(process))
            .count()
    }

    async fn install_by_hand(&self, build: Build) {
        std::fs::write(self.fragment(), self.content(build)).unwrap();
        self.call(&["Reload"]);
        self.call(&["RestartUnit", "ss", &self.unit, "replace"]);
        assert_eq!(self.serving().await.as_deref(), Some(build.answer()));
    }

    async fn tamper(&self) {
        let content = std::fs::read_to_string(self.fragment()).unwrap();
        std::fs::write(self.fragment(), content + "# by hand\n").unwrap();
    }

    async fn lose(&self, build: Build) {
        std::fs::remove_file(self.dir().join("sources").join(reference(build))).unwrap();
        let content = self.content(build);
        for entry in std::fs::read_dir(self.dir().join("state/content"))
            .unwrap()
            .flatten()
        {
            if std::fs::read_to_string(entry.path()).is_ok_and(|c| c == content) {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    async fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    async fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}
