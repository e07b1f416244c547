//! The engine's process is killed at every event boundary, and at every request that changes what
//! the manager has loaded or runs; a new one recovers, in a real systemd and with a real SQLite
//! history.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;
#[path = "support/watched.rs"]
mod watched;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::Workload;
use rollback_core::prelude::*;
use rollback_sqlite::SqliteStore;
use rollback_systemd::SystemdBackend;
use rollback_testkit::kill::{self, Assemble, By, KillWorld, Parts, play_child, sweep};
use rollback_testkit::world::{Build, World};
use support::SystemdWorld;

struct Systemd(SystemdWorld);

impl KillWorld for Systemd {
    fn world(&self) -> &dyn World {
        &self.0
    }

    fn place(&self) -> String {
        let (dir, root) = (self.0.dir().display(), self.0.fixture.root());
        format!(
            "{}\n{dir}\n{}\n{}",
            self.0.unit,
            root.display(),
            self.0.fixture.bus()
        )
    }
}

/// Who ends the child.
struct Parted(By);

#[async_trait]
impl Assemble for Parted {
    async fn assemble(&self, place: &str) -> Parts {
        let parts: Vec<&str> = place.lines().collect();
        let [unit, dir, root, bus] = parts[..] else {
            panic!("four lines: {place}")
        };
        let dir = Path::new(dir);
        let bus = match (self.0, kill::point()) {
            (By::Parts, Some(point)) => watched::bus(dir, bus, point),
            // Who recovers finds the manager at the place that is on record.
            (By::Parts, None) => watched::same_address(dir, bus),
            _ => bus.to_owned(),
        };
        let config = support::config(unit, dir, Path::new(root), &bus);
        let gate = Gate::default().interval(Duration::from_millis(50));
        Parts {
            store: Arc::new(SqliteStore::open(dir.join("history.db")).await.unwrap()),
            workload: Workload::new(SystemdBackend::new(config).unwrap())
                .gate(gate)
                .auto_rollback(),
        }
    }

    fn workload(&self) -> WorkloadId {
        support::workload()
    }

    fn reference(&self, _: &str, build: Build) -> String {
        support::reference(build)
    }

    fn killer(&self) -> By {
        self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    play_child(&Parted(By::Store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn child_on_a_watched_bus() {
    play_child(&Parted(By::Parts)).await;
}

/// How many points there were to be killed at; `None` where there is no systemd.
async fn swept(by: By, child: &str) -> Option<usize> {
    let world = Systemd(SystemdWorld::new(support::boot()?));
    Some(sweep(&world, &Parted(by), child).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_event_boundary_recovery_leaves_one_release_live_and_loses_nothing() {
    if let Some(points) = swept(By::Store, "child").await {
        assert!(points >= 2 * (9 + 9 + 15), "only {points} points");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_request_to_the_manager_recovery_leaves_one_release_live() {
    if let Some(points) = swept(By::Parts, "child_on_a_watched_bus").await {
        assert!(points >= 2 * (2 + 4 + 2), "only {points} points");
    }
}
