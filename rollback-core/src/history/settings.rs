//! What people set on a workload.

use serde::{Deserialize, Serialize};

use super::Sequence;
use crate::id::{Actor, DeploymentId, ShortText};
use crate::policy::Policy;
use crate::time::Timestamp;

/// A person's request to let nothing but rollbacks through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hold {
    /// Who holds it, and is to be asked before it is lifted.
    pub by: Actor,
    /// Why, for whom it keeps from deploying.
    pub why: ShortText,
    /// Since when, by the engine's clock.
    pub since: Timestamp,
}

/// Who set a policy, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PolicySet {
    /// Who set it.
    pub by: Actor,
    /// When they did, by the engine's clock.
    pub at: Timestamp,
}

/// A policy that lasts in the store, and who set it.
///
/// In JSON the policy with one more field, `set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredPolicy {
    /// The policy, in place of the program's.
    #[serde(flatten)]
    pub policy: Policy,
    /// Who set it, and when; `None` in histories of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<PolicySet>,
}

/// An artifact that people have withdrawn: it has a flaw that no health gate sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recall {
    /// Its digest, as deployments have it on record.
    pub artifact: String,
    /// What is wrong with it, for whom it keeps from going back.
    pub why: ShortText,
    /// Who recalled it, and is to be asked before it is forced.
    pub by: Actor,
    /// When they did, by the engine's clock.
    pub at: Timestamp,
}

/// The oldest deployment that a rollback goes to: what came before would not run any more, after a
/// migration that cannot be undone, say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Floor {
    /// The deployment that rollbacks still go to; the record need not be there any more.
    pub deployment: DeploymentId,
    /// Its place in the order: it holds also when the record is gone.
    pub sequence: Sequence,
    /// The place of the deployment that its release was first brought by, if it was a rollback: what
    /// it went back to is not below the floor, however old.
    ///
    /// 0, which is no deployment's, in floors of before this was kept.
    #[serde(default)]
    pub origin: Sequence,
    /// What stands in the way of older ones, for whom it keeps from going back.
    pub why: ShortText,
    /// Who set it, and is to be asked before it is forced.
    pub by: Actor,
    /// When they did, by the engine's clock.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_of_before_its_origin_was_kept_made_a_workload_unreadable() {
        let old = r#"{"deployment":"deploy-20260315-143022-a3f2b901","sequence":7,"why":"split",
                      "by":{"kind":"user","name":"ada"},"at":"2026-03-15T14:30:22Z"}"#;
        let floor: Floor = serde_json::from_str(old).unwrap();
        assert_eq!((floor.sequence, floor.origin), (Sequence(7), Sequence(0)));
    }
}
