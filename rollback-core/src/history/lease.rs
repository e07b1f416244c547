//! Leases: who may write a workload's history, and what they get and give back.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{InFlight, Keep, Trust};
use crate::deployment::{Opening, Phase};
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::time::Timestamp;

/// A deployment's place in the store's own order: given by `begin`, unique, growing. The only
/// order there is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a workload's state: grows with every `begin`, `finish`, `amend` and
/// `abandon`. 0 for a workload the store has never seen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Version(pub u64);

/// How often a workload's lease has changed hands. Every write carries it; an old one is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Who holds a lease, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// Since when.
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
    /// This process.
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
}

impl Holder {
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

/// Who is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The workload.
    pub workload: WorkloadId,
    /// The deployment in flight.
    pub deployment: DeploymentId,
    /// Who runs it.
    pub holder: Holder,
    /// Whether they live.
    pub liveness: Liveness,
    /// How far it is.
    pub phase: Phase,
    /// How long it has been running.
    pub age: Duration,
}

impl Conflict {
    /// What is in flight on a workload now, and how far it is.
    pub fn new(workload: WorkloadId, in_flight: &InFlight, phase: Phase, now: Timestamp) -> Self {
        Self {
            workload,
            deployment: in_flight.deployment.clone(),
            holder: in_flight.holder.clone(),
            liveness: in_flight.liveness,
            phase,
            age: now.since(in_flight.holder.since),
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is busy: {} is {} since {} s, held by process {} on {}",
            self.workload,
            self.deployment,
            self.phase,
            self.age.as_secs(),
            self.holder.pid,
            self.holder.host,
        )?;
        match self.liveness {
            Liveness::Alive => f.write_str("; wait for it, or cancel it"),
            Liveness::Dead => f.write_str(", which is dead; run recover"),
        }
    }
}

/// The right to write one workload's history. Dropping it drops the liveness lock, so that a
/// run that panicked or gave up can be recovered.
#[derive(Debug)]
pub struct Lease {
    workload: WorkloadId,
    deployment: DeploymentId,
    epoch: Epoch,
    trust: Trust,
    /// Empty once it is over; shared by those it was passed on to.
    guard: Arc<Mutex<Option<Keep>>>,
}

impl Lease {
    /// For stores: a lease whose holder counts as alive until `guard` is dropped.
    pub fn new(
        workload: WorkloadId,
        deployment: DeploymentId,
        epoch: Epoch,
        guard: impl Send + Sync + 'static,
    ) -> Self {
        Self {
            workload,
            deployment,
            epoch,
            trust: Trust::WhileHeld,
            guard: Arc::new(Mutex::new(Some(Keep::new(guard)))),
        }
    }

    /// For stores that see no holder die: the same, held for `span` from now without being renewed.
    #[must_use]
    pub fn trusted_for(mut self, span: Duration) -> Self {
        self.trust = Trust::For(span);
        self
    }

    /// For how long it was given.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The workload.
    pub fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    /// The deployment in flight.
    pub fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What keeps the lease's holder alive; `None` once it has [ended](Self::end).
    pub fn keep(&self) -> Option<Keep> {
        self.guard().clone()
    }

    /// For stores: the same lease, for the successor that `finish` opened. They share the guard: who
    /// holds either is alive, and the end of one is the other's.
    #[must_use]
    pub fn pass_on(&self, deployment: DeploymentId) -> Self {
        Self {
            workload: self.workload.clone(),
            deployment,
            epoch: self.epoch,
            trust: self.trust,
            guard: Arc::clone(&self.guard),
        }
    }

    /// The same by name alone, to be renewed: it keeps nobody alive.
    pub(crate) fn unguarded(&self) -> Self {
        Self {
            workload: self.workload.clone(),
            deployment: self.deployment.clone(),
            epoch: self.epoch,
            trust: self.trust,
            guard: Arc::default(),
        }
    }

    /// For stores: gives the guard up before the lease is dropped, once `finish` has freed it, so
    /// that whoever reacts to the settlement at once finds the workload free. What
    /// [keeps](Self::keep) it still does.
    pub fn end(&self) {
        let guard = self.guard().take();
        // Outside of the lock: what it frees is somebody else's code.
        drop(guard);
    }

    fn guard(&self) -> MutexGuard<'_, Option<Keep>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `begin` gives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Begun {
    /// The right to go on.
    pub lease: Lease,
    /// The deployment's place in the order.
    pub sequence: Sequence,
}

impl Begun {
    /// For stores: a deployment was opened at this place in the order.
    pub fn new(lease: Lease, sequence: Sequence) -> Self {
        Self { lease, sequence }
    }
}

/// What follows a settlement, in the same atomic step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The lease is freed.
    Release,
    /// The lease is freed, and this deployment, which failed, gets
    /// [`Event::RolledBackBy`](crate::event::Event::RolledBackBy) with the settled one's id.
    ReleaseAndAmend(DeploymentId),
    /// The successor is opened under the same lease.
    Open(Box<Opening>),
}

/// What `finish` leaves.
#[derive(Debug)]
pub enum Finished {
    /// The lease is free.
    Released,
    /// The successor is open.
    Opened(Begun),
}

/// What `renew` says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renewal {
    /// For how long the lease holds, counted from this renewal.
    pub trust: Trust,
    /// Who asked for the deployment to stop, if anybody has.
    pub cancel_requested_by: Option<Actor>,
}

impl Renewal {
    /// For stores: the lease holds, for so long.
    pub fn new(trust: Trust, cancel_requested_by: Option<Actor>) -> Self {
        Self {
            trust,
            cancel_requested_by,
        }
    }
}
