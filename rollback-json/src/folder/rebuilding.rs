//! A state that was lost, made anew from the records.

use rollback_core::deployment::LiveRecord;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::id::DeploymentId;
use rollback_fs::random;

use super::{Folder, names};
use crate::layout::{SHARD, id_of};
use crate::state::State;

impl Folder {
    /// How many records there are.
    pub(crate) fn kept(&self) -> Result<u64, StoreError> {
        let mut kept = 0;
        for shard in self.shards()? {
            kept += self.kept_in(shard)?;
        }
        Ok(kept)
    }

    fn kept_in(&self, shard: u64) -> Result<u64, StoreError> {
        let names = names(&self.place.shard(shard))?;
        Ok(names.iter().filter(|n| id_of(n).is_some()).count() as u64)
    }

    /// What the records say of the workload's state, and which of them have no end, the newest
    /// last. What is live and what people had set cannot be known.
    pub(crate) fn rebuilt(&mut self) -> Result<(State, Vec<DeploymentId>), StoreError> {
        let mut state = State::unseen(self.workload.clone());
        let mut unfinished = Vec::new();
        let mut kept = 0;
        for shard in self.shards()? {
            let kept_here = self.kept_in(shard)?;
            kept += kept_here;
            // Its directory is full or the last one.
            state.count = state.count.max(shard * SHARD + kept_here);
            for (sequence, row) in self.scan(shard)?.rows {
                state.last = state.last.max(sequence);
                if row.outcome.is_none() {
                    unfinished.push(row.id);
                }
            }
        }
        state.kept = Some(kept);
        state.live = LiveRecord::Unknown;
        // Leases and plans of before are told from later ones by numbers that no count reaches.
        state.version = beyond_any_count()?;
        state.epoch = beyond_any_count()?;
        Ok((state, unfinished))
    }
}

fn beyond_any_count() -> Result<u64, StoreError> {
    let digits = random::hex(7).and_then(|hex| u64::from_str_radix(&hex, 16).ok());
    let random = digits.ok_or_else(|| {
        StoreError::new(
            Kind::Io,
            "the system gives no random bytes; nothing was changed",
        )
    })?;
    Ok((1 << 32) + random)
}
