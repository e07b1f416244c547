//! What is told of deployments beyond what their own records say: by the newest records of the
//! workload alone, wherever older ones cannot change the answer. Pure.
//!
//! So a list costs what it shows, however long the history is.

use crate::deployment::LiveRecord;
use crate::history::{Summaries, Summary};
use crate::id::DeploymentId;
use crate::lineage::{Lineage, Standing};
use crate::points::{NoPoint, Points};
use crate::policy::Policy;
use crate::release::Restore;
use crate::time::Timestamp;
use crate::withheld::Withheld;

/// What a record alone cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// Of which deployment.
    pub of: DeploymentId,
    /// What has become of it.
    pub standing: Standing,
    /// Whether a bare rollback would go to it, by the records.
    pub last_healthy: bool,
    /// Why it is no rollback point; `None`: it is one.
    pub no_rollback_point: Option<NoPoint>,
    /// The next one that went live after it; for one that never did, the automatic rollback that
    /// put right what it broke.
    pub replaced_by: Option<DeploymentId>,
    /// The rollback that went past it.
    pub abandoned_by: Option<DeploymentId>,
}

/// By what it is told.
#[derive(Debug, Clone)]
pub struct Telling<'a> {
    /// What is live on record.
    pub live: &'a LiveRecord,
    /// What a bare rollback restores.
    pub restore: Restore,
    /// The policy in force.
    pub policy: &'a Policy,
    /// What no automatic rollback goes to.
    pub withheld: Withheld,
    /// The time by the engine's clock, for what depends on age.
    pub now: Timestamp,
}

impl Telling<'_> {
    /// What is told of these deployments of one workload; of those that have no record, nothing.
    /// `None`: records older than these may change the answer.
    pub fn of(&self, records: &Summaries, ids: &[DeploymentId]) -> Option<Vec<Told>> {
        let lineage = Lineage::new(&records.summaries, self.live)
            .restoring(self.restore.clone())
            .withholding(self.withheld.clone());
        if !records.is_whole && !self.is_enough(&lineage) {
            return None;
        }
        let points = Points::new(&lineage, &self.policy.retention, self.now);
        let last_healthy = lineage.last_healthy(self.policy.fall_back_to_unjudged);
        let mut all = Vec::new();
        for id in ids {
            let Some(d) = lineage.get(id) else {
                if records.is_whole {
                    continue;
                }
                return None;
            };
            let no_rollback_point = points.check(d).err();
            // An older record may keep its release: a pinned one, or one that had passed its gate.
            if no_rollback_point == Some(NoPoint::LetGo) && !records.is_whole {
                return None;
            }
            all.push(Told {
                of: id.clone(),
                standing: lineage.standing(d),
                last_healthy: last_healthy.is_some_and(|d| d.id == *id),
                no_rollback_point,
                replaced_by: lineage.replaced_by(d).map(|d| d.id.clone()),
                abandoned_by: lineage.abandoned_by(d).map(|d| d.id.clone()),
            });
        }
        Some(all)
    }

    /// Whether these newest records are related among themselves as they are in the whole history,
    /// and retention judges them as it would there.
    fn is_enough(&self, lineage: &Lineage<'_, Summary>) -> bool {
        let keep = self.policy.retention.records;
        let stays = |(i, d): (usize, &Summary)| i < keep.newest || keep.is_young(d, self.now);
        let records = lineage.records();
        lineage.is_closed()
            // None is kept only for the sake of an older one.
            && records.iter().enumerate().all(stays)
            && lineage.knows_last_healthy()
    }
}
