//! A world of one git workload: a real repository and a real deploy root.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{Backend, End, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::history::Sequence;
use rollback_core::id::WorkloadId;
use rollback_git::{GitBackend, GitConfig};
use rollback_testkit::fixtures::git::GitFixture;
use rollback_testkit::world::{Build, World};

pub struct GitWorld {
    pub fixture: GitFixture,
    pub restart: Vec<String>,
}

impl GitWorld {
    pub fn new() -> Self {
        Self {
            fixture: GitFixture::new(true),
            restart: Vec::new(),
        }
    }

    /// One whose restart command adds a line to `restarts`.
    pub fn counting_restarts() -> Self {
        let mut world = Self::new();
        let log = world.fixture.dir().join("restarts").display().to_string();
        let script = "echo x >> \"$0\"".to_owned();
        world.restart = vec!["/bin/sh".into(), "-c".into(), script, log];
        world
    }

    pub fn restarts(&self) -> usize {
        std::fs::read_to_string(self.fixture.dir().join("restarts"))
            .map_or(0, |s| s.lines().count())
    }

    pub fn root(&self) -> PathBuf {
        self.fixture.dir().join("root")
    }

    pub fn git(&self) -> GitBackend {
        let config = GitConfig::new(self.workload(), self.fixture.path(), self.root())
            .restart_command(self.restart.clone());
        GitBackend::new(config).unwrap()
    }

    pub fn serves(&self) -> Option<String> {
        std::fs::read_to_string(self.root().join("current/version.txt")).ok()
    }

    pub async fn plan(&self, n: u64, from: End, build: Build) -> Operation {
        let release = self.git().resolve(&cx(), build.answer()).await.unwrap();
        Operation {
            reuse: rollback_core::backend::Reuse::Kept,
            deployment: format!("deploy-20260101-000000-{n:08x}").parse().unwrap(),
            sequence: Sequence(n),
            workload: self.workload(),
            from,
            to: End::Planned(release),
        }
    }

    pub async fn prepared(&self, n: u64, from: End, build: Build) -> Operation {
        let mut op = self.plan(n, from, build).await;
        op.to = End::Placed(self.git().prepare(&cx(), &op).await.unwrap().to);
        op
    }

    pub async fn deploy(&self, n: u64, from: End, build: Build) -> Instance {
        let op = self.prepared(n, from, build).await;
        self.git().switch(&cx(), &op).await.unwrap();
        self.git().retire(&cx(), &op).await.unwrap();
        op.to.instance().unwrap().clone()
    }
}

pub fn cx() -> Context {
    Context::new(Duration::from_secs(20))
}

#[async_trait]
impl World for GitWorld {
    fn workload(&self) -> WorkloadId {
        "site@web-1".parse().unwrap()
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.git())
    }

    fn reference(&self, build: Build) -> String {
        build.answer().into()
    }

    async fn serving(&self) -> Option<String> {
        self.serves()
    }

    async fn running(&self) -> usize {
        usize::from(self.root().join("current").is_dir())
    }

    async fn install_by_hand(&self, build: Build) {
        let dir = self
            .fixture
            .dir()
            .join(format!("by-hand-{}", build.answer()));
        let repo = git2::Repository::clone(&self.fixture.path().display().to_string(), &dir);
        let repo = repo.unwrap();
        let commit = self.fixture.commit(build).parse().unwrap();
        repo.set_head_detached(commit).unwrap();
        let mut force = git2::build::CheckoutBuilder::new();
        repo.checkout_head(Some(force.force())).unwrap();
        std::fs::create_dir_all(self.root()).unwrap();
        let _ = std::fs::remove_file(self.root().join("current"));
        symlink(dir, self.root().join("current")).unwrap();
    }

    async fn tamper(&self) {
        std::fs::write(self.root().join("current/app/conf/settings.ini"), "by hand").unwrap();
    }

    async fn lose(&self, build: Build) {
        self.fixture.lose(build);
        let dirs = [self.root().join("releases"), self.fixture.dir().into()];
        for entry in dirs
            .iter()
            .flat_map(|d| std::fs::read_dir(d).into_iter().flatten())
        {
            let dir = entry.unwrap().path();
            let made = std::fs::read_to_string(dir.join("app/version.txt"));
            if made.is_ok_and(|v| v == build.answer()) {
                std::fs::remove_dir_all(dir).unwrap();
            }
        }
    }

    async fn cut(&self) {
        std::fs::rename(self.fixture.path(), self.fixture.dir().join("away")).unwrap();
    }

    async fn mend(&self) {
        std::fs::rename(self.fixture.dir().join("away"), self.fixture.path()).unwrap();
    }
}
