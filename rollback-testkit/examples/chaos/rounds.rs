//! Rounds: several programs at once, killed and stopped and continued at random, then the oracle.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::dice::Dice;
use crate::ground::{Ground, Store};
use crate::ledger::{Ledger, Line};
use crate::oracle::{Breach, Breaches};
use crate::tally::Tally;

/// Rounds on one ground before a new one is made.
const ROUNDS_A_GROUND: u64 = 20;
/// What the oracle may take at most, each of its own limits included.
pub(crate) const ORACLE: Duration = Duration::from_secs(400);

/// What a run is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// How many rounds, cuts, damages.
    pub(crate) rounds: u64,
    /// What the dice begin with.
    pub(crate) seed: u64,
    /// On which store.
    pub(crate) store: Store,
    /// Where; a temporary directory unless given.
    pub(crate) dir: PathBuf,
    /// Whether the ground of a breach is kept.
    pub(crate) keep: bool,
}

/// Plays the rounds.
pub(crate) fn play(asked: &Asked) -> Tally {
    let mut tally = Tally::new("kill", asked);
    let mut ground: Option<(Ground, tempfile::TempDir)> = None;
    for round in 0..asked.rounds {
        let mut dice = Dice::of(asked.seed, round);
        if round % ROUNDS_A_GROUND == 0 {
            ground = None;
        }
        let (ground_now, _) = ground.get_or_insert_with(|| new_ground(asked));
        let breaches = one(ground_now, &mut dice, &mut tally);
        let broken = !breaches.0.is_empty();
        tally.round(round, breaches);
        if broken && let Some((ground, dir)) = ground.take() {
            leave(asked, &ground, dir, round);
        }
    }
    tally
}

/// Keeps the ground of a breach if that was asked for.
pub(crate) fn leave(asked: &Asked, ground: &Ground, dir: tempfile::TempDir, round: u64) {
    if asked.keep {
        println!("round {round} is kept in {}", ground.dir.display());
        let _ = dir.keep();
    }
}

/// A ground of its own, on which every workload has something healthy live.
pub(crate) fn new_ground(asked: &Asked) -> (Ground, tempfile::TempDir) {
    let dir = tempfile::Builder::new()
        .prefix("rollback-chaos-")
        .tempdir_in(&asked.dir)
        .unwrap();
    let ground = Ground {
        dir: dir.path().join("ground"),
        log: dir.path().join("log"),
        store: asked.store,
    };
    prepare(&ground);
    (ground, dir)
}

/// Makes it, and lets the oracle deploy to it.
pub(crate) fn prepare(ground: &Ground) {
    ground.make().unwrap();
    let breaches = run(ground, "oracle", &["0"], ORACLE);
    assert!(breaches.0.is_empty(), "a new ground: {breaches:?}");
}

/// Who else works in the repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repositories {
    /// Their owner packs references meanwhile.
    Shared,
    /// Nobody: what git itself would leave after a power cut is not ours.
    Ours,
}

/// One program, as the round knows it.
struct Program {
    child: Child,
    stopped: bool,
}

impl Program {
    fn start(ground: &Ground, whose: Repositories, seed: u64, lasts: Duration) -> Self {
        let (seed, lasts) = (seed.to_string(), lasts.as_millis().to_string());
        let role = match whose {
            Repositories::Shared => "worker-beside-an-owner",
            Repositories::Ours => "worker",
        };
        let child = command(ground, role, &[&seed, &lasts])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            stopped: false,
        }
    }

    fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // One that has ended by itself is a zombie until it is waited for: the number is still its.
        let _ = kill_process(pid.unwrap(), signal);
        self.stopped = signal == Signal::STOP;
    }

    /// Kills it and waits for its end.
    fn end(mut self, ledger: &Ledger) {
        let by = u64::from(self.child.id());
        self.signal(Signal::KILL);
        let status = self.child.wait().unwrap();
        if !is_fine(status) {
            ledger.wrong("a program ended badly", status);
        }
        ledger.add(&Line::Dead { by });
    }
}

fn is_fine(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.success() || status.signal() == Some(Signal::KILL.as_raw())
}

fn one(ground: &Ground, dice: &mut Dice, tally: &mut Tally) -> Breaches {
    let most = Duration::from_millis(600);
    shake(ground, dice, tally, Repositories::Shared, most, || {});
    let seed = dice.throw().to_string();
    run(ground, "oracle", &[&seed], ORACLE)
}

/// Runs programs and does things to them for at most so long; `last` while they still run.
pub(crate) fn shake(
    ground: &Ground,
    dice: &mut Dice,
    tally: &mut Tally,
    whose: Repositories,
    most: Duration,
    last: impl FnOnce(),
) {
    let ledger = Ledger::open(&ground.log).unwrap();
    let most = u64::try_from(most.as_millis()).unwrap();
    let lasts = Duration::from_millis(dice.between(most / 4, most));
    let began = Instant::now();
    let mut programs: Vec<Program> = (0..dice.between(2, 4))
        .map(|_| Program::start(ground, whose, dice.throw(), lasts * 2))
        .collect();
    while began.elapsed() < lasts {
        std::thread::sleep(Duration::from_millis(dice.between(1, 60)));
        let nth = usize::try_from(dice.below(programs.len() as u64)).unwrap();
        match dice.below(10) {
            0..6 => {
                programs.swap_remove(nth).end(&ledger);
                tally.kills += 1;
                let left = (lasts * 2).saturating_sub(began.elapsed());
                programs.push(Program::start(ground, whose, dice.throw(), left));
            }
            6..8 if !programs[nth].stopped => {
                programs[nth].signal(Signal::STOP);
                tally.stops += 1;
            }
            _ => programs[nth].signal(Signal::CONT),
        }
    }
    last();
    for program in programs {
        tally.kills += 1;
        program.end(&ledger);
    }
}

/// This program, started again as something else.
pub(crate) fn command(ground: &Ground, role: &str, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg(role)
        .arg(&ground.dir)
        .arg(&ground.log)
        .arg(ground.store.as_str())
        .args(args)
        .stdin(Stdio::null());
    command
}

/// Runs a fresh process to its end, and reads its breaches. One that does not end, or does not end
/// well, is a breach.
pub(crate) fn run(ground: &Ground, role: &str, args: &[&str], patience: Duration) -> Breaches {
    let out = tempfile::NamedTempFile::new_in(ground.log.parent().unwrap()).unwrap();
    let mut child = command(ground, role, args)
        .stdout(out.reopen().unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if began.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut breaches = Breaches::default();
    for line in fs::read_to_string(out.path()).unwrap().lines() {
        if let Ok((class, what)) = serde_json::from_str(line) {
            breaches.0.push(Breach { class, what });
        }
    }
    if !status.is_some_and(|s| s.success()) {
        breaches.add(
            &format!("the {role} did not end well"),
            format!("{status:?}"),
        );
    }
    breaches
}
