//! What a killed engine left running.

use std::fs;
use std::time::Duration;

use rollback_core::id::DeploymentId;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// The variable that tells a program, and us, which deployment it runs for.
pub(crate) const DEPLOYMENT: &str = "ROLLBACK_DEPLOYMENT";
/// The variable that tells us which process ran it: `<pid>:<when it began>`.
pub(crate) const ENGINE: &str = "ROLLBACK_ENGINE";
/// The variable that tells us what was run, apart from what that has started.
pub(crate) const PROGRAM: &str = "ROLLBACK_PROGRAM";

const LOOKS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// What a killed process left running cannot be ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "what a dead process left running does not end: process group {group}; look at what it waits \
     for, end it, then try again"
)]
pub struct StillRunning {
    group: i32,
}

/// Ends the programs of this deployment that a dead process left running, with what they started,
/// and waits until they are gone. Gives how many there were.
///
/// Only what was run itself, and still leads the process group that it was given, is not done
/// yet: a program that has ended is left alone with the services it started, and so is everything
/// while the process that ran it lives.
///
/// Only of this user, on this machine, by `/proc`; where there is none, nothing is found.
pub async fn end_leftovers(deployment: &DeploymentId) -> Result<usize, StillRunning> {
    let id = deployment.clone();
    // Off the async threads: a process that is stuck can keep who looks at it.
    let found = tokio::task::spawn_blocking(move || leftovers(&id)).await;
    let found = found.unwrap_or_default();
    for group in &found {
        end(deployment, *group).await?;
    }
    Ok(found.len())
}

async fn end(deployment: &DeploymentId, group: Pid) -> Result<(), StillRunning> {
    let number = group.as_raw_nonzero().get();
    tracing::warn!(%deployment, group = number, "a program of a dead process is ended");
    // Gone already is as good.
    let _ = kill_process_group(group, Signal::KILL);
    for _ in 0..LOOKS {
        if test_kill_process_group(group).is_err() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(StillRunning { group: number })
}

fn leftovers(deployment: &DeploymentId) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| is_leftover(*pid, deployment))
        .collect()
}

/// Whether this was run for the deployment, by a process that is dead, and is not done yet.
fn is_leftover(pid: Pid, deployment: &DeploymentId) -> bool {
    // Another user's process does not show what it was given.
    let Some(environ) = of(pid, "environ") else {
        return false;
    };
    let given = |name: &str| {
        let mut variables = environ.split(|byte| *byte == 0);
        let value = variables.find_map(|v| v.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    };
    given(DEPLOYMENT) == Some(deployment.as_str())
        && given(ENGINE).is_some_and(is_dead)
        && given(PROGRAM).is_some_and(|program| is_run(pid, program))
        && Stat::of(pid).is_some_and(|stat| stat.leads_its_group(pid))
}

/// Whether a process is this program, or the interpreter of this script.
fn is_run(pid: Pid, program: &str) -> bool {
    let name = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
    let program = name(program.as_bytes());
    // Between an interpreter and its script stands one option at most (execve(2)).
    of(pid, "cmdline").is_some_and(|line| {
        let mut words = line.split(|byte| *byte == 0).take(3);
        words.any(|word| name(word) == program)
    })
}

fn of(pid: Pid, file: &str) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok()
}

/// This process, as [`ENGINE`] names it: a number alone may be another's one day.
pub(crate) fn this_process() -> String {
    let pid = rustix::process::getpid();
    let began = Stat::of(pid).map_or(0, |stat| stat.began);
    format!("{}:{began}", pid.as_raw_nonzero())
}

/// Whether the process of that name is dead. What cannot be read has not been written by us.
fn is_dead(engine: &str) -> bool {
    let Some((pid, began)) = engine.split_once(':') else {
        return false;
    };
    let (Ok(pid), Ok(began)) = (pid.parse(), began.parse::<u64>()) else {
        return false;
    };
    Pid::from_raw(pid).is_some_and(|pid| Stat::of(pid).is_none_or(|stat| stat.began != began))
}

/// What the kernel says of a process that has not ended.
struct Stat {
    group: i32,
    session: i32,
    /// In ticks since the machine started.
    began: u64,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let stat = String::from_utf8(of(pid, "stat")?).ok()?;
        // pid (name) state ppid pgrp session … starttime, the 22nd (proc_pid_stat(5)); a name may
        // contain anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |nth: usize| fields.get(nth - 3).copied();
        (!matches!(field(3)?, "Z" | "X")).then_some(Self {
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            began: field(22)?.parse().ok()?,
        })
    }

    /// A service that was started properly leads a session, too.
    fn leads_its_group(&self, pid: Pid) -> bool {
        let pid = pid.as_raw_nonzero().get();
        self.group == pid && self.session != pid
    }
}
