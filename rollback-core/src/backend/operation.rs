//! What a deployment does at the target: its two ends, and what stands there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::Sequence;
use crate::id::{DeploymentId, WorkloadId};
use crate::release::Release;

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

    /// What the backend wrote: only it knows what that means.
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
#[non_exhaustive]
pub struct Instance {
    /// What it is.
    pub release: Release,
    /// Where the backend finds it.
    pub handle: Handle,
}

impl Instance {
    /// A release, and where the backend finds it.
    pub fn new(release: Release, handle: Handle) -> Self {
        Self { release, handle }
    }
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
#[non_exhaustive]
pub struct Operation {
    /// The deployment that does it. Backends stamp what they create with it, so that what a
    /// crashed `prepare` left behind can be found.
    pub deployment: DeploymentId,
    /// That deployment's place in the store's order; unique per store.
    pub sequence: Sequence,
    /// The workload whose live release it changes: the one that the backend serves.
    pub workload: WorkloadId,
    /// What was live.
    pub from: End,
    /// What will be.
    pub to: End,
    /// Whether `prepare` may take what was kept.
    pub reuse: Reuse,
    /// Whether anything may be built in what is prepared before it goes live. The engine says so to
    /// `prepare` alone, by the tasks of the program that goes on with it.
    #[serde(default, skip_serializing_if = "Tasks::are_possible")]
    pub tasks: Tasks,
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

/// Whether release tasks work in what is prepared, between `prepare` and `switch`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tasks {
    /// They may: what changes there meanwhile belongs to the release.
    #[default]
    Possible,
    /// None does: what changes there meanwhile is somebody else's doing.
    None,
}

impl Tasks {
    /// Whether this is the default.
    fn are_possible(&self) -> bool {
        *self == Self::Possible
    }
}

impl Operation {
    /// What a deployment does, from `from` to `to`; it may take what was kept.
    pub fn new(
        workload: WorkloadId,
        deployment: DeploymentId,
        sequence: Sequence,
        from: End,
        to: End,
    ) -> Self {
        Self {
            deployment,
            sequence,
            workload,
            from,
            to,
            reuse: Reuse::Kept,
            tasks: Tasks::Possible,
        }
    }

    /// The same to another end.
    #[must_use]
    pub fn to(mut self, to: End) -> Self {
        self.to = to;
        self
    }

    /// The same, and this is what `prepare` may take.
    #[must_use]
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.reuse = reuse;
        self
    }

    /// The same, and this is what works in it before it goes live.
    #[must_use]
    pub fn tasks(mut self, tasks: Tasks) -> Self {
        self.tasks = tasks;
        self
    }

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
