//! [`GroupId`]: several deployments that move as one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DeploymentId, InvalidId};

/// Several deployments that move as one: a stack's.
///
/// A group is named by its **coordinator**, the one of its deployments whose record says what becomes of
/// all of them. So whoever knows a group's name knows where to ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(DeploymentId);

impl GroupId {
    /// The group that this deployment coordinates.
    pub fn of(coordinator: DeploymentId) -> Self {
        Self(coordinator)
    }

    /// The deployment whose record says what becomes of the group.
    pub fn coordinator(&self) -> &DeploymentId {
        &self.0
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for GroupId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        s.parse().map(Self)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
