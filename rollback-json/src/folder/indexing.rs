//! Reading by the index: rows of a page, the newest number, and the index made anew.

use std::collections::BTreeMap;
use std::path::Path;

use rollback_core::error::{Chain, StoreError};
use rollback_core::history::{Fault, Sequence};
use rollback_core::id::DeploymentId;
use rollback_fs::{Locks, make_dir, system};

use super::{Folder, Found, has_ended, names};
use crate::index::{Index, Look, Row};
use crate::layout::{file_name, id_of};
use crate::state::State;

/// What a workload has, as others have to know it.
pub(crate) enum Others {
    /// The record that they ask for.
    HaveIt,
    /// No greater number than this.
    UpTo(Sequence),
    /// Some of it cannot be read: perhaps greater numbers than this.
    AtLeast(Sequence),
}

/// Rows that a commit has changed and perhaps no line says yet, and their shards.
pub(crate) type Overlay = BTreeMap<Sequence, (u64, Row)>;

impl Folder {
    /// What the last commit did that no line may say yet. Nothing if its writer has ended well.
    pub(crate) fn overlay(&self, state: &State) -> Overlay {
        let mut rows = Overlay::new();
        // Looked at after the state was read: who has ended has put all of it on lines.
        if has_ended(&self.place) {
            return rows;
        }
        let opened = state.pending.opened.iter();
        let opened = opened.map(|placed| (placed.shard, &placed.deployment));
        let events = state.pending.events.iter();
        let events = events.map(|change| (change.shard, &change.deployment));
        for (shard, id) in opened.chain(events) {
            if let Found::Record(d) = self.get(state, shard, id) {
                rows.insert(d.sequence(), (shard, Row::of(&d)));
            }
        }
        rows
    }

    /// The shards that there are, oldest first, with those of rows that are pending: the first
    /// record of a shard gets its name after its commit.
    pub(crate) fn shards_with(&self, overlay: &Overlay) -> Result<Vec<u64>, StoreError> {
        let mut shards = self.shards()?;
        shards.extend(overlay.values().map(|(shard, _)| *shard));
        shards.sort_unstable();
        shards.dedup();
        Ok(shards)
    }

    /// The newest rows of a shard that are older than `before` and meant, at most `limit`.
    pub(crate) fn rows(
        &mut self,
        shard: u64,
        (state, overlay): (&State, &Overlay),
        before: Sequence,
        limit: usize,
        meant: impl Fn(&Row) -> bool,
    ) -> Result<Vec<Row>, StoreError> {
        self.index(shard)?;
        self.rows_seen(shard, (state, overlay), before, limit, meant)
    }

    /// The same of an index that was just looked at.
    pub(crate) fn rows_seen(
        &mut self,
        shard: u64,
        (state, overlay): (&State, &Overlay),
        before: Sequence,
        limit: usize,
        meant: impl Fn(&Row) -> bool,
    ) -> Result<Vec<Row>, StoreError> {
        let path = self.place.index(shard);
        loop {
            let index = self.indices.entry(shard).or_default();
            let from = index.floor.min(before);
            let listed = index.rows.range(from..before);
            let listed = listed.filter(|(s, _)| !overlay.contains_key(s));
            let pending = overlay.range(from..before);
            let pending = pending.filter(|(_, (of, _))| *of == shard);
            let mut rows: BTreeMap<Sequence, &Row> = listed
                .map(|(s, row)| (*s, row))
                .chain(pending.map(|(s, (_, row))| (*s, row)))
                .collect();
            rows.retain(|_, row| !state.pending.forgets(&row.id) && meant(row));
            if rows.len() >= limit || index.is_whole() {
                return Ok(rows.into_values().rev().take(limit).cloned().collect());
            }
            self.extend(shard, &path);
            self.index(shard)?;
        }
    }

    /// Reads some more of an index.
    fn extend(&mut self, shard: u64, path: &Path) {
        let index = self.indices.entry(shard).or_default();
        // If it was replaced meanwhile, or cannot be believed, the next look finds out.
        index.extend(path);
    }

    /// A whole index, up to date.
    pub(crate) fn whole_index(&mut self, shard: u64) -> Result<&Index, StoreError> {
        let path = self.place.index(shard);
        while !self.index(shard)?.is_whole() {
            self.extend(shard, &path);
        }
        Ok(self.indices.entry(shard).or_default())
    }

    /// A shard's index, up to date as far as it is read. Made anew from the records where it is
    /// in doubt.
    fn index(&mut self, shard: u64) -> Result<&Index, StoreError> {
        let path = self.place.index(shard);
        let index = self.indices.entry(shard).or_default();
        if index.refresh(&path) == Look::Rebuild {
            let refused = std::mem::take(&mut index.refused);
            let mut made = self.scan(shard)?;
            made.refused = refused;
            self.indices.insert(shard, made);
        }
        self.look_again(shard)?;
        Ok(self.indices.entry(shard).or_default())
    }

    /// What was no record when the index was made may have been put back since.
    fn look_again(&mut self, shard: u64) -> Result<(), StoreError> {
        let broken = self.indices.get(&shard).map(|index| index.broken.clone());
        for name in broken.unwrap_or_default().into_keys() {
            let Some(id) = id_of(&name) else { continue };
            let found = self.look(shard, &id);
            let Some(index) = self.indices.get_mut(&shard) else {
                continue;
            };
            match found {
                Found::Record(d) => {
                    index.broken.remove(&name);
                    index.rows.insert(d.sequence(), Row::of(&d));
                }
                Found::Unreadable(e) => {
                    index.broken.insert(name, Chain::of(&e).to_string());
                }
                Found::Nothing => {
                    index.broken.remove(&name);
                }
            }
        }
        Ok(())
    }

    /// Whether a record that is not there any more was forgotten, rather than lost.
    pub(crate) fn is_forgotten(&mut self, shard: u64, row: &Row) -> Result<bool, StoreError> {
        if self.state_for_reading().0.pending.forgets(&row.id) {
            return Ok(true);
        }
        let index = self.whole_index(shard)?;
        Ok(!index.rows.contains_key(&row.sequence))
    }

    /// What is in a shard and is no record.
    pub(crate) fn broken(&self, shard: u64) -> Vec<Fault> {
        let broken = self.indices.get(&shard).map(|index| &index.broken);
        let fault = |(place, what): (&String, &String)| Fault::new(place.clone(), what.clone());
        broken.into_iter().flatten().map(fault).collect()
    }

    /// The index that a shard's records make.
    pub(super) fn scan(&self, shard: u64) -> Result<Index, StoreError> {
        let mut made = Index::default();
        for name in names(&self.place.shard(shard))? {
            let Some(id) = id_of(&name) else { continue };
            match self.look(shard, &id) {
                Found::Record(d) => {
                    made.rows.insert(d.sequence(), Row::of(&d));
                }
                Found::Unreadable(e) => {
                    made.broken
                        .insert(file_name(&id), Chain::of(&e).to_string());
                }
                Found::Nothing => {}
            }
        }
        Ok(made)
    }

    /// What whoever begins in another workload has to know of this one: whether it has a record of
    /// the new one's id, and its greatest number.
    pub(crate) fn others(&mut self, new: &DeploymentId, locks: &Locks) -> Others {
        let shards = self.shards();
        let shard = shards.as_ref().ok().and_then(|s| self.shard_among(s, new));
        // Read after the directories: a record is in one of them, or pending.
        let (state, _) = self.state_for_reading();
        if shard.is_some() || state.pending.opens(new).is_some() {
            return Others::HaveIt;
        }
        let newest = shards.and_then(|shards| match shards.last() {
            Some(shard) => {
                self.look_at_index(*shard, locks)?;
                self.newest_row(*shard)
            }
            None => Ok(None),
        });
        match newest {
            Ok(newest) => Others::UpTo(state.last.max(newest.unwrap_or_default())),
            Err(error) => {
                tracing::warn!(workload = %self.workload, error = %Chain::of(&error), "its newest record is not known");
                Others::AtLeast(state.last)
            }
        }
    }

    /// The greatest number of the workload, for who has read its state.
    pub(crate) fn newest_of_own(&mut self, state: &State) -> Result<Sequence, StoreError> {
        // Numbers grow with the directories.
        let newest = match self.shards()?.last() {
            Some(shard) => {
                self.index(*shard)?;
                self.newest_row(*shard)?
            }
            None => None,
        };
        Ok(state.last.max(newest.unwrap_or_default()))
    }

    /// The greatest number in an index that was just looked at.
    fn newest_row(&mut self, shard: u64) -> Result<Option<Sequence>, StoreError> {
        let (unseen, overlay) = (State::unseen(self.workload.clone()), Overlay::new());
        let all = (&unseen, &overlay);
        let rows = self.rows_seen(shard, all, Sequence(u64::MAX), 1, |_| true)?;
        Ok(rows.first().map(|row| row.sequence))
    }

    /// Saves the newest shard's index, if it has to be made. For who holds the write lock; best
    /// effort: without it whoever needs it makes it again.
    pub(crate) fn keep_index(&mut self) {
        let shards = self.shards();
        let Some(shard) = shards.ok().and_then(|shards| shards.last().copied()) else {
            return;
        };
        if !self.has_index(shard)
            && let Err(error) = self.make_index(shard)
        {
            tracing::debug!(workload = %self.workload, error = %Chain::of(&error), "an index was not saved");
        }
    }

    pub(super) fn has_index(&mut self, shard: u64) -> bool {
        let path = self.place.index(shard);
        let index = self.indices.entry(shard).or_default();
        index.refresh(&path) == Look::Fresh
    }

    /// Brings what is known of a shard's index up to date. One that had to be made is saved, if
    /// nobody writes just now.
    pub(crate) fn look_at_index(&mut self, shard: u64, locks: &Locks) -> Result<(), StoreError> {
        if self.has_index(shard) {
            return self.look_again(shard);
        }
        let name = format!("{}.write", self.workload);
        let saved = locks.take_named(&name, 1).and_then(|lock| match lock {
            // Nobody writes.
            Some(_lock) => self.make_index(shard),
            None => Ok(()),
        });
        if let Err(error) = saved {
            tracing::debug!(workload = %self.workload, error = %Chain::of(&error), "an index was not saved");
        }
        self.index(shard).map(drop)
    }

    /// Makes a shard's index anew, and saves it. For who holds the write lock.
    pub(super) fn make_index(&mut self, shard: u64) -> Result<(), StoreError> {
        let path = self.place.index(shard);
        make_dir(&self.place.indices())?;
        let mut made = self.scan(shard)?;
        made.save(&path)
            .map_err(|e| system("an index of the history cannot be written", &path, e))?;
        self.indices.insert(shard, made);
        Ok(())
    }
}
