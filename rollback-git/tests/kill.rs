//! The engine's process is killed at every event boundary; a new one recovers, on real
//! repositories and a real SQLite history.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::Workload;
use rollback_core::prelude::*;
use rollback_git::{GitBackend, GitConfig};
use rollback_sqlite::SqliteStore;
use rollback_testkit::kill::{Assemble, KillWorld, Parts, play_child, sweep};
use rollback_testkit::world::{Build, World};
use support::GitWorld;

struct Git(GitWorld);

impl KillWorld for Git {
    fn world(&self) -> &dyn World {
        &self.0
    }

    fn place(&self) -> String {
        self.0.fixture.dir().display().to_string()
    }
}

/// Healthy when the published version is not the broken one.
#[derive(Debug)]
struct NotBroken(PathBuf);

#[async_trait]
impl HealthCheck for NotBroken {
    fn name(&self) -> String {
        "version.txt".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        match std::fs::read_to_string(self.0.join("current/version.txt")) {
            Ok(version) if version != "broken" => Ok(Healthy::yes()),
            Ok(version) => Err(Unhealthy::new(version)),
            Err(e) => Err(Unhealthy::new(e.to_string())),
        }
    }
}

struct Parted;

#[async_trait]
impl Assemble for Parted {
    async fn assemble(&self, place: &str) -> Parts {
        let dir = Path::new(place);
        let root = dir.join("root");
        let config = GitConfig::new(self.workload(), dir.join("repo"), &root);
        let gate = Gate::default()
            .retries(2)
            .interval(Duration::from_millis(5))
            .start_period(Duration::ZERO);
        Parts {
            store: Arc::new(SqliteStore::open(dir.join("history.db")).await.unwrap()),
            workload: Workload::new(GitBackend::new(config).unwrap())
                .check(NotBroken(root))
                .gate(gate)
                .auto_rollback(),
        }
    }

    fn workload(&self) -> WorkloadId {
        "site@web-1".parse().unwrap()
    }

    fn reference(&self, _: &str, build: Build) -> String {
        build.answer().into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    play_child(&Parted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_event_boundary_recovery_leaves_one_release_live_and_loses_nothing() {
    let points = sweep(&Git(GitWorld::new()), &Parted, "child").await;
    // Deploy and rollback write 9 times, an automatic rollback 15 times; twice for both sides.
    assert!(
        points >= 2 * (9 + 9 + 15),
        "only {points} points were killed at"
    );
}
