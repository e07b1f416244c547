//! The process that runs the group is killed; others recover.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollback_core::engine::Way;
use rollback_core::prelude::*;
use rollback_core::stack::StackRequest;
use rollback_testkit::intercept::{Intercept, InterceptedStore, Write};
use rollback_testkit::kill::{Side, die};
use rollback_testkit::world::Build;
use serde::{Deserialize, Serialize};

use crate::shop::{ALL, Place, Shop, id, last_healthy, stack};

/// Set for the process that is to be killed: its [`Part`].
const PART: &str = "ROLLBACK_REAL_STACK_PART";

/// Longest time from a new process's start to the end of its recovery.
const LONGEST: Duration = Duration::from_secs(30);

/// What the child is to do, and where it dies.
#[derive(Serialize, Deserialize)]
struct Part {
    place: Place,
    ask: Ask,
    /// Of which workload, which write, and whether it is made.
    workload: String,
    what: String,
    made: bool,
    /// How long after it.
    later: Duration,
}

/// What is asked of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Ask {
    /// The build with this answer goes live, all of it.
    Deploy(usize),
    /// The same, and the site's is broken.
    Broken(usize),
    /// Back to what was before.
    Back,
}

const BUILDS: [Build; 3] = [Build::V1, Build::V2, Build::V3];

impl Ask {
    fn request(self, place: &Place) -> StackRequest {
        match self {
            Self::Deploy(to) => place.deploy(|_| BUILDS[to]),
            Self::Broken(to) => place.deploy(|name| match name {
                "site" => Build::Broken,
                _ => BUILDS[to],
            }),
            Self::Back => last_healthy(),
        }
    }
}

/// Kills its own process at one write, or a while after it.
#[derive(Debug)]
struct Fatal {
    workload: WorkloadId,
    what: String,
    side: Side,
    later: Duration,
}

impl Fatal {
    fn die_at(&self, write: Write<'_>, side: Side) {
        if self.side == side && *write.workload == self.workload && write.what == self.what {
            if self.later.is_zero() {
                die();
            }
            let later = self.later;
            std::thread::spawn(move || {
                std::thread::sleep(later);
                die()
            });
        }
    }
}

impl Intercept for Fatal {
    type Passed = ();

    fn before(&self, write: Write<'_>) -> Result<(), StoreError> {
        self.die_at(write, Side::Before);
        Ok(())
    }

    fn after(&self, write: Write<'_>, (): ()) -> Result<(), StoreError> {
        self.die_at(write, Side::After);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(part) = std::env::var(PART) else {
        return;
    };
    let part: Part = serde_json::from_str(&part).unwrap();
    let fatal = Fatal {
        workload: id(&part.workload),
        what: part.what,
        side: match part.made {
            true => Side::After,
            false => Side::Before,
        },
        later: part.later,
    };
    let store = InterceptedStore::new(part.place.store().await, fatal);
    let engine = part.place.engine(Arc::new(store));
    let run = engine.run_stack(part.ask.request(&part.place)).await;
    let report = run.unwrap().await;
    panic!("nobody has killed it: {}", report.summary());
}

/// Who recovers.
#[derive(Debug, Clone, Copy)]
enum By {
    /// One process that knows all workloads.
    One,
    /// A process for each workload, one after the other in this order. It knows nothing but that one.
    Each([&'static str; 3]),
}

/// Where the process dies, who recovers then, and whether the group goes live all the same.
struct Point {
    workload: &'static str,
    made: bool,
    what: &'static str,
    later: Duration,
    by: By,
    goes_live: bool,
}

const fn before(what: &'static str, workload: &'static str) -> Point {
    Point {
        workload,
        made: false,
        what,
        later: Duration::ZERO,
        by: By::One,
        goes_live: false,
    }
}

const fn after(what: &'static str, workload: &'static str) -> Point {
    Point {
        made: true,
        ..before(what, workload)
    }
}

impl Point {
    const fn recovered_by(self, by: By) -> Self {
        Self { by, ..self }
    }

    /// So long after it: what it was the intent of is under way.
    const fn later(self, millis: u64) -> Self {
        let later = Duration::from_millis(millis);
        Self { later, ..self }
    }

    const fn goes_live(self) -> Self {
        Self {
            goes_live: true,
            ..self
        }
    }
}

/// Runs the request in a process of its own until that is killed.
async fn kill(place: &Place, ask: Ask, at: &Point) {
    let part = Part {
        place: place.clone(),
        ask,
        workload: at.workload.to_owned(),
        what: at.what.to_owned(),
        made: at.made,
        later: at.later,
    };
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["killed::child", "--exact", "--nocapture"])
        .env(PART, serde_json::to_string(&part).unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), child).await;
    let output = output
        .unwrap_or_else(|_| panic!("not killed within a minute"))
        .unwrap();
    assert_eq!(
        output.status.signal(),
        Some(9),
        "the child was not killed but failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How one has recovered, of these workloads.
async fn recover(engine: &RollbackEngine, of: &[&str], context: &str) {
    for recovered in engine.recover().await.unwrap() {
        // What it does not know is reported, too.
        if of.iter().any(|name| id(name) == recovered.workload)
            && let Err(e) = &recovered.result
        {
            panic!("{context}: {} is not recovered: {e}", recovered.workload);
        }
    }
}

/// A shop, and the builds that are live in it, by their places in [`BUILDS`].
struct Rests {
    shop: Shop,
    live: usize,
    /// What was live before, where all were healthy.
    former: usize,
}

impl Rests {
    /// v2 is live, and v1 was.
    async fn new() -> Option<Self> {
        let shop = Shop::open()?;
        let mut rests = Self {
            shop,
            live: 0,
            former: 0,
        };
        rests.deploy(0, "the first").await;
        rests.deploy(1, "the second").await;
        Some(rests)
    }

    /// Deploys a build with an engine of its own.
    async fn deploy(&mut self, to: usize, context: &str) {
        let place = &self.shop.place;
        let engine = place.engine(place.store().await);
        let request = Ask::Deploy(to).request(place);
        let report = engine.run_stack(request).await.unwrap().await;
        assert!(report.succeeded(), "{context}: {}", report.summary());
        let live = self.shop.at_rest(&engine, context).await;
        assert_eq!(live, BUILDS[to], "{context}");
        (self.former, self.live) = (self.live, to);
    }

    /// Has the process killed there, and looks at what becomes of it.
    async fn killed(&mut self, ask: Ask, at: &Point) {
        let place = &self.shop.place;
        let side = match (at.made, at.later.as_millis()) {
            (false, _) => "before".to_owned(),
            (true, 0) => "after".to_owned(),
            (true, millis) => format!("{millis} ms after"),
        };
        let context = format!("{ask:?}, killed {side} {} of {}", at.what, at.workload);
        kill(place, ask, at).await;

        let began = Instant::now();
        match at.by {
            By::One => {
                let engine = place.engine(place.store().await);
                recover(&engine, &ALL, &context).await;
            }
            By::Each(order) => {
                for name in order {
                    let engine = RollbackEngine::builder(place.store().await)
                        .workload(place.workload(name))
                        .build()
                        .unwrap();
                    recover(&engine, &[name], &context).await;
                }
            }
        }
        let took = began.elapsed();
        assert!(took < LONGEST, "{context}: recovery took {took:?}");

        let engine = place.engine(place.store().await);
        let live = self.shop.at_rest(&engine, &context).await;
        let to = match ask {
            Ask::Deploy(to) | Ask::Broken(to) => to,
            Ask::Back => self.former,
        };
        let (expected, way) = match at.goes_live {
            true => (to, Way::Forward),
            false => (self.live, Way::Back),
        };
        assert_eq!(live, BUILDS[expected], "{context}");
        let groups = engine.groups(&stack(), 1).await.unwrap();
        assert_eq!(groups[0].way, way, "{context}");
        assert!(!groups[0].is_in_flight(), "{context}");

        // The one that is neither.
        let third = 3 - self.live - to;
        self.live = expected;
        let context = format!("{context}, and then deployed");
        self.deploy(third, &context).await;
    }

    /// A build that is not live.
    fn other(&self) -> usize {
        (self.live + 1) % BUILDS.len()
    }
}

/// Where a group dies on its way forward: a sample; with `ROLLBACK_SWEEP_ALL` set everywhere.
fn forward() -> Vec<Point> {
    let mut points = vec![
        after("begun", "api"),
        // All prepare side by side. That they have is written with the next intent of each.
        after("prepare-intended", "api").later(40),
        after("switch-intended", "worker"),
        after("switched", "worker"),
        // dockerd stops one container, or starts the other.
        after("switch-intended", "api").later(60),
        before("switched", "api"),
        before("decided", "api").recovered_by(By::Each(["worker", "site", "api"])),
        after("decided", "api")
            .recovered_by(By::Each(["site", "worker", "api"]))
            .goes_live(),
        after("retire-intended", "api").later(5).goes_live(),
        after("settled", "worker").goes_live(),
    ];
    if std::env::var_os("ROLLBACK_SWEEP_ALL").is_some() {
        points.extend(everywhere());
    }
    points
}

/// On both sides of each write of each workload.
fn everywhere() -> Vec<Point> {
    let undecided = ["begun", "prepare-intended", "prepared", "switch-intended"];
    let undecided = [&undecided[..], &["switched", "judged", "agreed"]].concat();
    let decided = ["retire-intended", "retired", "settled"];
    let each = undecided.iter().map(|what| (*what, false));
    let each = each.chain(decided.map(|what| (what, true)));
    let mut points = Vec::new();
    for (what, goes_live) in each {
        for (nth, workload) in ALL.into_iter().enumerate() {
            let [a, b, c] = ALL;
            let order = [[b, c, a], [c, a, b], [c, b, a]][nth];
            let both = [before(what, workload), after(what, workload)];
            for (point, by) in both.into_iter().zip([By::Each(order), By::One]) {
                points.push(Point {
                    goes_live,
                    by,
                    ..point
                });
            }
        }
    }
    // Before anything was written there is no group.
    points.remove(0);
    points
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_killed_on_its_way_forward_is_all_new_or_all_old_when_others_have_recovered() {
    let Some(mut rests) = Rests::new().await else {
        return;
    };
    for at in forward() {
        let ask = Ask::Deploy(rests.other());
        rests.killed(ask, &at).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_killed_on_its_way_back_is_all_new_or_all_old_when_others_have_recovered() {
    let Some(mut rests) = Rests::new().await else {
        return;
    };
    // By hand to where all were healthy.
    rests.killed(Ask::Back, &before("decided", "api")).await;
    let at = after("decided", "api").goes_live();
    rests.killed(Ask::Back, &at).await;
    // Because one of them is broken.
    for at in [
        after("going-back", "site"),
        before("switched-back", "api").recovered_by(By::Each(["worker", "api", "site"])),
    ] {
        let ask = Ask::Broken(rests.other());
        rests.killed(ask, &at).await;
    }
}
