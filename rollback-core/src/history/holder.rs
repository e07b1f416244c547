//! [`Holder`]: who runs a deployment in flight, and whether they live.

use serde::{Deserialize, Serialize};

use super::Epoch;
use crate::id::DeploymentId;
use crate::time::Timestamp;

/// Who holds a lease, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// The number of its process, which another one may have later: see `started`.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// When it took the lease, by its engine's clock.
    pub since: Timestamp,
    /// The machine's boot that it runs in, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// When the process was started, in clock ticks since that boot: with `boot` and `pid` it tells
    /// this process from any later one of the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// The namespace that `pid` is of, by its number: in another one `pid` says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<u64>,
    /// For stores whose liveness is a lock file: which file it has locked. Of another file's lock
    /// nothing follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

impl Holder {
    /// This process, which takes a lease now: with all that the system tells of it.
    pub fn this_process(now: Timestamp) -> Self {
        let host = said_by("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".into());
        Self {
            pid: std::process::id(),
            host,
            since: now,
            boot: said_by("/proc/sys/kernel/random/boot_id"),
            started: said_by("/proc/self/stat").as_deref().and_then(started),
            namespace: namespace(),
            lock: None,
        }
    }

    /// Whether the process is surely gone, by what this machine says of it: the lock may be held on
    /// for a moment by a child that it was about to start, or for long by one that inherited it.
    pub fn is_gone(&self) -> bool {
        let here = said_by("/proc/sys/kernel/random/boot_id");
        let (Some(boot), Some(began)) = (&self.boot, self.started) else {
            return false;
        };
        // In another namespace its number is another process's, or nobody's.
        if here.as_ref() != Some(boot) || self.namespace != namespace() {
            return false;
        }
        let stat = said_by(&format!("/proc/{}/stat", self.pid));
        match stat.as_deref() {
            None => std::path::Path::new("/proc/self/stat").exists(),
            Some(stat) => started(stat).is_some_and(|now| now != began) || is_zombie(stat),
        }
    }
}

/// Whether the process has ended, and only waits to be asked how.
fn is_zombie(stat: &str) -> bool {
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    after_name.is_some_and(|rest| rest.starts_with('Z'))
}

fn said_by(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// The 22nd field of `/proc/PID/stat` (proc_pid_stat(5)). The second is the program's name in
/// parentheses, and may itself have blanks and parentheses.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// `pid:[4026531836]`, as namespaces(7) has it.
fn namespace() -> Option<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let number = link.to_str()?.strip_prefix("pid:[")?;
    number.strip_suffix(']')?.parse().ok()
}

/// Whether a holder still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Liveness {
    /// It lives, though it may be stopped: it is never taken over.
    Alive,
    /// It is surely dead: its deployment can be taken over.
    Dead,
}

/// A deployment in flight, as the workload's state shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InFlight {
    /// The deployment that is in flight.
    pub deployment: DeploymentId,
    /// Who runs it.
    pub holder: Holder,
    /// Whether they live.
    pub liveness: Liveness,
    /// The lease's epoch.
    pub epoch: Epoch,
}

impl InFlight {
    /// A deployment, who runs it, and under which epoch of the workload's lease.
    pub fn new(deployment: DeploymentId, holder: Holder, liveness: Liveness, epoch: Epoch) -> Self {
        Self {
            deployment,
            holder,
            liveness,
            epoch,
        }
    }
}
