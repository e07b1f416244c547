//! [`Origin`]: where a release first came from.

use serde::{Deserialize, Serialize};

use super::outcome::LiveRecord;
use crate::history::Sequence;
use crate::id::DeploymentId;

/// The deployment that first brought a release, on the record of one that brings it again: by going back
/// to it, or by deploying what is live once more.
///
/// It says all that rollbacks go by of that deployment, whose record retention need not keep for them,
/// nor any of those in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origin {
    /// Its id.
    pub deployment: DeploymentId,
    /// Its place in the store's order.
    pub sequence: Sequence,
    /// What was live on record when it was opened.
    pub replaces: LiveRecord,
}

impl Origin {
    /// This deployment, there in the order, over that.
    pub fn new(deployment: DeploymentId, sequence: Sequence, replaces: LiveRecord) -> Self {
        Self {
            deployment,
            sequence,
            replaces,
        }
    }
}
