//! The child of a sweep: the test's own program, started again, which is killed where it is told to be.

use std::process::Stdio;
use std::time::Instant;

use async_trait::async_trait;
use rollback_core::engine::RollbackEngine;

use super::{
    Assemble, By, KillWorld, Killer, KillingStore, Point, Scenario, Side, Strike, Struck, begin,
};

/// `before:3`, `after:3`: where the child dies.
const POINT: &str = "ROLLBACK_KILL_POINT";
/// What the child does: a [`Scenario`].
const SCENARIO: &str = "ROLLBACK_KILL_SCENARIO";
/// How the child finds the parent's world: the [`KillWorld`]'s own text.
const PLACE: &str = "ROLLBACK_KILL_PLACE";

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
    let mut all = Scenario::ALL.into_iter();
    let meant = all.find(|s| s.as_str() == scenario).unwrap();
    let run = begin(&engine, assemble, &place, meant).await;
    let report = run.unwrap().await.unwrap();
    #[allow(clippy::print_stdout)] // The parent reads it.
    {
        println!("finished {}", report.outcome());
    }
}

/// Lets a process of its own run the scenario, and kills it.
pub struct Child<'a> {
    /// Where it finds its world.
    pub kill: &'a dyn KillWorld,
    /// The full name of the test that calls [`play_child`].
    pub child: &'a str,
}

#[async_trait]
impl Strike for Child<'_> {
    async fn strike(&self, scenario: Scenario, point: Point) -> Struck {
        let side = if point.side == Side::Before {
            "before"
        } else {
            "after"
        };
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args([self.child, "--exact", "--nocapture", "--test-threads=1"])
            .env(POINT, format!("{side}:{}", point.nth))
            .env(SCENARIO, scenario.as_str())
            .env(PLACE, self.kill.place())
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
            return Struck::Finished;
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
        Struck::At {
            at: Instant::now(),
            acknowledged,
        }
    }
}
