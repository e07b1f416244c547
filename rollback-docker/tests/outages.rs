//! dockerd is killed and starts again at a request, or the engine's process dies at one: within each verb,
//! where no event is written. A new engine recovers, nobody helps it, and nothing is left over.
//!
//! Some points are taken each time; `ROLLBACK_SWEEP_ALL=1` takes all, `ROLLBACK_SWEEP_AT=7,8` these.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::deployment::TriggerKind;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::ReleaseTask;
use rollback_core::memory::MemoryStore;
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig, RestartPolicy};
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::fixtures::relay::{Relay, When};
use rollback_testkit::kill::{
    self, Assemble, By, KillWorld, Parts, Point, Scenario, Side, Strike, Struck, Swept,
};
use rollback_testkit::world::{Build, World};
use support::census::Census;
use support::{DockerWorld, Reach};

/// Takes every point, which takes a quarter of an hour.
const ALL: &str = "ROLLBACK_SWEEP_ALL";

/// Takes these requests alone, to find out what goes wrong there.
const SOME: &str = "ROLLBACK_SWEEP_AT";

/// More requests than there are.
const MOST: usize = 1000;

/// The name of world number 1.
const NAME: &str = "w1";

struct Docker {
    world: DockerWorld,
    census: Census,
    /// Each round of a deployment is configured in another way: a container is made, and none that
    /// stands by is taken.
    round: AtomicUsize,
}

impl Docker {
    fn new(fixture: &Arc<DockerFixture>) -> Self {
        let world = DockerWorld::nth(1, fixture, Reach::Bridge);
        for build in [Build::V1, Build::V2, Build::Broken] {
            let version = format!("ENV VERSION={}", build.answer());
            let mode = match build {
                Build::Broken => "ENV MODE=exit",
                _ => "ENV MODE=",
            };
            let lines = [&*version, mode, "VOLUME /data"];
            fixture.publish(&world.reference(build), &lines);
        }
        Self {
            world,
            census: Census::default(),
            round: AtomicUsize::new(0),
        }
    }

    /// Where everybody finds dockerd: what is recovered is at the same place.
    fn socket(&self) -> PathBuf {
        self.world.fixture.dir().join("relay")
    }
}

#[async_trait]
impl KillWorld for Docker {
    fn world(&self) -> &dyn World {
        &self.world
    }

    fn place(&self) -> String {
        let fixture = &self.world.fixture;
        let state = fixture.dir().join("state").join(&self.world.name);
        let round = self.round.load(Ordering::SeqCst);
        [
            self.socket().display().to_string(),
            fixture.registry().to_string(),
            self.world.port.to_string(),
            state.display().to_string(),
            fixture.dir().join("history.db").display().to_string(),
            round.to_string(),
        ]
        .join("\n")
    }

    fn describe(&self) -> String {
        let format = "{{.ID}} {{.Names}} {{.Status}}";
        let fixture = &self.world.fixture;
        let all = fixture.must(&["ps", "-a", "--format", format]);
        let format = "{{.Name}} {{json .State}} {{json .HostConfig.RestartPolicy}}";
        let ids: Vec<&str> = all.lines().filter_map(|l| l.split(' ').next()).collect();
        let states = fixture.must(&[&["inspect", "-f", format], &ids[..]].concat());
        format!("{all}{states}")
    }

    async fn orphans(&self, newest: &[Deployment]) -> Vec<String> {
        self.census.orphans(&self.world.fixture, newest)
    }
}

struct Parted;

#[async_trait]
impl Assemble for Parted {
    async fn assemble(&self, place: &str) -> Parts {
        let lines: Vec<&str> = place.lines().collect();
        let [socket, _, port, state, history, round] = lines[..] else {
            panic!("six lines: {place}")
        };
        if let Some(point) = kill::point() {
            dies_at(point, Path::new(socket));
        }
        let config = DockerConfig::new(self.workload(), NAME, Path::new(state));
        let config = support::reachable(config, Reach::Bridge, NAME, port.parse().unwrap())
            .socket(socket)
            .env("ROUND", round)
            // dockerd 20.10 that was killed takes what it ends on its next start for stopped by hand.
            .restart(RestartPolicy::Always)
            .soak(Duration::from_millis(200));
        let few = Keep::new(3, 0);
        let mut policy = Policy::default();
        policy.retention = Retention::default().artifacts(few);
        let gate = Gate::default().interval(Duration::from_millis(50));
        Parts {
            store: Arc::new(SqliteStore::open(history).await.unwrap()),
            workload: Workload::new(DockerBackend::new(config).unwrap())
                .policy(policy)
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

    fn killer(&self) -> By {
        By::Parts
    }
}

/// A relay within the process that ends it at a request: before it is sent, or while dockerd is at it.
fn dies_at(point: Point, socket: &Path) {
    let service = fs::read_link(socket).unwrap();
    fs::remove_file(socket).unwrap();
    let relay = Relay::new(socket.to_owned(), service);
    let when = match point.side {
        Side::Before => When::Before,
        Side::After => When::Meanwhile,
    };
    relay.at(point.nth, when, || kill::die());
}

/// Kills dockerd at a request, and starts it again.
struct Outage<'a> {
    docker: &'a Docker,
    relay: Relay,
}

impl<'a> Outage<'a> {
    fn new(docker: &'a Docker) -> Self {
        let relay = Relay::new(docker.socket(), docker.world.fixture.socket());
        Self { docker, relay }
    }
}

#[async_trait]
impl Strike for Outage<'_> {
    async fn strike(&self, scenario: Scenario, point: Point) -> Struck {
        self.docker.turn(scenario);
        let place = self.docker.place();
        let parts = Parted.assemble(&place).await;
        let engine = RollbackEngine::builder(parts.store)
            .workload(parts.workload)
            .build()
            .unwrap();
        let when = match (point.side, point.nth % 2) {
            (Side::Before, _) => When::Before,
            (Side::After, 0) => When::Meanwhile,
            (Side::After, _) => When::Answered,
        };
        let (tell, told) = mpsc::channel();
        let fixture = Arc::clone(&self.docker.world.fixture);
        self.relay.at(point.nth, when, move || {
            fixture.kill_dockerd();
            let at = Instant::now();
            // In its own time: meanwhile nobody answers.
            std::thread::spawn(move || {
                let up = fixture.start_dockerd();
                let _ = tell.send((at, up));
            });
        });
        // However it ends: it may go on, fail, or stop for somebody to recover it.
        let run = kill::begin(&engine, &Parted, &place, scenario).await;
        if let Ok(run) = run {
            let _ = run.await;
        }
        if self.relay.disarm() {
            return Struck::Finished;
        }
        let (at, up) = tokio::task::spawn_blocking(move || told.recv().unwrap())
            .await
            .unwrap();
        up.unwrap();
        Struck::At {
            at,
            acknowledged: Vec::new(),
        }
    }
}

impl Docker {
    /// The relay of a process has ended with it.
    fn link(&self) {
        let _ = fs::remove_file(self.socket());
        std::os::unix::fs::symlink(self.world.fixture.socket(), self.socket()).unwrap();
    }

    fn turn(&self, scenario: Scenario) {
        let more = usize::from(scenario != Scenario::Rollback);
        self.round.fetch_add(more, Ordering::SeqCst);
    }
}

/// A new process for each point.
struct Deaths<'a> {
    docker: &'a Docker,
    child: kill::Child<'a>,
}

#[async_trait]
impl Strike for Deaths<'_> {
    async fn strike(&self, scenario: Scenario, point: Point) -> Struck {
        self.docker.turn(scenario);
        let struck = self.child.strike(scenario, point).await;
        self.docker.link();
        struck
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    kill::play_child(&Parted).await;
}

/// One daemon for each scenario; these run side by side.
fn docker() -> Option<Docker> {
    Some(Docker::new(&Arc::new(support::fixture()?)))
}

/// The requests of one side at which something happens.
fn points(side: Side, stride: usize) -> Vec<Point> {
    let at = |nth: usize| Point { side, nth };
    if let Ok(some) = std::env::var(SOME) {
        let some = some.split(',').map(|nth| at(nth.parse().unwrap()));
        return some.collect();
    }
    let (first, stride) = match (std::env::var_os(ALL), side) {
        (Some(_), _) => (1, 1),
        (None, Side::Before) => (1, stride),
        (None, Side::After) => (1 + stride / 2, stride),
    };
    let all = (first..MOST).step_by(stride);
    all.map(at).collect()
}

/// Tells how long the longest took from a strike to the end of its recovery.
async fn sweep(docker: &Docker, scenario: Scenario, stride: usize, strike: &dyn Strike) {
    let mut all = Vec::new();
    for side in [Side::Before, Side::After] {
        let at = points(side, stride).into_iter();
        let swept = kill::sweep_with(scenario, at, docker, &Parted, strike).await;
        assert!(swept.points > 1, "{side:?}: {swept:?}");
        all.push(swept);
    }
    let points: usize = all.iter().map(|swept: &Swept| swept.points).sum();
    let longest = all.iter().map(|swept| swept.longest).max();
    eprintln!("{scenario:?}: {points} points, the longest took {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerd_killed_anywhere_in_a_deployment_leaves_one_release_and_nothing_else() {
    let Some(docker) = docker() else { return };
    sweep(&docker, Scenario::Deploy, 15, &Outage::new(&docker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerd_killed_anywhere_in_a_rollback_leaves_one_release_and_nothing_else() {
    let Some(docker) = docker() else { return };
    sweep(&docker, Scenario::Rollback, 12, &Outage::new(&docker)).await;
}

/// A release task in which dockerd is killed, and comes up again.
#[derive(Debug)]
struct Kills(Arc<DockerFixture>);

#[async_trait]
impl ReleaseTask for Kills {
    fn name(&self) -> String {
        "kill".into()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        trigger == TriggerKind::Deploy
    }

    async fn run(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        if op.from.instance().is_none() {
            return Ok(());
        }
        let fixture = Arc::clone(&self.0);
        let restarted = tokio::task::spawn_blocking(move || {
            fixture.kill_dockerd();
            fixture.start_dockerd()
        });
        restarted.await.unwrap().unwrap();
        Err(HookError::new("it fails"))
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_live_stayed_down_where_dockerd_was_killed_before_the_switch() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    let w = DockerWorld::new(&Arc::new(fixture));
    let config = w.config().soak(Duration::ZERO);
    let backend = DockerBackend::new(config.restart(RestartPolicy::UnlessStopped)).unwrap();
    let workload = Workload::new(backend).task(Kills(Arc::clone(&w.fixture)));
    let engine = RollbackEngine::builder(MemoryStore::new()).workload(workload);
    let (engine, id) = (engine.build().unwrap(), w.workload());
    let deploy = async |build| {
        let me = Actor::user("me").unwrap();
        let run = engine.deploy(&id, w.reference(build), me).await;
        run.unwrap().await.unwrap()
    };
    assert!(deploy(Build::V1).await.succeeded());
    assert!(!deploy(Build::V2).await.succeeded());
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    assert_eq!(w.running().await, 1);
}

/// A process of its own for each point.
async fn deaths(scenario: Scenario, stride: usize) {
    let Some(docker) = docker() else { return };
    docker.link();
    let strike = Deaths {
        docker: &docker,
        child: kill::Child {
            kill: &docker,
            child: "child",
        },
    };
    sweep(&docker, scenario, stride, &strike).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_a_request_of_a_deployment_leaves_one_release_and_nothing_else() {
    deaths(Scenario::Deploy, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_a_request_of_a_rollback_leaves_one_release_and_nothing_else() {
    deaths(Scenario::Rollback, 12).await;
}
