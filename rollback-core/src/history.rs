//! [`HistoryStore`]: where every deployment and each workload's state are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use crate::deployment::Annotation;
use crate::deployment::{
    Deployment, LiveRecord, NewDeployment, Outcome, Phase, Settlement, TriggerKind,
};
use crate::error::StoreError;
use crate::event::TimedEvent;
use crate::id::{Actor, BackendKind, DeploymentId, ServiceName, ShortText, TargetName, WorkloadId};
use crate::policy::Policy;
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

/// The version of a workload's state: grows with every `begin`, `finish`, `set_hold` and
/// `set_policy`. 0 for a workload the store has never seen.
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
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// Since when.
    pub since: Timestamp,
}

impl Holder {
    /// This process.
    pub fn this_process(now: Timestamp) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|s| s.trim().to_owned())
            .unwrap_or_else(|_| "unknown".into());
        Self {
            pid: std::process::id(),
            host,
            since: now,
        }
    }
}

/// Whether a holder still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// It lives, though it may be stopped: it is never taken over.
    Alive,
    /// It is surely dead: its deployment can be taken over.
    Dead,
}

/// Who is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
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
pub struct Lease {
    workload: WorkloadId,
    deployment: DeploymentId,
    epoch: Epoch,
    guard: Box<dyn Send + Sync>,
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
            guard: Box::new(guard),
        }
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

    /// For stores: the same lease, now for the successor that `finish` opened.
    #[must_use]
    pub fn pass_on(self, deployment: DeploymentId) -> Self {
        Self { deployment, ..self }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = &self.guard;
        f.debug_struct("Lease")
            .field("workload", &self.workload)
            .field("deployment", &self.deployment)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// What `begin` gives.
#[derive(Debug)]
pub struct Begun {
    /// The right to go on.
    pub lease: Lease,
    /// The deployment's place in the order.
    pub sequence: Sequence,
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
    Open(Box<NewDeployment>),
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
pub struct Renewal {
    /// Who asked for the deployment to stop, if anybody has.
    pub cancel_requested_by: Option<Actor>,
}

/// A deployment in flight, as the workload's state shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Which.
    pub deployment: DeploymentId,
    /// Who runs it.
    pub holder: Holder,
    /// Whether they live.
    pub liveness: Liveness,
    /// The lease's epoch.
    pub epoch: Epoch,
}

/// A person's request to let nothing but rollbacks through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub by: Actor,
    /// Why.
    pub why: ShortText,
    /// Since when.
    pub since: Timestamp,
}

/// What is true of one workload now: the store's only commit point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadState {
    /// Which.
    pub workload: WorkloadId,
    /// Grows with every change.
    pub version: Version,
    /// What is live.
    pub live: LiveRecord,
    /// The deployment in flight.
    pub in_flight: Option<InFlight>,
    /// Whether deploys are held.
    pub hold: Option<Hold>,
    /// The durable policy, where one was set.
    pub policy: Option<Policy>,
}

impl WorkloadState {
    /// The state of a workload that the store has never seen.
    pub fn unseen(workload: WorkloadId) -> Self {
        Self {
            workload,
            version: Version(0),
            live: LiveRecord::Nothing,
            in_flight: None,
            hold: None,
            policy: None,
        }
    }
}

/// Which records to list. Start from [`Query::default`]: the newest 50 of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Of this service.
    pub service: Option<ServiceName>,
    /// On this target.
    pub target: Option<TargetName>,
    /// By this backend.
    pub backend: Option<BackendKind>,
    /// Ended like this.
    pub outcome: Option<Outcome>,
    /// Set off by this.
    pub trigger: Option<TriggerKind>,
    /// By this person or component (their name alone).
    pub actor: Option<ShortText>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// Opened at or after this.
    pub since: Option<Timestamp>,
    /// Opened before this.
    pub until: Option<Timestamp>,
    /// Older than this: the key of the next page.
    pub before: Option<Sequence>,
    /// At most so many, 1 to 1,000.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            service: None,
            target: None,
            backend: None,
            outcome: None,
            trigger: None,
            actor: None,
            label: None,
            since: None,
            until: None,
            before: None,
            limit: 50,
        }
    }
}

impl Query {
    /// Everything of one workload, newest 50.
    pub fn workload(workload: &WorkloadId) -> Self {
        Self {
            service: Some(workload.service().clone()),
            target: Some(workload.target().clone()),
            ..Self::default()
        }
    }

    /// The same with another page size.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether a record is meant, page and limit aside. Stores that filter by other means agree
    /// with this.
    pub fn matches(&self, d: &Deployment) -> bool {
        let new = d.new_deployment();
        self.service
            .as_ref()
            .is_none_or(|s| s == d.workload().service())
            && self
                .target
                .as_ref()
                .is_none_or(|t| t == d.workload().target())
            && self
                .backend
                .as_ref()
                .is_none_or(|b| new.backend() == Some(b))
            && self.outcome.is_none_or(|o| d.outcome() == Some(o))
            && self.trigger.is_none_or(|t| d.trigger().kind() == t)
            && self.actor.as_ref().is_none_or(|a| a == d.actor().name())
            && self
                .label
                .as_ref()
                .is_none_or(|(k, v)| new.labels.get(k) == Some(v))
            && self.since.is_none_or(|t| new.opened_at >= t)
            && self.until.is_none_or(|t| new.opened_at < t)
    }
}

/// Records, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub deployments: Vec<Deployment>,
    /// `before` of the next page; `None` at the end.
    pub next: Option<Sequence>,
    /// Records that could not be read: id or sequence, and why. Never fatal to the rest.
    pub unreadable: Vec<String>,
}

/// Counts over a span of history. Deployments in flight are not counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Settled deployments, adoptions and imports left out.
    pub total: u64,
    /// How many ended how.
    pub by_outcome: BTreeMap<String, u64>,
    /// Rollbacks, by hand and automatic.
    pub rollbacks: u64,
    /// Mean duration in milliseconds.
    pub mean_ms: Option<f64>,
    /// The duration in milliseconds that 95 % did not exceed (nearest rank).
    pub p95_ms: Option<u64>,
    /// The newest failures, at most 5, newest first.
    pub recent_failures: Vec<DeploymentId>,
}

impl Stats {
    /// Succeeded of total, 0 to 1; `None` when there is nothing to count.
    #[allow(clippy::cast_precision_loss)]
    pub fn success_rate(&self) -> Option<f64> {
        let succeeded = self.by_outcome.get("succeeded").copied().unwrap_or(0);
        (self.total > 0).then(|| succeeded as f64 / self.total as f64)
    }

    /// The counts over these records: what every store's own aggregation must equal. `records`
    /// newest first.
    #[allow(clippy::cast_precision_loss)]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Deployment>) -> Self {
        let mut stats = Self::default();
        let mut durations = Vec::new();
        for d in records {
            let (Some(outcome), Some(took)) = (d.outcome(), d.duration()) else {
                continue;
            };
            let kind = d.trigger().kind();
            if matches!(kind, TriggerKind::Adopt | TriggerKind::Import) {
                continue;
            }
            stats.total += 1;
            *stats
                .by_outcome
                .entry(outcome.as_str().to_owned())
                .or_default() += 1;
            if matches!(kind, TriggerKind::Rollback | TriggerKind::AutomaticRollback) {
                stats.rollbacks += 1;
            }
            if outcome != Outcome::Succeeded && stats.recent_failures.len() < 5 {
                stats.recent_failures.push(d.id().clone());
            }
            durations.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
        if !durations.is_empty() {
            durations.sort_unstable();
            let sum: u128 = durations.iter().map(|d| u128::from(*d)).sum();
            stats.mean_ms = Some(sum as f64 / durations.len() as f64);
            let rank = (durations.len() * 95).div_ceil(100).max(1);
            stats.p95_ms = durations.get(rank - 1).copied();
        }
        stats
    }
}

/// While it lives, no deployment of its workload begins.
#[must_use = "dropping it lets deployments begin again"]
pub struct Exclusion {
    guard: Box<dyn Send + Sync>,
}

impl Exclusion {
    /// For stores: lasts until `guard` is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self {
            guard: Box::new(guard),
        }
    }
}

impl fmt::Debug for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = &self.guard;
        f.debug_struct("Exclusion").finish_non_exhaustive()
    }
}

/// Something wrong with what a store has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where: a record's id, a file, a table.
    pub place: String,
    /// What is wrong, and what it means.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Where deployments and workload states are kept.
///
/// # What an implementor promises
///
/// - **Durable before it returns**: once `begin`, `append`, `finish`, `set_hold`, `set_policy`,
///   `annotate` or `request_cancel` has said `Ok`, no crash or power cut takes it back.
/// - **Atomic**: each is done or not done. After an error, nothing was changed, except that a
///   failed commit may turn out to be durable after all; repeating `append` or `finish` of the
///   *same* value with the same lease then succeeds and stores nothing twice.
/// - **Fenced**: `append`, `renew` and `finish` refuse a lease whose epoch is over
///   ([`StoreErrorKind::Fenced`](crate::error::StoreErrorKind::Fenced)).
/// - **Checked**: an event that [`Deployment::allows`] refuses is refused.
/// - A holder's death is judged by proof, never by age alone (embedded stores: a kernel lock).
/// - One unreadable record hides no other.
///
/// The conformance suite in `rollback-testkit` holds an implementation to this.
#[async_trait]
pub trait HistoryStore: fmt::Debug + Send + Sync {
    /// Opens a deployment and takes the lease, if the workload's state still has this version.
    /// Fails with `Conflict` while another deployment is in flight, its holder dead or alive;
    /// with `Stale` if the version moved.
    async fn begin(
        &self,
        new: &NewDeployment,
        holder: &Holder,
        expected: Version,
    ) -> Result<Begun, StoreError>;

    /// Adds an event. Not for `Settled` and `RolledBackBy`, which `finish` writes.
    async fn append(&self, lease: &Lease, event: &TimedEvent) -> Result<(), StoreError>;

    /// Settles the deployment, states what is live, and frees the lease or opens the successor.
    /// The successor's timeline begins at the settlement's instant.
    ///
    /// On error the lease comes back, so that the caller can try again.
    async fn finish(
        &self,
        lease: Lease,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Finished, (Lease, StoreError)>;

    /// Confirms that the lease still holds, and says whether somebody asked to stop.
    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError>;

    /// Takes the lease of a dead holder. `Conflict` if it lives (or another process was
    /// quicker), `NotFound` if nothing is in flight.
    async fn take_over(&self, workload: &WorkloadId, holder: &Holder) -> Result<Lease, StoreError>;

    /// Asks for a deployment to stop. `NotFound` if it is not in flight.
    async fn request_cancel(&self, id: &DeploymentId, by: &Actor) -> Result<(), StoreError>;

    /// The state of one workload; [`WorkloadState::unseen`] if the store does not know it.
    async fn workload(&self, workload: &WorkloadId) -> Result<WorkloadState, StoreError>;

    /// The states of all workloads, by id.
    async fn workloads(&self) -> Result<Vec<WorkloadState>, StoreError>;

    /// Sets or lifts a hold.
    async fn set_hold(&self, workload: &WorkloadId, hold: Option<&Hold>) -> Result<(), StoreError>;

    /// Sets or clears the durable policy.
    async fn set_policy(
        &self,
        workload: &WorkloadId,
        policy: Option<&Policy>,
    ) -> Result<(), StoreError>;

    /// One record; `None` if there is none of that id.
    async fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError>;

    /// Records, newest first by sequence.
    async fn list(&self, query: &Query) -> Result<Page, StoreError>;

    /// Counts over what the query means (its page and limit do not matter), as [`Stats::of`]
    /// would count.
    async fn stats(&self, query: &Query) -> Result<Stats, StoreError>;

    /// Adds to a record.
    async fn annotate(&self, id: &DeploymentId, what: &Annotation) -> Result<(), StoreError>;

    /// Removes records for good; unknown ids are passed over. Refuses (`Conflict`, nothing
    /// removed) if one of them is live, in flight or pinned.
    async fn forget(&self, ids: &[DeploymentId]) -> Result<u64, StoreError>;

    /// Keeps deployments of a workload from beginning until the exclusion is dropped (or its
    /// process dies): for upkeep that must not meet one. `Conflict` while one is in flight, its
    /// holder dead or alive; `Busy` while somebody else excludes, which is also what `begin` and
    /// a second `exclude` say after a few seconds' patience.
    async fn exclude(&self, workload: &WorkloadId) -> Result<Exclusion, StoreError>;

    /// Reads everything and says what is wrong with it; empty when all is well. Changes nothing.
    /// Fails only if the store as a whole cannot be read.
    async fn verify(&self) -> Result<Vec<Fault>, StoreError>;
}
