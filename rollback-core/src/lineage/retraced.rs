//! Undo and redo of one workload: by its records.

use super::Lineage;
use crate::deployment::Purpose;
use crate::history::{Summarized, Summary};
use crate::id::DeploymentId;
use crate::request::Goal;
use crate::retrace::{self, Change};

/// What *undo* or *redo* comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retraced {
    /// Where it goes.
    pub goal: Goal,
    /// What it is recorded as.
    pub purpose: Purpose,
}

impl<R: Summarized> Lineage<'_, R> {
    /// What *undo* or *redo* comes to by these records; `None`: there is nothing to undo, or to do again,
    /// or the goal is another one.
    pub fn retraced(&self, goal: &Goal) -> Option<Retraced> {
        let of = |d| Some((d, self.change(d)?));
        let (deployments, changes): (Vec<&Summary>, Vec<_>) = self
            .facts()
            .iter()
            .map(AsRef::as_ref)
            .filter_map(of)
            .unzip();
        match goal {
            Goal::Undo => {
                let change = &deployments[retrace::undoable(changes)?].id;
                Some(Retraced {
                    goal: Goal::Before(change.clone()),
                    purpose: Purpose::Undo {
                        change: change.clone(),
                    },
                })
            }
            Goal::Redo => match changes[retrace::redoable(changes.iter().copied())?] {
                Change::Undid(change) => Some(Retraced {
                    goal: Goal::To(change.clone()),
                    purpose: Purpose::Redo {
                        change: change.clone(),
                    },
                }),
                Change::New(_) | Change::Redid(_) => None,
            },
            _ => None,
        }
    }

    /// What one of these changed, if it did.
    pub(crate) fn change<'d>(&self, d: &'d Summary) -> Option<Change<&'d DeploymentId>> {
        if !d.went_live() {
            return None;
        }
        match &d.purpose {
            Some(Purpose::Undo { change }) => Some(Change::Undid(change)),
            Some(Purpose::Redo { change }) => Some(Change::Redid(change)),
            // They end where they began.
            Some(Purpose::Drill | Purpose::DrillEnds { .. } | Purpose::Bisect { .. }) => None,
            // What failed and was put right are one change; mostly none.
            _ if d.failed.is_some() || self.left_the_same(d) => None,
            _ => Some(Change::New(&d.id)),
        }
    }

    /// Whether the release was live already that it left, or that was put back when it had failed.
    fn left_the_same(&self, d: &Summary) -> bool {
        let digest = |id: &DeploymentId| self.at(id).and_then(|i| self.facts()[i].digest());
        let left = match &d.rolled_back_by {
            Some(by) => digest(by),
            None => d.digest(),
        };
        let before = d.replaces.known().and_then(digest);
        before.is_some() && before == left
    }
}
