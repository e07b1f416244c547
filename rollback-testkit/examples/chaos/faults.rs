//! Faults: every call by which one operation changes files is the one at which the process dies,
//! or at which its disk fails or is full; then the oracle.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::intercept::InterceptedStore;
use rollback_testkit::service::unavailable;

use crate::damage::copy;
use crate::dice::Dice;
use crate::ground::{Ground, SITES, Site};
use crate::ledger::Ledger;
use crate::native::compiled;
use crate::oracle::Breaches;
use crate::rounds::{self, Asked};
use crate::tally::Tally;
use crate::worker::Acknowledged;

/// What an operation may take at most, its recovery included.
const PATIENCE: Duration = Duration::from_secs(120);

/// What goes wrong at the chosen call.
const HOWS: [&str; 5] = ["kill", "eio", "enospc", "eio+", "enospc+"];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Deploys where nothing was ever deployed, and there is no history yet.
    First,
    /// Commits a version, and deploys it: git has not waited for the disk.
    Fresh,
    Deploy,
    DeploySick,
    RollBack,
    CleanUp,
    Note,
    /// Recovers from a kill in the middle of a switch.
    Recover,
}

impl Task {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::First,
        Self::Fresh,
        Self::Deploy,
        Self::DeploySick,
        Self::RollBack,
        Self::CleanUp,
        Self::Note,
        Self::Recover,
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.to_string() == name)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One place for a fault.
#[derive(Debug, Clone)]
struct Fault {
    task: Task,
    nth_site: usize,
    at: u64,
    how: &'static str,
}

/// Plays so many faults, chosen by the dice among all that there are; all of them if there are
/// fewer.
pub(crate) fn play(asked: &Asked) -> Option<Tally> {
    let stage = Stage::make(asked)?;
    let mut all = Vec::new();
    for task in Task::ALL {
        for nth_site in 0..SITES.len() {
            let calls = stage.count(task, nth_site);
            for how in HOWS {
                all.extend((1..=calls).map(|at| Fault {
                    task,
                    nth_site,
                    at,
                    how,
                }));
            }
        }
    }
    println!(
        "{} calls to fail at, each in {} ways",
        all.len() / HOWS.len(),
        HOWS.len()
    );
    let mut tally = Tally::new("faults", asked);
    let mut dice = Dice::new(asked.seed);
    for nth in 0..asked.rounds {
        let chosen = usize::try_from(dice.below(all.len().max(1) as u64)).unwrap();
        if all.is_empty() {
            break;
        }
        let fault = all.swap_remove(chosen);
        let ground = stage.fresh(fault.task);
        let mut breaches = Breaches::default();
        if let Err(e) = stage.operate(&ground, &fault) {
            breaches.add("the operation did not end well", e);
        }
        if fault.how == "kill" {
            tally.kills += 1;
        }
        let seed = dice.throw().to_string();
        let found = rounds::run(&ground, "oracle-after-a-cut", &[&seed], rounds::ORACLE);
        breaches.0.extend(found.0);
        for breach in &mut breaches.0 {
            let Fault {
                task,
                nth_site,
                at,
                how,
            } = &fault;
            let site = SITES[*nth_site].id();
            breach.what = format!("{task} of {site}, {how} at call {at}: {}", breach.what);
        }
        tally.round(nth, breaches);
    }
    Some(tally)
}

/// What is common to all faults of a run.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    library: PathBuf,
    /// Repositories alone.
    empty: Ground,
    whole: Ground,
    /// A kill left each workload of it in the middle of a preparation.
    interrupted: Ground,
}

impl Stage {
    /// Builds a history, and the library. `None` where that is not possible, which has been said.
    pub(crate) fn make(asked: &Asked) -> Option<Self> {
        let (whole, dir) = rounds::new_ground(asked);
        let source = include_str!("faults.c");
        let flags = ["-shared", "-fPIC", "-ldl"];
        let library = match compiled(source, dir.path(), "faults.so", &flags) {
            Ok(library) => library,
            Err(why) => {
                unavailable(&why);
                return None;
            }
        };
        let built = rounds::run(&whole, "history", &["1"], PATIENCE);
        assert!(built.0.is_empty(), "{built:?}");
        let named = |name: &str| Ground {
            dir: dir.path().join(name),
            log: dir.path().join(format!("{name}.log")),
            store: whole.store,
        };
        let (empty, interrupted) = (named("empty"), named("interrupted"));
        empty.make().unwrap();
        File::create(&empty.log).unwrap();
        let stage = Self {
            dir,
            library,
            empty,
            whole,
            interrupted,
        };
        // What is begun in one place is not finished in another: it is begun where it is recovered.
        let there = stage.fresh(Task::Deploy);
        for nth_site in 0..SITES.len() {
            let fault = Fault {
                task: Task::Deploy,
                nth_site,
                at: 60,
                how: "kill",
            };
            stage.operate(&there, &fault).unwrap();
        }
        copy_ground(&there, &stage.interrupted);
        Some(stage)
    }

    /// Where it keeps everything.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A ground of its own, as it was before.
    pub(crate) fn fresh(&self, task: Task) -> Ground {
        let from = match task {
            Task::First => &self.empty,
            Task::Recover => &self.interrupted,
            _ => &self.whole,
        };
        let ground = Ground {
            dir: self.dir().join("faulty"),
            log: self.dir().join("faulty.log"),
            store: from.store,
        };
        let _ = fs::remove_dir_all(&ground.dir);
        copy_ground(from, &ground);
        ground
    }

    /// How many calls an operation makes.
    fn count(&self, task: Task, nth_site: usize) -> u64 {
        let ground = self.fresh(task);
        let never = Fault {
            task,
            nth_site,
            at: u64::MAX / 2,
            how: "kill",
        };
        self.operate(&ground, &never).unwrap();
        let count = fs::read_to_string(self.dir().join("count")).unwrap();
        count.trim().parse().unwrap()
    }

    /// Runs an operation with a fault in it.
    fn operate(&self, ground: &Ground, fault: &Fault) -> Result<(), String> {
        let arm = self.dir().join("armed");
        let (task, site) = (fault.task.to_string(), fault.nth_site.to_string());
        let arm_text = arm.display().to_string();
        let mut command = rounds::command(ground, "operate", &[&task, &site, &arm_text]);
        let status = command
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_DIR", &ground.dir)
            .env("FAULTS_ARM", &arm)
            .env("FAULTS_AT", fault.at.to_string())
            .env("FAULTS_HOW", fault.how)
            .env("FAULTS_COUNT", self.dir().join("count"))
            .status()
            .unwrap();
        match (status.signal(), fault.how) {
            (None, _) if status.success() => Ok(()),
            (Some(9), "kill") => Ok(()),
            _ => Err(status.to_string()),
        }
    }
}

/// When an operation begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Now; it makes this file before it does anything.
    AtOnce(&'a Path),
    /// Once somebody has made this file.
    WhenMade(&'a Path),
}

/// The operation itself, in a process of its own. Whether it succeeds does not matter.
pub(crate) async fn perform(ground: &Ground, task: Task, site: &Site, start: Start<'_>) {
    let ledger = Arc::new(Ledger::open(&ground.log).unwrap());
    let panics = Arc::clone(&ledger);
    std::panic::set_hook(Box::new(move |panic| panics.wrong("panic", panic)));
    match start {
        Start::AtOnce(arm) => drop(File::create(arm).unwrap()),
        Start::WhenMade(go) => {
            while !go.exists() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    let Ok(store) = ground.open().await else {
        return;
    };
    let store = InterceptedStore::new(store, Acknowledged(ledger));
    let engine = ground.engine(Arc::new(store));
    let (id, me) = (site.id(), Actor::user("chaos").unwrap());
    let run = match task {
        Task::Fresh => {
            if crate::site::add(&ground.repository(site), "fresh", false).is_err() {
                return;
            }
            engine.deploy(&id, "fresh", me).await
        }
        Task::First | Task::Deploy => engine.deploy(&id, "v8", me).await,
        Task::DeploySick => engine.deploy(&id, "v19", me).await,
        Task::RollBack => engine.rollback(&id, Goal::Previous, me).await,
        Task::CleanUp => {
            // Something of what was built before goes.
            let rules = Retention::new(Keep::new(1, 0), Keep::new(1, 0));
            let _ = engine.clean_up(&id, Some(rules), &me).await;
            return;
        }
        Task::Note => {
            if let Ok(page) = engine.list(&Query::workload(&id).limit(1)).await
                && let Some(d) = page.deployments.first()
            {
                let _ = engine.note(d.id(), "a note".parse().unwrap(), &me).await;
                let _ = engine.pin(d.id(), &me).await;
                let _ = engine.unpin(d.id(), &me).await;
            }
            return;
        }
        Task::Recover => {
            let _ = engine.recover().await;
            return;
        }
    };
    if let Ok(run) = run {
        let _ = run.await;
    }
}

fn copy_ground(from: &Ground, to: &Ground) {
    copy(&from.dir, &to.dir);
    fs::copy(&from.log, &to.log).unwrap();
}
