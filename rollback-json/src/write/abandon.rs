//! What cannot be settled any more is given up, on record.

use rollback_core::deployment::LiveRecord;
use rollback_core::error::{Chain, StoreError, StoreErrorKind as Kind};
use rollback_core::history::Abandonment;
use rollback_core::id::DeploymentId;

use super::Writer;
use crate::folder::Found;
use crate::state::{Amendment, State};

impl Writer<'_> {
    /// Gives up what a dead holder has left, or a state that cannot be read. The caller holds the
    /// lease lock.
    pub(crate) fn abandon(
        &mut self,
        abandonment: &Abandonment,
    ) -> Result<Option<DeploymentId>, StoreError> {
        self.writing.ends();
        let (mut state, ids) = match self.folder.state() {
            Ok(mut state) => {
                match self.folder.mend(self.writing) {
                    Ok(()) => state = self.state()?,
                    // What was committed before stays so, to be carried out with this.
                    Err(error) => {
                        tracing::warn!(workload = %state.workload, error = %Chain::of(&error), "left as it is");
                    }
                }
                let ids = state.in_flight.iter().map(|held| held.deployment.clone());
                let ids = ids.collect::<Vec<_>>();
                (state, ids)
            }
            Err(e) if e.kind() == Kind::Corrupt => {
                let rebuilt = self.folder.rebuilt()?;
                self.folder.move_state_aside(self.writing)?;
                rebuilt
            }
            Err(e) => return Err(e),
        };
        for id in &ids {
            let change = self.abandoned(&state, id, abandonment)?;
            state.pending.events.extend(change);
        }
        if let Some(id) = ids.last() {
            let mut settings = state.settings();
            settings.abandoned(id, abandonment);
            state.set(settings);
        }
        state.version += 1;
        state.epoch += 1;
        state.live = LiveRecord::Unknown;
        state.in_flight = None;
        self.commit(&state)?;
        Ok(ids.last().cloned())
    }

    /// The end of an abandoned deployment, if its record can still be written to.
    fn abandoned(
        &mut self,
        state: &State,
        id: &DeploymentId,
        abandonment: &Abandonment,
    ) -> Result<Option<Amendment>, StoreError> {
        let Some(shard) = self.folder.shard_with(id)? else {
            return Ok(None);
        };
        let Found::Record(mut deployment) = self.folder.get(state, shard, id) else {
            return Ok(None);
        };
        let event = abandonment.settled(&deployment);
        let change = Amendment {
            deployment: id.clone(),
            sequence: deployment.sequence(),
            shard,
            event,
        };
        Ok(deployment
            .apply(change.event.clone())
            .is_ok()
            .then_some(change))
    }
}
