//! The engine's process is killed at every event boundary; a new one recovers, on a real dockerd, with a
//! real compose and a real SQLite history. Afterwards compose counts one container.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::Workload;
use rollback_core::prelude::*;
use rollback_docker::DockerBackend;
use rollback_sqlite::SqliteStore;
use rollback_testkit::kill::{
    Assemble, Child, KillWorld, Parts, Point, Scenario, Side, play_child, sweep_with,
};
use rollback_testkit::world::{Build, World};
use support::world::{Asked, ComposeWorld, configured, read, reference};

struct Compose(ComposeWorld);

impl KillWorld for Compose {
    fn world(&self) -> &dyn World {
        &self.0
    }

    fn place(&self) -> String {
        let fixture = &self.0.fixture;
        format!("{}\n{}", fixture.dir().display(), fixture.registry())
    }
}

/// The name of world number 1.
const NAME: &str = "c1";

struct Parted;

fn dir(place: &str) -> PathBuf {
    place.lines().next().unwrap().into()
}

#[async_trait]
impl Assemble for Parted {
    async fn assemble(&self, place: &str) -> Parts {
        let dir = dir(place);
        let service = read(dir.join(NAME), dir.join("s")).await;
        let config = configured(&service, NAME, dir.join("state"));
        let config = config.soak(Duration::from_millis(300));
        let gate = Gate::default().interval(Duration::from_millis(50));
        let store = SqliteStore::open(dir.join("history.db")).await;
        Parts {
            store: Arc::new(store.unwrap()),
            workload: Workload::new(DockerBackend::new(config).unwrap())
                .gate(gate)
                .auto_rollback(),
        }
    }

    fn workload(&self) -> WorkloadId {
        format!("{NAME}@web-1").parse().unwrap()
    }

    fn reference(&self, place: &str, build: Build) -> String {
        reference(place.lines().nth(1).unwrap(), NAME, build)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    play_child(&Parted).await;
}

/// Kills at each point of a scenario, on a daemon of its own: these run side by side.
async fn killed_at_every_event_boundary(scenario: Scenario, least: usize) {
    let Some(fixture) = support::fixture() else {
        return;
    };
    let world = Compose(ComposeWorld::nth(1, &Arc::new(fixture), Asked::AtRest).await);
    let strike = Child {
        kill: &world,
        child: "child",
    };
    let stride = if support::is_whole() { 1 } else { 5 };
    let mut points = 0;
    for (side, first) in [(Side::Before, 1), (Side::After, 3)] {
        let first = first.min(stride);
        let at = (first..).step_by(stride).map(|nth| Point { side, nth });
        let swept = sweep_with(scenario, at, &world, &Parted, &strike).await;
        points += swept.points;
    }
    let least = 2 * (least / stride);
    assert!(points >= least, "only {points} points were killed at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_killed_anywhere_leaves_one_container_that_compose_counts() {
    killed_at_every_event_boundary(Scenario::Deploy, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_killed_anywhere_leaves_one_container_that_compose_counts() {
    killed_at_every_event_boundary(Scenario::Rollback, 9).await;
}
