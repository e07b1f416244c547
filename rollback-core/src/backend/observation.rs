//! What a backend sees at the target.

use serde::{Deserialize, Serialize};

use super::operation::Instance;
use super::prepared::{Evidence, WayBack};
use crate::context::RolloutProgress;
use crate::history::Fence;

/// What the platform shows of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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

impl Sighting {
    /// An instance, and whether it runs: without evidence, and with an exact way back.
    pub fn new(instance: Instance, running: Running) -> Self {
        Self {
            instance,
            running,
            evidence: Evidence::default(),
            way_back: WayBack::Exact,
        }
    }

    /// The same with this running evidence.
    #[must_use]
    pub fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }

    /// The same with this way back.
    #[must_use]
    pub fn way_back(mut self, way_back: WayBack) -> Self {
        self.way_back = way_back;
        self
    }
}

/// Whether an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Running {
    /// Its process runs, which says nothing of its health.
    Yes,
    /// It does not, and what the platform says of it.
    No(String),
    /// The backend manages no process.
    NotApplicable,
}

/// What is live at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Live {
    /// The target is empty, which is certain: a platform that does not answer is an error.
    Nothing,
    /// One instance, whole, whoever put it there.
    One(Sighting),
    /// Several, or a half-made one, and what is wrong.
    Mixed(Vec<Sighting>, String),
    /// One, which the platform brings up by itself in place of another, and has not yet.
    RollingOut(Box<RollingOut>),
}

/// What the platform rolls out by itself ([`Rollout::Managed`](super::Rollout::Managed)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RollingOut {
    /// What it will be: what was asked of the platform last, by whomever.
    pub to: Sighting,
    /// What it takes the place of, where that is known.
    pub from: Option<Instance>,
    /// How far it is.
    pub progress: RolloutProgress,
}

impl RollingOut {
    /// `to` is being brought up.
    pub fn new(to: Sighting, from: Option<Instance>, progress: RolloutProgress) -> Self {
        Self { to, from, progress }
    }
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
#[non_exhaustive]
pub struct Observation {
    /// What is live.
    pub live: Live,
    /// The newest fencing token that is kept at the target, if any is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Fence>,
}

impl Observation {
    /// What is live, and the newest fencing token that is kept at the target.
    pub fn new(live: Live, published: Option<Fence>) -> Self {
        Self { live, published }
    }

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

    /// What is live, or will be when the platform has rolled it out, if that is one instance.
    pub fn heading(&self) -> Option<&Sighting> {
        match &self.live {
            Live::One(sighting) => Some(sighting),
            Live::RollingOut(rolling) => Some(&rolling.to),
            _ => None,
        }
    }

    /// Whether exactly this instance is live, or is being rolled out.
    pub fn leads_to(&self, instance: &Instance) -> bool {
        let heading = self.heading();
        heading.is_some_and(|s| s.instance.handle == instance.handle)
    }

    /// Whether exactly this instance is live.
    pub fn shows(&self, instance: &Instance) -> bool {
        self.live_instance()
            .is_some_and(|live| live.handle == instance.handle)
    }
}
