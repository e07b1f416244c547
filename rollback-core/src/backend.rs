//! [`Backend`]: the eight verbs through which the engine acts on a platform.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::BackendError;
use crate::health::View;
use crate::history::{Fence, Sequence};
use crate::id::{BackendKind, DeploymentId, WorkloadId};
use crate::release::{Release, Restore};

/// The backend's own name for a release as it stands at the target: a container id, a release
/// directory, a unit set. Opaque to everyone else, and free of secrets: it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(String);

impl Handle {
    /// A handle; the text is the backend's to read.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A release as it stands at the target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// What it is.
    pub release: Release,
    /// Where the backend finds it.
    pub handle: Handle,
}

/// One end of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Nothing runs there: before a first deployment, or after one was undone.
    Nothing,
    /// A release that `prepare` has yet to place at the target.
    Planned(Release),
    /// A release that stands at the target.
    Placed(Instance),
}

impl End {
    /// The instance, where there is one.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Placed(instance) => Some(instance),
            _ => None,
        }
    }

    /// The release, placed or planned.
    pub fn release(&self) -> Option<&Release> {
        match self {
            Self::Nothing => None,
            Self::Planned(release) => Some(release),
            Self::Placed(instance) => Some(&instance.release),
        }
    }
}

/// What a deployment does at the target: from one end to the other. Durable before it is used,
/// and invertible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The deployment that does it. Backends stamp what they create with it, so that what a
    /// crashed `prepare` left behind can be found.
    pub deployment: DeploymentId,
    /// That deployment's place in the store's order; unique per store.
    pub sequence: Sequence,
    /// The workload.
    pub workload: WorkloadId,
    /// What was live.
    pub from: End,
    /// What will be.
    pub to: End,
    /// Whether `prepare` may take what was kept.
    pub reuse: Reuse,
}

/// Whether `prepare` may take a standby, or whatever else was kept of an older deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reuse {
    /// It may: what stands by is the fastest and most faithful way.
    #[default]
    Kept,
    /// It may take only what this very deployment has made: a redeploy is placed anew, and so is a
    /// deploy with release tasks, which must not have touched what others made when one fails.
    Never,
}

impl Reuse {
    /// Whether this is the default.
    pub(crate) fn is_kept(&self) -> bool {
        *self == Self::Kept
    }
}

impl Operation {
    /// Whether both ends are one instance: what is live is deployed again, where it is.
    pub fn is_in_place(&self) -> bool {
        let (from, to) = (self.from.instance(), self.to.instance());
        from.zip(to)
            .is_some_and(|(from, to)| from.handle == to.handle)
    }

    /// The operation that undoes this one.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            ..self.clone()
        }
    }
}

/// How a backend brings `to` up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rollout {
    /// Stop one, start the other, inside `switch`.
    Replace,
    /// Both can run; `start` brings `to` up without traffic, `switch` moves the traffic.
    Beside,
    /// The platform rolls it out by itself within `switch`.
    Managed,
}

/// How faithfully what is live now can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WayBack {
    /// Exactly as it is.
    Exact,
    /// With these losses.
    Lossy(Vec<String>),
    /// Not at all, and why.
    None(String),
}

/// What `prepare` made ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// How it will be brought up.
    pub rollout: Rollout,
    /// The operation's `to`, now placed.
    pub to: Instance,
    /// How the operation's `from` can be brought back; proven, not hoped.
    pub way_back: WayBack,
}

/// Proof of what a switch did: names to values such as `invocation_id`, `container`, `pid`,
/// `started_at`. Recorded; no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(pub BTreeMap<String, String>);

impl Evidence {
    /// Adds one piece.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }
}

/// What the platform shows of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The instance, its release as the *platform* shows it now: drift is the difference
    /// between this and what was recorded.
    pub instance: Instance,
    /// Whether it runs, as far as the platform tells.
    pub running: Running,
    /// Running evidence, of the same kind as `switch` returns.
    pub evidence: Evidence,
    /// How faithfully this instance could be brought back after another one replaced it.
    pub way_back: WayBack,
}

/// Whether an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Running {
    /// It runs.
    Yes,
    /// It does not, and what the platform says of it.
    No(String),
    /// The backend manages no process.
    NotApplicable,
}

/// What is live at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Live {
    /// Nothing.
    Nothing,
    /// One instance.
    One(Sighting),
    /// Several, or a half-made one, and what is wrong.
    Mixed(Vec<Sighting>, String),
}

/// How near a release is to being live again; best first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Availability {
    /// It stands at the target: no fetch, no build.
    Standby,
    /// Its artifact is at the target.
    Local,
    /// Its artifact has to be fetched.
    Remote,
    /// It cannot be had, and why.
    Gone(String),
}

/// What a backend sees: no judgement, no side effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// What is live.
    pub live: Live,
    /// Instances kept as a way back.
    pub standbys: Vec<Instance>,
    /// For each candidate asked about, in the same order, how near it is.
    pub availability: Vec<Availability>,
    /// The newest fencing token that is kept at the target, if any is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Fence>,
}

impl Observation {
    /// The one live instance, if there is exactly one.
    pub fn live_instance(&self) -> Option<&Instance> {
        match &self.live {
            Live::One(sighting) => Some(&sighting.instance),
            _ => None,
        }
    }

    /// What the platform shows of this instance, if exactly it is live.
    pub fn sighting_of(&self, instance: &Instance) -> Option<&Sighting> {
        match &self.live {
            Live::One(sighting) if sighting.instance.handle == instance.handle => Some(sighting),
            _ => None,
        }
    }

    /// Whether exactly this instance is live.
    pub fn shows(&self, instance: &Instance) -> bool {
        self.live_instance()
            .is_some_and(|live| live.handle == instance.handle)
    }
}

/// A platform that can make releases live. One backend value serves one workload.
///
/// # What an implementor promises
///
/// - **Idempotent and convergent.** Every verb may be called again after success, after failure
///   and after a crash at any instant inside it, and ends in the same state.
/// - **`prepare` never touches what is live**, and everything that can fail, fails there.
/// - **`observe` has no side effect** and never decides.
/// - **After an error**, [`BackendError::impact`] is `Untouched` only if that is certain.
/// - **Cancellation and deadline** in [`Context`] are honoured between steps, and no work goes on
///   in the background after the future has resolved. The engine never drops a verb's future
///   half-way; it signals and waits.
/// - **An effect never outlives its lease**: what may act on after its future was dropped (a
///   blocking closure) owns a clone of the [`Context`] until it has ended.
/// - **Fenced**: what publishes (`switch`, `retire` where it stops anything) keeps
///   [`Context::fence`] at the target, in one step with what it does, and first asks
///   [`Context::may_publish`].
/// - **What it does not know it leaves**: no verb stops, moves or deletes anything but the ends of the
///   operation, what its own deployment made, and what an earlier deployment of the same history
///   (a smaller [`Operation::sequence`]) left. What somebody else, or a later deployment, has put in
///   place stays.
/// - **No secret** in a release, handle, evidence, progress line or error.
///
/// # What the engine promises
///
/// - Order: `prepare → [start → gate] → switch → gate → retire`. Going back: `retire` of the
///   reversed operation before `switch`; `switch` then `retire` of it afterwards.
/// - One operation at a time per workload; the lease is checked right before each effect.
///
/// The conformance suite in `rollback-testkit` holds an implementation to this.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// The backend's name in records.
    fn kind(&self) -> BackendKind;

    /// What a rollback restores on this platform unless asked otherwise.
    fn default_restore(&self) -> Restore;

    /// Resolves a reference (tag, branch, unit source) to a release, once. Changes nothing.
    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError>;

    /// Says what is live, what stands by, and how near each candidate is. An instance with an
    /// unknown place is asked about as [`End::Planned`].
    async fn observe(&self, cx: &Context, candidates: &[End]) -> Result<Observation, BackendError>;

    /// Does everything that can fail without touching what is live. `op.to` is `Planned`, or
    /// `Placed` when history knows an instance that may still stand there: reuse it if it does
    /// and is intact, place the release anew if not. A release with an intact standby of the
    /// same digest is reused as well.
    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError>;

    /// [`Rollout::Beside`] only: `op.to` runs, without traffic. Others succeed and do nothing.
    async fn start(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError>;

    /// `op.to` becomes live, restarts included. To `Nothing`: nothing is live afterwards.
    /// Called again when `op.to` already is live by this deployment's doing, it does not
    /// restart it.
    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError>;

    /// Only `op.to` runs; `op.from` is kept as standby. What this deployment created and never
    /// made live (half-made included, so `op.from` may be `Planned`) is removed.
    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError>;

    /// The platform's own view of `op.to`, looked at once: what has to run for a while is
    /// [`View::NotYet`] until it has, counted from its own start.
    async fn health(&self, cx: &Context, op: &Operation) -> Result<View, BackendError>;

    /// What is live as today's configuration would have it: `live`'s artifact with the facets that
    /// the program has configured *now*, which need not be those that are live. What the
    /// configuration says nothing about is as it is in `live`. `None`: this backend is configured
    /// by its references alone, and what is live is today's configuration.
    async fn configured(
        &self,
        cx: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError>;

    /// Keeps exactly these instances' releases and what is live reachable; what this backend
    /// made beyond them may go. Never removes what it did not make.
    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError>;
}
