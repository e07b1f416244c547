//! Summaries, from the lines of the index: no record is read but those in flight or in doubt.

use std::sync::{Arc, Mutex};

use rollback_core::deployment::Deployment;
use rollback_core::error::StoreError;
use rollback_core::history::{Summaries, Summary};
use rollback_fs::Locks;

use crate::folder::{Folder, Found, Writing};
use crate::index::Row;
use crate::list::locked;

/// The summaries of one workload, newest first.
pub(crate) fn of(folder: &Arc<Mutex<Folder>>, locks: &Locks) -> Result<Summaries, StoreError> {
    let mut folder = locked(folder);
    let state = folder.state()?;
    let mut all = Summaries::default();
    for shard in folder.shards()?.into_iter().rev() {
        folder.save_index(shard, locks);
        let rows = folder.index(shard, None)?;
        let committed = rows.range(..=state.last).rev();
        let rows: Vec<Row> = committed
            .filter(|(sequence, _)| !state.pending.forgets(**sequence))
            .map(|(_, row)| row.clone())
            .collect();
        for row in rows {
            let amended = state.pending.events.iter();
            let amended = amended.map(|c| &c.deployment).any(|id| *id == row.id);
            match (row.unreadable, row.summary) {
                (Some(why), _) => all.unreadable.push(why),
                (None, Some(summary)) if !amended => all.summaries.push(*summary),
                _ => match folder.get(&state, shard, &row.id)? {
                    Found::Record(d) => all.summaries.push(Summary::of(&d)),
                    Found::Unreadable(e) => all.unreadable.push(e.to_string()),
                    Found::Nothing => {}
                },
            }
        }
        all.unreadable.extend(folder.broken(shard));
    }
    Ok(all)
}

impl Folder {
    /// Writes a settled record anew, with what people have added to it. Its line is in doubt
    /// meanwhile: whoever reads it if this writer is killed asks the record.
    pub(crate) fn annotate(
        &mut self,
        writing: &Writing,
        shard: u64,
        d: &Deployment,
    ) -> Result<(), StoreError> {
        let row = Row::of(d);
        self.index_row(writing, shard, &row.clone().in_doubt())?;
        self.replace(writing, shard, d)?;
        self.index_row(writing, shard, &row)
    }
}
