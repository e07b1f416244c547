//! Changing a workload's directory: under its write lock, durable, and repeated by the next writer
//! where this one is killed.

use std::collections::HashSet;
use std::fs;
use std::ops::Bound;

use rollback_core::deployment::Deployment;
use rollback_core::error::StoreError;
use rollback_core::history::Sequence;
use rollback_core::id::DeploymentId;
use rollback_fs::{Held, Locks, durable, make_dir, system};

use super::{Folder, Found, names};
use crate::index::{self, Look, Row};
use crate::layout::{file_name, id_of};
use crate::opening::Opening;
use crate::record::{self, Stamp, read};
use crate::state::State;

/// How long a writer waits for another one, in milliseconds.
const PATIENCE: u32 = 5_000;

/// The right to change a workload's files, within this process and among all.
pub(crate) struct Writing {
    _lock: Held,
}

impl Folder {
    /// Takes the write lock, and carries out what the last commit left to do.
    pub(crate) fn writing(&mut self, locks: &Locks) -> Result<Writing, StoreError> {
        let name = format!("{}.write", self.workload);
        let Some(lock) = locks.take_named(&name, PATIENCE)? else {
            return Err(crate::error::busy(&self.workload));
        };
        let dirs = [
            self.place.dir(),
            &self.place.records(),
            &self.place.indices(),
        ];
        if !self.made {
            for dir in dirs {
                make_dir(dir)?;
            }
            // Without a state they may be there and not durable: whoever made them was killed. The
            // workload's own directory is synced by each commit.
            if Stamp::of(&self.place.state())?.is_none() {
                for dir in self.place.dir().ancestors().skip(1).take(2) {
                    durable::sync_dir(dir)
                        .map_err(|e| system("the directory cannot be made durable", dir, e))?;
                }
            }
            self.remove_leftovers()?;
        }
        self.made = true;
        let writing = Writing { _lock: lock };
        self.keep()?;
        self.carry_out(&writing)?;
        Ok(writing)
    }

    /// Makes durable what a writer that is not known to have ended well has committed and carried
    /// out: it may have been killed between a rename and the sync of the directory, and what is
    /// written from here on builds on it.
    fn keep(&mut self) -> Result<(), StoreError> {
        let stamp = Stamp::of(&self.place.state())?;
        if stamp.is_none() || self.carried_out == stamp {
            return Ok(());
        }
        let mut dirs = vec![self.place.dir().to_owned()];
        let pending = self.state()?.pending;
        dirs.extend(pending.events.iter().map(|c| self.place.shard(c.shard)));
        dirs.dedup();
        for dir in dirs.iter().filter(|dir| dir.is_dir()) {
            durable::sync_dir(dir)
                .map_err(|e| system("the directory cannot be made durable", dir, e))?;
        }
        Ok(())
    }

    /// Removes the temporary files of writers that were killed, wherever they wrote. Once in a
    /// process: that is often enough for what only a kill leaves, and costs a long history little.
    fn remove_leftovers(&self) -> Result<(), StoreError> {
        let mut dirs = vec![self.place.dir().to_owned(), self.place.indices()];
        dirs.extend(self.shards()?.iter().map(|shard| self.place.shard(*shard)));
        for dir in dirs {
            durable::remove_leftovers(&dir)
                .map_err(|e| system("what a killed writer left cannot be removed", &dir, e))?;
        }
        Ok(())
    }

    /// Commits a state.
    pub(crate) fn commit(&mut self, _: &Writing, state: &State) -> Result<(), StoreError> {
        self.state = None;
        state.store(&self.place.state())
    }

    /// Brings the records up to what the last commit says of them.
    pub(crate) fn carry_out(&mut self, writing: &Writing) -> Result<(), StoreError> {
        let path = self.place.state();
        let stamp = Stamp::of(&path)?;
        if stamp.is_none() || self.carried_out == stamp {
            return Ok(());
        }
        let pending = self.state()?.pending;
        for change in &pending.events {
            let file = self.place.record(change.shard, &change.deployment);
            let Some(bytes) = read(&file)? else {
                continue;
            };
            // One that was damaged meanwhile stays as it is; the state still knows its end.
            let Ok(mut deployment) = record::decode(&bytes.0) else {
                continue;
            };
            if !deployment.events().contains(&change.event) {
                deployment.apply(change.event.clone()).map_err(|e| {
                    crate::error::illegal(&change.deployment, e.to_string()).because(e)
                })?;
                self.replace(writing, change.shard, &deployment)?;
            }
            self.index_row(writing, change.shard, &Row::of(&deployment))?;
        }
        for gone in &pending.forget {
            self.remove(writing, gone.shard, gone.sequence, &gone.deployment)?;
        }
        self.carried_out = stamp;
        Ok(())
    }

    /// A new record's file.
    pub(crate) fn create(
        &mut self,
        writing: &Writing,
        shard: u64,
        d: &Deployment,
    ) -> Result<(), StoreError> {
        let dir = self.place.shard(shard);
        if !dir.is_dir() {
            make_dir(&dir)?;
        }
        if self.index(shard, Some(writing))?.is_empty() {
            // No record yet: who made the directory may have been killed before it was durable.
            durable::sync_dir(&self.place.records())
                .map_err(|e| system("the directory cannot be made durable", &dir, e))?;
        }
        Opening::of(shard, d).write(&self.place.opening())?;
        let path = self.place.record(shard, d.id());
        let bytes = record::encode(d)?;
        durable::create(&path, &bytes)
            .map_err(|e| system("a record cannot be written", &path, e))?;
        self.index_row(writing, shard, &Row::of(d))
    }

    /// Writes a record's file anew.
    pub(crate) fn replace(
        &mut self,
        _: &Writing,
        shard: u64,
        d: &Deployment,
    ) -> Result<(), StoreError> {
        let path = self.place.record(shard, d.id());
        let bytes = record::encode(d)?;
        durable::replace(&path, &bytes)
            .map_err(|e| system("a record cannot be written", &path, e))?;
        Ok(())
    }

    /// Makes the names of a shard's records durable.
    pub(crate) fn sync_shard(&self, shard: u64) -> Result<(), StoreError> {
        let dir = self.place.shard(shard);
        durable::sync_dir(&dir).map_err(|e| system("the directory cannot be made durable", &dir, e))
    }

    /// Removes a record's file and its line.
    fn remove(
        &mut self,
        _: &Writing,
        shard: u64,
        sequence: Sequence,
        id: &DeploymentId,
    ) -> Result<(), StoreError> {
        let path = self.place.record(shard, id);
        durable::remove(&path).map_err(|e| system("a record cannot be removed", &path, e))?;
        index::gone(&self.place.index(shard), sequence)
    }

    pub(crate) fn index_row(
        &mut self,
        _: &Writing,
        shard: u64,
        row: &Row,
    ) -> Result<(), StoreError> {
        index::add(&self.place.index(shard), row)
    }

    /// Removes what a begin that was never committed has left in the directory that the next
    /// record belongs in.
    pub(crate) fn remove_orphans(
        &mut self,
        writing: &Writing,
        shard: u64,
        last: Sequence,
    ) -> Result<(), StoreError> {
        let dir = self.place.shard(shard);
        if !dir.is_dir() {
            return Ok(());
        }
        if let Some(opening) = Opening::read(&self.place.opening())? {
            if opening.sequence > last {
                self.remove(
                    writing,
                    opening.shard,
                    opening.sequence,
                    &opening.deployment,
                )?;
            }
            return Ok(());
        }
        let rows = self.index(shard, Some(writing))?;
        let committed = rows.range(..=last).map(|(_, r)| file_name(&r.id));
        let known: HashSet<String> = committed.collect();
        let beyond = rows.range((Bound::Excluded(last), Bound::Unbounded));
        let beyond: Vec<_> = beyond.map(|(s, r)| (*s, r.id.clone())).collect();
        for (sequence, id) in beyond {
            self.remove(writing, shard, sequence, &id)?;
        }
        for name in names(&dir)? {
            let Some(id) = id_of(&name).filter(|_| !known.contains(&name)) else {
                continue;
            };
            if let Found::Record(d) = self.look(shard, &id)?
                && d.sequence() > last
            {
                self.remove(writing, shard, d.sequence(), &id)?;
            }
        }
        Ok(())
    }

    /// Writes the record in flight, and remembers it.
    pub(crate) fn write_current(
        &mut self,
        writing: &Writing,
        shard: u64,
        d: Deployment,
    ) -> Result<(), StoreError> {
        self.current = None;
        self.replace(writing, shard, &d)?;
        let path = self.place.record(shard, d.id());
        self.current = Stamp::of(&path)?.map(|stamp| (stamp, d));
        Ok(())
    }

    /// Moves a damaged record aside, unless somebody writes just now. Its row stays, and says so.
    pub(crate) fn quarantine(&mut self, locks: &Locks, shard: u64, row: &Row, why: &StoreError) {
        let name = format!("{}.write", self.workload);
        let moved = locks.take_named(&name, 1).and_then(|lock| {
            let Some(lock) = lock else { return Ok(()) };
            let writing = Writing { _lock: lock };
            let said = self.move_aside(&writing, shard, &row.id, why)?;
            self.index_row(&writing, shard, &row.clone().unreadable(said))
        });
        if let Err(error) = moved {
            tracing::warn!(deployment = %row.id, %error, "a damaged record stays where it is");
        }
    }

    /// Moves a damaged record to quarantine; says what happened.
    pub(super) fn move_aside(
        &self,
        _: &Writing,
        shard: u64,
        id: &DeploymentId,
        why: &StoreError,
    ) -> Result<String, StoreError> {
        let path = self.place.shard(shard).join(file_name(id));
        make_dir(&self.quarantine)?;
        let to = self
            .quarantine
            .join(format!("{}.{}", self.workload, file_name(id)));
        fs::rename(&path, &to)
            .map_err(|e| system("a damaged record cannot be moved aside", &path, e))?;
        tracing::warn!(deployment = %id, %why, to = %to.display(), "a damaged record was moved aside");
        Ok(format!("{why}; the file is now {}", to.display()))
    }

    /// Saves an index that a reader had to make. Best effort: without it the next reader makes
    /// it again.
    pub(crate) fn save_index(&mut self, shard: u64, locks: &Locks) {
        let path = self.place.index(shard);
        if path.exists()
            && matches!(
                self.indices.entry(shard).or_default().refresh(&path),
                Ok(Look::Fresh)
            )
        {
            return;
        }
        let name = format!("{}.write", self.workload);
        let saved = locks.take_named(&name, 1).and_then(|lock| match lock {
            Some(lock) => {
                let writing = Writing { _lock: lock };
                make_dir(&self.place.indices())?;
                self.index(shard, Some(&writing)).map(drop)
            }
            None => Ok(()),
        });
        if let Err(error) = saved {
            tracing::debug!(workload = %self.workload, %error, "an index was not saved");
        }
    }
}
