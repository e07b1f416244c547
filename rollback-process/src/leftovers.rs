//! What a killed engine left running.

use std::fs;
use std::time::Duration;

use rollback_core::id::DeploymentId;
use rustix::process::{Pid, Signal, kill_process_group};

/// The variable that tells a program, and us, which deployment it runs for.
pub(crate) const DEPLOYMENT: &str = "ROLLBACK_DEPLOYMENT";
/// The variable that tells us which process ran it.
pub(crate) const ENGINE: &str = "ROLLBACK_ENGINE_PID";

const LOOKS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Ends the programs of this deployment that a dead process left running, with what they started,
/// and waits until they are gone. Gives how many there were.
///
/// That a process is dead is proven by its program's having another parent. A program that has
/// ended is left alone with the services it started: only who still leads the process group that
/// it was given is not done yet. Services that lead a session of their own are no leftovers.
///
/// Only of this user, on this machine, by `/proc`; where there is none, nothing is found.
pub async fn end_leftovers(deployment: &DeploymentId) -> usize {
    let mut ended = 0;
    for group in leftovers(deployment) {
        tracing::warn!(%deployment, group = group.as_raw_nonzero(), "a program of a dead process is ended");
        // Gone already is as good.
        let _ = kill_process_group(group, Signal::KILL);
        for _ in 0..LOOKS {
            if !leads_its_group(group) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        ended += 1;
    }
    ended
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

/// Whether this was run for the deployment, by a process that is its parent no more, and is not
/// done yet.
fn is_leftover(pid: Pid, deployment: &DeploymentId) -> bool {
    // Another user's process does not show what it was given.
    let Ok(environ) = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else {
        return false;
    };
    let given = |name: &str| {
        let mut variables = environ.split(|byte| *byte == 0);
        let value = variables.find_map(|v| v.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    };
    given(DEPLOYMENT) == Some(deployment.as_str())
        && Stat::of(pid).is_some_and(|stat| {
            let engine = given(ENGINE).and_then(|pid| pid.parse().ok());
            stat.leads_its_group(pid) && engine.is_some_and(|engine: i32| engine != stat.parent)
        })
}

fn leads_its_group(pid: Pid) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.leads_its_group(pid))
}

/// What the kernel says of a process that has not ended.
struct Stat {
    parent: i32,
    group: i32,
    session: i32,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // pid (name) state ppid pgrp session … (proc_pid_stat(5)); a name may contain anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        let mut number = || fields.next()?.parse().ok();
        (!matches!(state, "Z" | "X")).then_some(())?;
        Some(Self {
            parent: number()?,
            group: number()?,
            session: number()?,
        })
    }

    /// A service that was started properly leads a session, too.
    fn leads_its_group(&self, pid: Pid) -> bool {
        let pid = pid.as_raw_nonzero().get();
        self.group == pid && self.session != pid
    }
}
