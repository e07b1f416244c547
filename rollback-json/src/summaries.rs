//! Summaries, from the lines of the index: no record is read but those in flight or in doubt.

use std::sync::{Arc, Mutex};

use rollback_core::deployment::Deployment;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::{Fault, Sequence, Summaries, Summary};
use rollback_core::id::{DeploymentId, IdempotencyKey};
use rollback_fs::Locks;

use crate::folder::{Folder, Found, Writing};
use crate::index::{Line, Row};
use crate::layout::id_of;
use crate::list::{INDEX, STATE, locked};
use crate::state::State;

/// The summaries of one workload, newest first, at most `limit`.
pub(crate) fn of(
    folder: &Arc<Mutex<Folder>>,
    limit: usize,
    locks: &Locks,
) -> Result<Summaries, StoreError> {
    let mut folder = locked(folder);
    let (state, fault) = folder.state_for_reading();
    let overlay = folder.overlay(&state);
    let mut all = Summaries::default();
    let mut wanted = limit;
    all.unreadable
        .extend(fault.iter().map(|e| Fault::of(e, STATE)));
    for shard in folder.shards_with(&overlay)?.into_iter().rev() {
        let (shown, newest) = ((&state, &overlay), Sequence(u64::MAX));
        let rows = folder.look_at_index(shard, locks);
        let rows =
            match rows.and_then(|()| folder.rows_seen(shard, shown, newest, wanted, |_| true)) {
                Ok(rows) => rows,
                // One directory hides no other.
                Err(e) => {
                    all.unreadable.push(Fault::of(&e, INDEX));
                    continue;
                }
            };
        wanted -= rows.len();
        for row in rows {
            if let Some(summary) = row.summary.and_then(|unread| unread.read()) {
                all.summaries.push(summary);
                continue;
            }
            match folder.get(&state, shard, &row.id) {
                Found::Record(d) => all.summaries.push(Summary::of(&d)),
                Found::Unreadable(e) => all.unreadable.push(Fault::of(&e, &row.id)),
                Found::Nothing => {}
            }
        }
        all.unreadable.extend(folder.broken(shard));
        if wanted == 0 {
            return Ok(all);
        }
    }
    all.is_whole = true;
    Ok(all)
}

impl Folder {
    /// The deployment that was opened under this idempotency key, by the index and then its record.
    pub(crate) fn keyed(
        &mut self,
        state: &State,
        key: &IdempotencyKey,
    ) -> Result<Option<DeploymentId>, StoreError> {
        let overlay = self.overlay(state);
        let newest = Sequence(u64::MAX);
        // What was asked under it is not done twice.
        let mut doubt = None;
        for shard in self.shards_with(&overlay)?.into_iter().rev() {
            let may = |row: &Row| row.may_have(key);
            for row in self.rows(shard, (state, &overlay), newest, usize::MAX, may)? {
                match self.get(state, shard, &row.id) {
                    Found::Record(d) => {
                        let asked = d.opening().asked.as_ref();
                        if asked.is_some_and(|asked| asked.key == *key) {
                            return Ok(Some(row.id));
                        }
                    }
                    Found::Unreadable(e) => doubt = Some(may_have_it(&row.id, e)),
                    Found::Nothing => {}
                }
            }
            for fault in self.broken(shard) {
                if let Some(id) = id_of(&fault.place)
                    && let Found::Unreadable(e) = self.get(state, shard, &id)
                {
                    doubt.get_or_insert_with(|| may_have_it(&id, e));
                }
            }
        }
        doubt.map_or(Ok(None), Err)
    }

    /// Writes a settled record anew, with what people have added to it. Its line is in doubt
    /// meanwhile: whoever reads it if this writer is killed asks the record.
    pub(crate) fn annotate(
        &mut self,
        writing: &Writing,
        shard: u64,
        d: &Deployment,
    ) -> Result<(), StoreError> {
        let row = Row::of(d);
        self.add_line(shard, &Line::Again(row.clone().in_doubt()))?;
        self.replace(writing, shard, d)?;
        self.add_line(shard, &Line::Again(row))
    }
}

/// It may be read the next time, or by a newer program: that its cause says.
fn may_have_it(id: &DeploymentId, cause: StoreError) -> StoreError {
    let what = "a record that cannot be read may have this idempotency key";
    let advice = match cause.kind() {
        Kind::Corrupt => "put it back from a copy, or forget it, and send the request again",
        Kind::NewerSchema => "update this program, and send the request again",
        _ => "send the request again",
    };
    StoreError::new(cause.kind(), what)
        .on(id)
        .advice(advice)
        .because(cause)
}
