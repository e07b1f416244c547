//! Kills: the engine's process ends by SIGKILL before and after each durable write, a new
//! process recovers, and the world is looked at.
//!
//! A test binary plays both parts. The parent calls [`sweep`]; the child is the same binary,
//! started again for one named test, which calls [`play_child`] and returns at once unless it is
//! meant.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::{HistoryReader, HistoryStore};
use rollback_core::prelude::*;

pub use store::{Killer, KillingStore};

use crate::world::{Build, World};

mod store;

/// `before:3`, `after:3`: where the child dies.
const POINT: &str = "ROLLBACK_KILL_POINT";
/// What the child does: a [`Scenario`].
const SCENARIO: &str = "ROLLBACK_KILL_SCENARIO";
/// How the child finds the parent's world: the [`KillWorld`]'s own text.
const PLACE: &str = "ROLLBACK_KILL_PLACE";

/// On which side of a durable write the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The write was not made.
    Before,
    /// It was made, and nobody was told.
    After,
}

/// Where a process dies: at its `nth` durable write, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// On which side.
    pub side: Side,
    /// Of which write.
    pub nth: usize,
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
pub trait KillWorld: Send + Sync {
    /// The world itself, for the parent, which looks at what serves.
    fn world(&self) -> &dyn World;

    /// How another process finds it: paths, ports, sockets.
    fn place(&self) -> String;
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

/// Where this process is to die, if it is a child.
pub fn point() -> Option<Point> {
    let point = std::env::var(POINT).ok()?;
    let (side, nth) = point.split_once(':')?;
    let side = if side == "before" {
        Side::Before
    } else {
        Side::After
    };
    Some(Point {
        side,
        nth: nth.parse().ok()?,
    })
}

/// Plays the child if this process was started as one: does what it is told and dies where it is
/// told. Returns at once otherwise.
pub async fn play_child(assemble: &dyn Assemble) {
    let (Some(point), Ok(scenario), Ok(place)) =
        (point(), std::env::var(SCENARIO), std::env::var(PLACE))
    else {
        return;
    };
    let parts = assemble.assemble(&place).await;
    let killer = match assemble.killer() {
        By::Store => Killer::at(point),
        By::Parts => Killer::never(),
    };
    let store = KillingStore::new(parts.store, killer);
    let engine = RollbackEngine::builder(store)
        .workload(parts.workload)
        .build()
        .unwrap();
    let api = assemble.workload();
    let run = match scenario.as_str() {
        "rollback" => engine.rollback(&api, Goal::LastHealthy, me()).await,
        "deploy" => {
            engine
                .deploy(&api, assemble.reference(&place, Build::V2), me())
                .await
        }
        _ => {
            engine
                .deploy(&api, assemble.reference(&place, Build::Broken), me())
                .await
        }
    };
    let report = run.unwrap().await.unwrap();
    #[allow(clippy::print_stdout)] // The parent reads it.
    {
        println!("finished {}", report.outcome());
    }
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
    let mut points = 0;
    for scenario in scenarios.iter().copied() {
        for side in [Side::Before, Side::After] {
            for nth in 1.. {
                assert!(nth < 100, "a deployment has no end");
                base(kill, assemble, scenario).await;
                let point = Point { side, nth };
                let context = format!("{} {side:?} number {nth}", scenario.as_str());
                let acknowledged = match run_child(kill, child, scenario, point).await {
                    ChildEnd::Finished => break,
                    ChildEnd::Killed { acknowledged } => acknowledged,
                };
                points += 1;
                recovers(kill, assemble, scenario, &context, &acknowledged).await;
            }
        }
    }
    points
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
    let serving = serving.unwrap_or_else(|| panic!("{context}: nothing serves"));
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
    lost_nothing(&engine, &api, context, acknowledged).await;
}

/// Every write that was acknowledged before the kill is in the history.
async fn lost_nothing(
    engine: &RollbackEngine,
    api: &WorkloadId,
    context: &str,
    acknowledged: &[String],
) {
    let mut written = String::new();
    for d in engine
        .list(&Query::workload(api).limit(20))
        .await
        .unwrap()
        .deployments
    {
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

enum ChildEnd {
    Killed { acknowledged: Vec<String> },
    Finished,
}

async fn run_child(
    kill: &dyn KillWorld,
    child: &str,
    scenario: Scenario,
    point: Point,
) -> ChildEnd {
    let side = if point.side == Side::Before {
        "before"
    } else {
        "after"
    };
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([child, "--exact", "--nocapture", "--test-threads=1"])
        .env(POINT, format!("{side}:{}", point.nth))
        .env(SCENARIO, scenario.as_str())
        .env(PLACE, kill.place())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        assert!(
            stdout.contains("finished "),
            "the child did nothing: {stdout}"
        );
        return ChildEnd::Finished;
    }
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(
        signal,
        Some(9),
        "the child was not killed but failed: {stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let acknowledged = stdout
        .lines()
        .filter_map(|l| l.strip_prefix("ack "))
        .map(str::to_owned)
        .collect();
    ChildEnd::Killed { acknowledged }
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
