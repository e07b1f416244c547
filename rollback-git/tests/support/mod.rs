//! A world of one git workload: a real repository and a real deploy root.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod disk;
pub mod other;
pub mod tidy;

use std::ops::{Deref, DerefMut};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
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

/// The repository `repo` and the deploy root `root` in one directory; another process finds both
/// there.
pub struct Site {
    pub dir: PathBuf,
    pub restart: Vec<String>,
    pub workload: WorkloadId,
}

/// A [`Site`] with a repository of its own, gone from the disk when dropped.
pub struct GitWorld {
    pub fixture: GitFixture,
    site: Site,
}

impl Deref for GitWorld {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for GitWorld {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl GitWorld {
    pub fn new() -> Self {
        let fixture = GitFixture::new(true);
        let site = Site::at(fixture.dir());
        Self { fixture, site }
    }

    /// One whose restart command adds a line to `restarts`.
    pub fn counting_restarts() -> Self {
        let mut world = Self::new();
        world.count_restarts();
        world
    }
}

impl Site {
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            restart: Vec::new(),
            workload: "site@web-1".parse().unwrap(),
        }
    }

    pub fn count_restarts(&mut self) {
        let log = self.dir.join("restarts").display().to_string();
        self.restart = sh("echo x >> \"$0\"");
        self.restart.push(log);
    }

    pub fn restarts(&self) -> usize {
        std::fs::read_to_string(self.dir.join("restarts")).map_or(0, |s| s.lines().count())
    }

    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub fn config(&self) -> GitConfig {
        GitConfig::new(self.workload.clone(), self.dir.join("repo"), self.root())
            .restart_command(self.restart.clone())
    }

    pub fn git(&self) -> GitBackend {
        GitBackend::new(self.config()).unwrap()
    }

    pub fn serves(&self) -> Option<String> {
        std::fs::read_to_string(self.root().join("current/version.txt")).ok()
    }

    pub async fn plan(&self, n: u64, from: End, build: Build) -> Operation {
        let release = self.git().resolve(&cx(), build.answer()).await.unwrap();
        self.operation(n, from, End::Planned(release))
    }

    pub fn operation(&self, n: u64, from: End, to: End) -> Operation {
        Operation::new(
            self.workload.clone(),
            format!("deploy-20260101-000000-{n:08x}").parse().unwrap(),
            Sequence(n),
            from,
            to,
        )
    }

    pub async fn prepared(&self, n: u64, from: End, build: Build) -> Operation {
        let mut op = self.plan(n, from, build).await;
        op.to = End::Placed(self.git().prepare(&cx(), &op).await.unwrap().to);
        op
    }

    pub async fn prepared_to(&self, n: u64, from: End, to: End) -> Operation {
        let mut op = self.operation(n, from, to);
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

/// A command that is a script.
pub fn sh(script: &str) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), script.into()]
}

#[async_trait]
impl World for GitWorld {
    fn workload(&self) -> WorkloadId {
        self.workload.clone()
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
