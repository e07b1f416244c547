//! The engine's process is killed at every event boundary; a new one recovers, on a real dockerd
//! and with a real SQLite history.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::Workload;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig};
use rollback_sqlite::SqliteStore;
use rollback_testkit::kill::{Assemble, KillWorld, Parts, Scenario, play_child, sweep_every};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, Reach};

struct Docker(DockerWorld);

impl Docker {
    fn history(&self) -> PathBuf {
        self.0.fixture.dir().join("history.db")
    }
}

impl KillWorld for Docker {
    fn world(&self) -> &dyn World {
        &self.0
    }

    fn place(&self) -> String {
        let fixture = &self.0.fixture;
        let state = fixture.dir().join("state").join(&self.0.name);
        [
            fixture.socket().display().to_string(),
            fixture.registry().to_string(),
            self.0.port.to_string(),
            state.display().to_string(),
            self.history().display().to_string(),
            match self.0.reach {
                Reach::Beside => BESIDE.to_owned(),
                _ => String::from("replaced"),
            },
        ]
        .join("\n")
    }
}

/// The name of world number 1.
const NAME: &str = "w1";

/// How a place says that its successors run beside what is live.
const BESIDE: &str = "beside";

/// Each so many events, before some and after others; `ROLLBACK_SWEEP_ALL=1` takes all, which takes ten minutes.
const STEP: usize = 3;

struct Parted;

#[async_trait]
impl Assemble for Parted {
    async fn assemble(&self, place: &str) -> Parts {
        let lines: Vec<&str> = place.lines().collect();
        let [socket, _, port, state, history, how] = lines[..] else {
            panic!("six lines: {place}")
        };
        let reach = match how == BESIDE {
            true => Reach::Beside,
            false => Reach::Bridge,
        };
        let config = DockerConfig::new(self.workload(), NAME, Path::new(state));
        let config = support::reachable(config, reach, NAME, port.parse().unwrap())
            .socket(socket)
            .env("TOKEN", support::TOKEN)
            .soak(Duration::from_millis(300));
        let gate = Gate::default().interval(Duration::from_millis(50));
        Parts {
            store: Arc::new(SqliteStore::open(history).await.unwrap()),
            workload: Workload::new(DockerBackend::new(config).unwrap())
                .gate(gate)
                .auto_rollback(),
        }
    }

    fn workload(&self) -> WorkloadId {
        format!("{NAME}@web-1").parse().unwrap()
    }

    fn reference(&self, place: &str, build: Build) -> String {
        let registry = place.lines().nth(1).unwrap();
        format!("{registry}/{NAME}:{}", build.answer())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    play_child(&Parted).await;
}

/// Kills at each point of a scenario, on a daemon of its own: these run side by side.
async fn killed_at_every_event_boundary(reach: Reach, scenario: Scenario, least: usize) {
    let Some(fixture) = support::fixture() else {
        return;
    };
    let world = Docker(DockerWorld::nth(1, &Arc::new(fixture), reach));
    let points = sweep_every(STEP, &[scenario], &world, &Parted, "child").await;
    let least = 2 * least / STEP - 1;
    assert!(points >= least, "only {points} points were killed at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_killed_anywhere_leaves_one_release_live_and_loses_nothing() {
    killed_at_every_event_boundary(Reach::Bridge, Scenario::Deploy, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_killed_anywhere_leaves_one_release_live_and_loses_nothing() {
    killed_at_every_event_boundary(Reach::Bridge, Scenario::Rollback, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_rollback_killed_anywhere_leaves_one_release_live_and_loses_nothing() {
    killed_at_every_event_boundary(Reach::Bridge, Scenario::AutomaticRollback, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_beside_killed_anywhere_leaves_one_release_live_and_loses_nothing() {
    killed_at_every_event_boundary(Reach::Beside, Scenario::Deploy, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_beside_killed_anywhere_leaves_one_release_live_and_loses_nothing() {
    killed_at_every_event_boundary(Reach::Beside, Scenario::Rollback, 9).await;
}
