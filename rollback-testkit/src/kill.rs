//! Kills: the engine's process ends by SIGKILL before and after each durable write, a new
//! process recovers, and the world is looked at.
//!
//! A test binary plays both parts. The parent calls [`sweep`]; the child is the same binary,
//! started again for one named test, which calls [`play_child`] and returns at once unless it is
//! meant.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Run, Workload};
use rollback_core::history::{HistoryReader, HistoryStore};
use rollback_core::prelude::*;

pub use child::{Child, play_child, point};
pub use store::{Killer, KillingStore, die};

use crate::world::{Build, World};

mod child;
mod store;

/// On which side of a durable write, or of a request, it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It was not made.
    Before,
    /// It was made, and nobody was told.
    After,
}

/// Where it happens: at the `nth` durable write, or request, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// On which side.
    pub side: Side,
    /// Of which write.
    pub nth: usize,
}

/// What is done to a program, or to what it works with, at a point of a scenario.
#[async_trait]
pub trait Strike: Send + Sync {
    /// Lets the scenario run, and strikes at the point.
    async fn strike(&self, scenario: Scenario, point: Point) -> Struck;
}

/// What came of a [`Strike`].
#[derive(Debug)]
pub enum Struck {
    /// The scenario has ended before its point.
    Finished,
    /// It was struck.
    At {
        /// When.
        at: Instant,
        /// What was written and told before, a deployment and an event each.
        acknowledged: Vec<String>,
    },
}

/// What a sweep has done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// How many points there were.
    pub points: usize,
    /// Longest time from a strike to the end of the recovery.
    pub longest: Duration,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// v1 is live, v2 is deployed.
    Deploy,
    /// v1 is live, a broken build is deployed, automatic rollback is armed.
    AutomaticRollback,
    /// v2 is live, v1 was before it; roll back.
    Rollback,
}

impl Scenario {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Deploy, Self::AutomaticRollback, Self::Rollback];

    fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::AutomaticRollback => "automatic-rollback",
            Self::Rollback => "rollback",
        }
    }

    /// What may serve in the end, whatever the instant of the kill.
    fn may_serve(self) -> &'static [&'static str] {
        match self {
            Self::Deploy | Self::Rollback => &["v1", "v2"],
            // A broken build never stays, also when recovery has to send it back.
            Self::AutomaticRollback => &["v1"],
        }
    }
}

/// A world that another process can find again.
#[async_trait]
pub trait KillWorld: Send + Sync {
    /// The world itself, for the parent, which looks at what serves.
    fn world(&self) -> &dyn World;

    /// How another process finds it: paths, ports, sockets.
    fn place(&self) -> String;

    /// What is there and belongs to nothing, at rest, when these are the newest records: for a world
    /// that counts it.
    async fn orphans(&self, _: &[Deployment]) -> Vec<String> {
        Vec::new()
    }

    /// What is there, for those who have to find out what went wrong.
    fn describe(&self) -> String {
        String::new()
    }
}

/// What a process needs to run an engine on a world.
pub struct Parts {
    /// A store on the world's own durable file.
    pub store: Arc<dyn HistoryStore>,
    /// The workload with its backend and checks, automatic rollback armed.
    pub workload: Workload,
}

/// Makes [`Parts`] from a [`KillWorld::place`]; the same code in parent and child.
#[async_trait]
pub trait Assemble: Send + Sync {
    /// What the process of this place runs its engine with.
    async fn assemble(&self, place: &str) -> Parts;

    /// The workload's id.
    fn workload(&self) -> WorkloadId;

    /// The reference of a build.
    fn reference(&self, place: &str, build: Build) -> String;

    /// Who ends the child at its [`Point`].
    fn killer(&self) -> By {
        By::Store
    }
}

/// Who ends a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its store, at a durable write.
    Store,
    /// Something that [`Assemble::assemble`] has made, which counts something else: it asks
    /// [`point`] where.
    Parts,
}

/// Kills a child at every point of every scenario in this world, recovers, and checks that
/// nothing acknowledged is lost, one release is live and serves, it is the one on record, and
/// the next deployment works. `child` is the full name of the test that calls [`play_child`].
///
/// Returns how many points there were.
pub async fn sweep(kill: &dyn KillWorld, assemble: &dyn Assemble, child: &str) -> usize {
    sweep_of(&Scenario::ALL, kill, assemble, child).await
}

/// The same of some scenarios, for a platform that takes its time.
pub async fn sweep_of(
    scenarios: &[Scenario],
    kill: &dyn KillWorld,
    assemble: &dyn Assemble,
    child: &str,
) -> usize {
    sweep_every(1, scenarios, kill, assemble, child).await
}

/// The same at each `step`th write only, before and after others in turn; everywhere where
/// `ROLLBACK_SWEEP_ALL` is set.
pub async fn sweep_every(
    step: usize,
    scenarios: &[Scenario],
    kill: &dyn KillWorld,
    assemble: &dyn Assemble,
    child: &str,
) -> usize {
    let step = match std::env::var_os("ROLLBACK_SWEEP_ALL") {
        Some(_) => 1,
        None => step.max(1),
    };
    let strike = Child { kill, child };
    let mut points = 0;
    for scenario in scenarios.iter().copied() {
        for side in [Side::Before, Side::After] {
            let first = match side {
                Side::Before => 1,
                Side::After => step,
            };
            let at = (first..).step_by(step).map(|nth| Point { side, nth });
            points += sweep_with(scenario, at, kill, assemble, &strike)
                .await
                .points;
        }
    }
    points
}

/// Strikes at these points of a scenario, until it ends before one; after each there is a new
/// engine that recovers, and the same is checked. Nobody does anything else.
pub async fn sweep_with(
    scenario: Scenario,
    points: impl Iterator<Item = Point>,
    kill: &dyn KillWorld,
    assemble: &dyn Assemble,
    strike: &dyn Strike,
) -> Swept {
    let mut swept = Swept::default();
    for point in points {
        assert!(point.nth < 999, "a deployment has no end");
        base(kill, assemble, scenario).await;
        let Point { side, nth } = point;
        let context = format!("{} {side:?} number {nth}", scenario.as_str());
        let Struck::At { at, acknowledged } = strike.strike(scenario, point).await else {
            break;
        };
        swept.points += 1;
        Box::pin(recovers(kill, assemble, scenario, &context, &acknowledged)).await;
        swept.longest = swept.longest.max(at.elapsed());
    }
    swept
}

async fn engine(
    kill: &dyn KillWorld,
    assemble: &dyn Assemble,
) -> (RollbackEngine, Arc<dyn HistoryStore>) {
    let parts = assemble.assemble(&kill.place()).await;
    let engine = RollbackEngine::builder(Arc::clone(&parts.store))
        .workload(parts.workload)
        .build()
        .unwrap();
    (engine, parts.store)
}

/// Brings the world to where the scenario begins.
async fn base(kill: &dyn KillWorld, assemble: &dyn Assemble, scenario: Scenario) {
    let (engine, _) = engine(kill, assemble).await;
    let builds: &[Build] = match scenario {
        Scenario::Rollback => &[Build::V1, Build::V2],
        _ => &[Build::V1],
    };
    for build in builds {
        let reference = assemble.reference(&kill.place(), *build);
        let report = engine
            .deploy(&assemble.workload(), reference, me())
            .await
            .unwrap()
            .await
            .unwrap();
        assert!(
            report.succeeded(),
            "the base does not deploy: {}",
            report.summary()
        );
    }
    // What is there now is no orphan later.
    let newest = Query::workload(&assemble.workload()).limit(20);
    let newest = engine.list(&newest).await.unwrap().deployments;
    let orphans = kill.orphans(&newest).await;
    assert!(
        orphans.is_empty(),
        "before anything was struck: {orphans:?}"
    );
}

async fn recovers(
    kill: &dyn KillWorld,
    assemble: &dyn Assemble,
    scenario: Scenario,
    context: &str,
    acknowledged: &[String],
) {
    let api = assemble.workload();
    let (engine, store) = engine(kill, assemble).await;
    for recovered in engine.recover().await.unwrap() {
        if let Err(e) = &recovered.result {
            panic!("{context}: not recovered: {e}");
        }
    }
    let state = store.workload(&api).await.unwrap();
    assert!(state.in_flight.is_none(), "{context}: nothing is in flight");
    let live = state
        .live
        .known()
        .unwrap_or_else(|| panic!("{context}: live is {:?}", state.live));
    let record = engine.get(live).await.unwrap();
    let serving = kill.world().serving().await;
    let told = || {
        let events: Vec<&str> = record.events().iter().map(|e| e.event.name()).collect();
        format!(
            "{} {events:?}\n{}",
            record.outcome().map_or("open".into(), |o| o.to_string()),
            kill.describe()
        )
    };
    let serving = serving.unwrap_or_else(|| panic!("{context}: nothing serves: {}", told()));
    assert!(
        scenario.may_serve().contains(&serving.as_str()),
        "{context}: {serving} serves"
    );
    assert_eq!(kill.world().running().await, 1, "{context}: one runs");
    let seen = kill.world().backend();
    let cx = Context::new(std::time::Duration::from_secs(60));
    let seen = seen.observe(&cx).await.unwrap();
    assert!(
        seen.shows(record.instance().unwrap()),
        "{context}: what is on record is live: {:?} is not {:?}",
        record.instance(),
        seen.live
    );
    let newest = Query::workload(&api).limit(20);
    let newest = engine.list(&newest).await.unwrap().deployments;
    lost_nothing(&newest, context, acknowledged);
    let orphans = kill.orphans(&newest).await;
    assert!(orphans.is_empty(), "{context}: {orphans:?}");
}

/// Every write that was acknowledged before the kill is in the history.
fn lost_nothing(newest: &[Deployment], context: &str, acknowledged: &[String]) {
    let mut written = String::new();
    for d in newest {
        let _ = writeln!(written, "{} begun", d.id());
        for event in d.events() {
            let _ = writeln!(written, "{} {}", d.id(), event.event.name());
        }
    }
    for line in acknowledged {
        assert!(
            written.lines().any(|l| l == line),
            "{context}: lost {line:?} of\n{written}"
        );
    }
}

/// Begins what a scenario is about.
///
/// # Errors
///
/// As [`RollbackEngine::deploy`] and [`RollbackEngine::rollback`].
pub async fn begin(
    engine: &RollbackEngine,
    assemble: &dyn Assemble,
    place: &str,
    scenario: Scenario,
) -> Result<Run, rollback_core::error::Error> {
    let workload = assemble.workload();
    let build = match scenario {
        Scenario::Rollback => return engine.rollback(&workload, Goal::LastHealthy, me()).await,
        Scenario::Deploy => Build::V2,
        Scenario::AutomaticRollback => Build::Broken,
    };
    let reference = assemble.reference(place, build);
    engine.deploy(&workload, reference, me()).await
}

fn me() -> Actor {
    Actor::user("kill-sweep").unwrap()
}

/// Counts durable writes across a process.
#[derive(Debug, Default)]
struct Writes(AtomicUsize);

impl Writes {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}
