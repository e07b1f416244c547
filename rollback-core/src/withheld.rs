//! What people keep rollbacks from, beyond single deployments: recalled artifacts, and what lies below
//! the floor. Pure.
//!
//! No automatic rollback goes there, nor does *last healthy*; one that is asked for by name needs the
//! guard `recall` or `floor` forced.

use crate::history::{Floor, Recall, Sequence, WorkloadState};
use crate::id::GuardName;
use crate::no_point::NoPoint;

/// What is withheld from the rollbacks of one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withheld {
    recalls: Vec<Recall>,
    floor: Option<Floor>,
}

impl Withheld {
    /// What this state withholds.
    pub fn of(state: &WorkloadState) -> Self {
        Self {
            recalls: state.recalls.clone(),
            floor: state.floor.clone(),
        }
    }

    /// The same without what these guards would have refused.
    #[must_use]
    pub fn forcing(mut self, forced: &[GuardName]) -> Self {
        if forced.contains(&GuardName::recall()) {
            self.recalls.clear();
        }
        if forced.contains(&GuardName::floor()) {
            self.floor = None;
        }
        self
    }

    /// Why an artifact, by its digest, is recalled; `None`: it is not.
    pub fn recalled(&self, artifact: &str) -> Option<String> {
        let found = self.recalls.iter().find(|r| r.artifact == artifact);
        found.map(|r| format!("{} ({})", r.why, r.by))
    }

    /// Why what was deployed at this place in the order lies below the floor; `None`: it does not.
    pub fn below_floor(&self, deployed: Sequence) -> Option<String> {
        let is_below = |f: &&Floor| deployed < f.sequence && deployed != f.origin;
        let floor = self.floor.as_ref().filter(is_below)?;
        Some(format!(
            "the floor is {}: {} ({})",
            floor.deployment, floor.why, floor.by
        ))
    }

    /// Why no automatic rollback goes to a release with this artifact that was deployed here.
    pub(crate) fn why(&self, artifact: Option<&str>, deployed: Sequence) -> Option<NoPoint> {
        let recalled = artifact.and_then(|artifact| self.recalled(artifact));
        let recalled = recalled.map(|why| NoPoint::Recalled { why });
        let below = || self.below_floor(deployed);
        recalled.or_else(|| below().map(|why| NoPoint::BelowFloor { why }))
    }
}
