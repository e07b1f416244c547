//! Changing a workload's directory: under its write lock, durable, and carried on by the next
//! writer where this one is killed.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rollback_core::deployment::Deployment;
use rollback_core::error::StoreError;
use rollback_core::id::DeploymentId;
use rollback_fs::{Held, Locks, durable, make_dir, owner, system};
use rustix::fs::{CWD, RenameFlags};

use super::ended::Note;
use super::{Current, Folder, Found, amended, is_of_one, names};
use crate::index::{self, Line, Row};
use crate::layout::{file_name, id_of};
use crate::record::{self, read};
use crate::reserve::is_full;
use crate::state::{Pending, Placed, State};

/// How long a writer waits for another one, in milliseconds.
const PATIENCE: u32 = 5_000;

/// The right to change a workload's files, within this process and among all.
pub(crate) struct Writing {
    _lock: Held,
    note: Note,
    /// Whether anything was changed.
    touched: Cell<bool>,
    /// Whether the room that is reserved for ending things may be used.
    ends: Cell<bool>,
    /// Whether it was.
    used: Cell<bool>,
    /// Whether something is left to the next writer.
    left: Cell<bool>,
}

impl Writing {
    /// What is written from here on ends something: it may use the room that is reserved for that.
    pub(crate) fn ends(&self) {
        self.ends.set(true);
    }

    /// Leaves something that was committed to the next writer.
    pub(crate) fn leave(&self) {
        self.left.set(true);
    }
}

impl Folder {
    /// Takes the write lock, and does what the last writer has left to do.
    pub(crate) fn writing(&mut self, locks: &Locks) -> Result<Writing, StoreError> {
        let (writing, ended) = self.lock(locks)?;
        if !ended {
            self.mend(&writing)?;
        }
        Ok(writing)
    }

    /// Takes the write lock; says whether the last writer has ended well.
    pub(crate) fn lock(&mut self, locks: &Locks) -> Result<(Writing, bool), StoreError> {
        let name = format!("{}.write", self.workload);
        let Some(lock) = locks.take_named(&name, PATIENCE)? else {
            return Err(crate::error::busy(&self.workload));
        };
        let (note, ended) = Note::open(&self.place);
        let writing = Writing {
            _lock: lock,
            note,
            touched: Cell::new(false),
            ends: Cell::new(false),
            used: Cell::new(false),
            left: Cell::new(false),
        };
        if !ended {
            for dir in [
                self.place.dir(),
                &self.place.records(),
                &self.place.indices(),
            ] {
                make_dir(dir)?;
            }
        }
        writing.note.say(false)?;
        Ok((writing, ended))
    }

    /// Ends a write. What was changed by one that failed is looked after by the next writer.
    pub(crate) fn end(&mut self, writing: Writing, done: bool) {
        if writing.used.get() {
            self.place.reserve().refill();
        }
        if (done || !writing.touched.get()) && !writing.left.get() {
            // Not said, the next writer merely looks in vain.
            let _ = writing.note.say(true);
        }
    }

    /// Makes durable what a writer that did not end well has changed, carries out what it has
    /// committed, and removes what it has half written: under this lock all of it is dead.
    pub(crate) fn mend(&mut self, writing: &Writing) -> Result<(), StoreError> {
        let state = self.state()?;
        let mut dirs = vec![
            self.root.clone(),
            self.root.join("workloads"),
            self.place.dir().to_owned(),
            self.place.records(),
        ];
        let pending = &state.pending;
        dirs.extend(pending.opened.iter().map(|o| self.place.shard(o.shard)));
        dirs.extend(pending.events.iter().map(|c| self.place.shard(c.shard)));
        dirs.dedup();
        for dir in dirs.iter().filter(|dir| dir.is_dir()) {
            self.sync(writing, dir)?;
        }
        self.carry_out(writing, pending)?;
        let mut dirs = vec![self.place.dir().to_owned(), self.place.indices()];
        dirs.extend(self.shards()?.iter().map(|shard| self.place.shard(*shard)));
        for dir in dirs {
            durable::remove_leftovers(&dir)
                .map_err(|e| system("what a killed writer left cannot be removed", &dir, e))?;
        }
        Ok(())
    }

    /// One durable step. Where the disk is full and something is ended, room is made for it.
    fn durably(
        &self,
        writing: &Writing,
        what: &str,
        path: &Path,
        step: impl Fn() -> io::Result<()>,
    ) -> Result<(), StoreError> {
        writing.touched.set(true);
        let mut done = step();
        if done.as_ref().is_err_and(is_full) && self.make_room(writing) {
            done = step();
        }
        done.map_err(|e| system(what, path, e))
    }

    /// Gives up the reserve, if what is written ends something; says whether there is room now.
    pub(crate) fn make_room(&self, writing: &Writing) -> bool {
        if !writing.ends.get() {
            return false;
        }
        writing.used.set(true);
        // An index is only a cache.
        self.place.reserve().give_up() || fs::remove_dir_all(self.place.indices()).is_ok()
    }

    /// Keeps the room that going back needs, before a switch is begun.
    pub(crate) fn keep_room(&self, shard: u64, d: &Deployment) -> Result<(), StoreError> {
        let path = self.place.record(shard, d.id());
        let kept = self.place.reserve().keep(record::encode(d)?.len());
        let what = "the room to go back in cannot be reserved; the switch was not begun";
        kept.map_err(|e| system(what, &path, e))
    }

    /// Makes the entries of a directory durable.
    pub(crate) fn sync(&self, writing: &Writing, dir: &Path) -> Result<(), StoreError> {
        let what = "the directory cannot be made durable";
        self.durably(writing, what, dir, || durable::sync_dir(dir))
    }

    /// Commits a state.
    pub(crate) fn commit(&mut self, writing: &Writing, state: &State) -> Result<(), StoreError> {
        let path = self.place.state();
        let state = state.in_this_format();
        let bytes = state.encode(self.state.as_ref())?;
        let what = "the workload's state cannot be written";
        self.state = None;
        self.durably(writing, what, &path, || durable::replace(&path, &bytes))?;
        self.state = Some((bytes, state));
        Ok(())
    }

    /// Brings the records up to what a commit says of them. Under the rules of what ends
    /// something: it was committed.
    pub(crate) fn carry_out(
        &mut self,
        writing: &Writing,
        pending: &Pending,
    ) -> Result<(), StoreError> {
        let ends = writing.ends.replace(true);
        let done = self.try_carry_out(writing, pending);
        writing.ends.set(ends);
        done
    }

    fn try_carry_out(&mut self, writing: &Writing, pending: &Pending) -> Result<(), StoreError> {
        if let Some(opened) = &pending.opened {
            self.publish(writing, opened)?;
        }
        for of_one in pending.events.chunk_by(|a, b| a.deployment == b.deployment) {
            let (id, shard) = (&of_one[0].deployment, of_one[0].shard);
            let path = self.place.record(shard, id);
            // One that was lost or damaged meanwhile stays as it is: the state has its end.
            let Some(bytes) = read(&path)? else { continue };
            let Ok(known) = self.decode(&path, &bytes, id) else {
                continue;
            };
            let deployment = match amended(known.clone(), of_one) {
                Ok(deployment) => deployment,
                Err(why) => {
                    tracing::warn!(deployment = %id, %why, "its record is not as it was committed");
                    continue;
                }
            };
            if deployment != known {
                let bytes = record::encode_again(&bytes, &known, &deployment)?;
                self.write(writing, &path, &bytes)?;
            }
            self.add_line(shard, &Line::Again(Row::of(&deployment)))?;
        }
        for gone in &pending.forget {
            let path = self.place.record(gone.shard, &gone.deployment);
            let what = "a record cannot be removed";
            self.durably(writing, what, &path, || durable::remove(&path))?;
            self.add_line(gone.shard, &Line::Gone(gone.sequence))?;
        }
        Ok(())
    }

    /// Gives a record its name, now that a commit has made it true.
    fn publish(&mut self, writing: &Writing, opened: &Placed) -> Result<(), StoreError> {
        let (shard, id) = (opened.shard, &opened.deployment);
        let from = self.place.unpublished(shard, id);
        let to = self.place.record(shard, id);
        if from.exists() && !to.exists() {
            self.durably(writing, "a record cannot get its name", &to, || {
                match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
                    // Not every file system knows the flag; that nothing is there was seen above.
                    Err(rustix::io::Errno::INVAL) => fs::rename(&from, &to),
                    other => Ok(other?),
                }
            })?;
            self.sync(writing, &self.place.shard(shard))?;
        }
        match self.look(shard, id) {
            Found::Record(d) => self.add_line(shard, &Line::Row(Row::of(&d))),
            // Not damaged, but not to be had now: its line must not be missing for ever.
            Found::Unreadable(e) if !is_of_one(&e) => Err(e),
            Found::Unreadable(_) | Found::Nothing => Ok(()),
        }
    }

    pub(crate) fn add_line(&self, shard: u64, line: &Line) -> Result<(), StoreError> {
        index::add(&self.place.index(shard), line)
    }

    /// A new record's file, under a name that no reader takes for a record's until a commit has
    /// made it one.
    pub(crate) fn create(
        &mut self,
        writing: &Writing,
        shard: u64,
        d: &Deployment,
    ) -> Result<(), StoreError> {
        let dir = self.place.shard(shard);
        if !dir.is_dir() {
            make_dir(&dir)?;
            self.sync(writing, &self.place.records())?;
        }
        let path = self.place.unpublished(shard, d.id());
        let bytes = record::encode(d)?;
        if !writing.ends.get() {
            let what = "the room to end the deployment in cannot be reserved; nothing was begun";
            let reserve = self.place.reserve();
            self.durably(writing, what, &path, || reserve.ensure(bytes.len()))?;
        }
        let what = "a record cannot be written";
        self.durably(writing, what, &path, || {
            let mut file = owner::open_or_create(&path)?;
            file.set_len(0)?;
            io::Write::write_all(&mut file, &bytes)?;
            file.sync_all()
        })
        .inspect_err(|_| {
            // Best effort: the next writer removes it too.
            let _ = fs::remove_file(&path);
        })?;
        self.sync(writing, &dir)
    }

    fn write(&self, writing: &Writing, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let what = "a record cannot be written";
        self.durably(writing, what, path, || durable::replace(path, bytes))
    }

    /// Writes a record's file anew. `known` is what it says now.
    pub(crate) fn replace(
        &mut self,
        writing: &Writing,
        shard: u64,
        new: &Deployment,
    ) -> Result<(), StoreError> {
        let path = self.place.record(shard, new.id());
        let Some(found) = read(&path)? else {
            return Err(StoreError::unknown(new.id()));
        };
        let known = self.decode(&path, &found, new.id())?;
        let bytes = record::encode_again(&found, &known, new)?;
        self.write(writing, &path, &bytes)
    }

    /// Writes the record in flight, which was read before, and remembers it.
    pub(crate) fn write_current(
        &mut self,
        writing: &Writing,
        shard: u64,
        new: Deployment,
    ) -> Result<(), StoreError> {
        let Some(current) = self.current.take() else {
            return self.replace(writing, shard, &new);
        };
        let bytes = if current.plain {
            record::encode(&new)?
        } else {
            record::encode_again(&current.bytes, &current.deployment, &new)?
        };
        self.write(writing, &self.place.record(shard, new.id()), &bytes)?;
        self.current = Some(Current {
            bytes,
            deployment: new,
            plain: current.plain,
        });
        Ok(())
    }

    /// Makes the names of a shard's records durable.
    pub(crate) fn sync_shard(&self, writing: &Writing, shard: u64) -> Result<(), StoreError> {
        self.sync(writing, &self.place.shard(shard))
    }

    /// Makes every index anew.
    pub(crate) fn rebuild_indices(&mut self) -> Result<(), StoreError> {
        for shard in self.shards()? {
            self.make_index(shard)?;
        }
        Ok(())
    }

    /// Moves a record that cannot be read to quarantine.
    pub(crate) fn move_aside(
        &mut self,
        writing: &Writing,
        shard: u64,
        id: &DeploymentId,
    ) -> Result<(), StoreError> {
        let to = self.aside(&file_name(id));
        self.rename_aside(writing, &self.place.record(shard, id), &to)?;
        self.sync_shard(writing, shard)?;
        // Its row is no longer true, and its number is not known.
        let path = self.place.index(shard);
        fs::remove_file(&path)
            .or_else(|e| match e.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(e),
            })
            .map_err(|e| system("an index cannot be removed", &path, e))
    }

    /// Moves a state that cannot be read to quarantine, and with it what was about to become a
    /// record when it was lost.
    pub(crate) fn move_state_aside(&mut self, writing: &Writing) -> Result<(), StoreError> {
        for shard in self.shards()? {
            for name in names(&self.place.shard(shard))? {
                let half = name.strip_prefix(durable::TEMPORARY);
                if let Some(id) = half.and_then(id_of) {
                    let from = self.place.unpublished(shard, &id);
                    self.rename_aside(writing, &from, &self.aside(&file_name(&id)))?;
                }
            }
        }
        let path = self.place.state();
        if path.exists() {
            self.rename_aside(writing, &path, &self.aside("state.json"))?;
        }
        self.state = None;
        Ok(())
    }

    fn rename_aside(&self, writing: &Writing, from: &Path, to: &PathBuf) -> Result<(), StoreError> {
        make_dir(&self.quarantine)?;
        self.durably(
            writing,
            "a damaged file cannot be moved aside",
            from,
            || fs::rename(from, to),
        )?;
        self.sync(writing, &self.quarantine)?;
        tracing::warn!(to = %to.display(), "a damaged file was moved aside");
        Ok(())
    }
}
