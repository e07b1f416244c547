//! [`Membership`]: the group that a deployment moves with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::outcome::LiveRecord;
use crate::id::{DeploymentId, GroupId, ShortText, StackName, WorkloadId};
use crate::stack::StackGoal;

/// The group that a deployment moves with: all of it goes live, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Membership {
    /// The group.
    pub id: GroupId,
    /// Which stack moves.
    pub stack: StackName,
    /// All of it, on the coordinator's own record alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll: Option<Roll>,
}

/// Everything that a group is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Roll {
    /// Where a rollback of the stack goes; `None`: it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<StackGoal>,
    /// What becomes of each workload of the stack.
    pub parts: BTreeMap<WorkloadId, Part>,
}

/// What a group does to one workload of its stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// It moves.
    Moves {
        /// By this deployment.
        deployment: DeploymentId,
    },
    /// It is left alone.
    Stays {
        /// What is live on it on record, all the while.
        live: LiveRecord,
        /// Why it is.
        why: ShortText,
    },
}

impl Membership {
    /// A member of this group, which moves this stack.
    pub fn new(id: GroupId, stack: StackName) -> Self {
        Self {
            id,
            stack,
            roll: None,
        }
    }
}

impl Roll {
    /// These parts; for a rollback, where it goes.
    pub fn new(goal: Option<StackGoal>, parts: BTreeMap<WorkloadId, Part>) -> Self {
        Self { goal, parts }
    }

    /// The workloads that move, and by which deployments.
    pub fn moves(&self) -> impl Iterator<Item = (&WorkloadId, &DeploymentId)> {
        self.parts.iter().filter_map(|(w, part)| match part {
            Part::Moves { deployment } => Some((w, deployment)),
            Part::Stays { .. } => None,
        })
    }
}

impl Part {
    /// The deployment whose release is live on the workload when the group has gone forward; `None`: it is
    /// not known, or nothing is.
    pub fn leaves(&self) -> Option<&DeploymentId> {
        match self {
            Self::Moves { deployment } => Some(deployment),
            Self::Stays { live, .. } => live.known(),
        }
    }
}
