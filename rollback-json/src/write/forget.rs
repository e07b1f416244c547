//! Records that go, for good: all of them in one commit.

use std::collections::BTreeSet;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::may_be_forgotten;
use rollback_core::id::DeploymentId;

use super::Writer;
use crate::folder::Found;
use crate::state::Placed;

/// Records that go.
#[derive(Debug, Default)]
pub(crate) struct Forgetting {
    records: BTreeSet<Placed>,
    damaged: BTreeSet<(u64, DeploymentId)>,
}

impl Forgetting {
    pub(crate) fn len(&self) -> u64 {
        (self.records.len() + self.damaged.len()) as u64
    }
}

impl Writer<'_> {
    /// Which of these can be forgotten; an error if one may not be.
    pub(crate) fn may_forget(&mut self, ids: &[DeploymentId]) -> Result<Forgetting, StoreError> {
        let state = self.folder.state()?;
        let mut found = Forgetting::default();
        for id in ids {
            let Some(shard) = self.folder.shard_with(id)? else {
                continue;
            };
            let record = self.folder.get(&state, shard, id);
            let added = match &record {
                Found::Record(d) => Some(d.annotations()),
                Found::Unreadable(_) | Found::Nothing => None,
            };
            may_be_forgotten(id, added, &state.live, state.deployment_in_flight())?;
            match record {
                Found::Record(d) => {
                    found.records.insert(Placed {
                        deployment: id.clone(),
                        sequence: d.sequence(),
                        shard,
                    });
                }
                Found::Unreadable(e) if e.kind() == Kind::Corrupt => {
                    found.damaged.insert((shard, id.clone()));
                }
                Found::Unreadable(_) | Found::Nothing => {}
            }
        }
        Ok(found)
    }

    /// Forgets all of these at once. What cannot be read is moved aside.
    pub(crate) fn forget(&mut self, found: Forgetting) -> Result<(), StoreError> {
        self.writing.ends();
        let mut state = self.state()?;
        state.kept = state.kept.map(|kept| kept.saturating_sub(found.len()));
        state.pending.forget = found.records.into_iter().collect();
        self.commit(&state)?;
        for (shard, id) in &found.damaged {
            self.folder.move_aside(self.writing, *shard, id)?;
        }
        Ok(())
    }
}
