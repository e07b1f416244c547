//! One workload's directory: its state, records and indices, with what has been read of them.

mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rollback_core::deployment::Deployment;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::Sequence;
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_fs::system;

use crate::index::{Index, Look, Row};
use crate::layout::{Layout, Place, file_name, id_of};
use crate::record::{self, Stamp, read, unreadable};
use crate::seal::Unreadable;
use crate::state::State;

pub(crate) use writing::Writing;

/// One workload's directory and what has been read of it.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) workload: WorkloadId,
    pub(crate) place: Place,
    quarantine: PathBuf,
    state: Option<(Stamp, State)>,
    /// The state whose pending changes are known to be in the records.
    carried_out: Option<Stamp>,
    /// The record in flight as it was last written here.
    current: Option<(Stamp, Deployment)>,
    indices: BTreeMap<u64, Index>,
    made: bool,
}

/// A record's file, looked at.
pub(crate) enum Found {
    Record(Box<Deployment>),
    /// It cannot be read, and why.
    Unreadable(StoreError),
    Nothing,
}

impl Folder {
    pub(crate) fn new(layout: &Layout, workload: WorkloadId) -> Self {
        Self {
            place: layout.workload(&workload),
            quarantine: layout.quarantine(),
            workload,
            state: None,
            carried_out: None,
            current: None,
            indices: BTreeMap::new(),
            made: false,
        }
    }

    /// The state as its file says now.
    pub(crate) fn state(&mut self) -> Result<State, StoreError> {
        let path = self.place.state();
        let stamp = Stamp::of(&path)?;
        match (&self.state, stamp) {
            (Some((known, state)), Some(stamp)) if *known == stamp => return Ok(state.clone()),
            (_, None) => return Ok(State::unseen(self.workload.clone())),
            _ => {}
        }
        let Some((state, stamp)) = State::load(&path)? else {
            return Ok(State::unseen(self.workload.clone()));
        };
        self.state = Some((stamp, state.clone()));
        Ok(state)
    }

    /// The greatest number that any record of the workload has, committed or not.
    pub(crate) fn greatest(&self) -> Result<u64, StoreError> {
        let mut greatest = 0;
        // Numbers grow with the directories.
        if let Some(shard) = self.shards()?.last() {
            let rows = self.scan(*shard, None)?.rows;
            greatest = rows.last_key_value().map_or(0, |(s, _)| s.0);
        }
        Ok(greatest)
    }

    /// The shards that there are, oldest first.
    pub(crate) fn shards(&self) -> Result<Vec<u64>, StoreError> {
        let mut shards: Vec<u64> = names(&self.place.records())?
            .iter()
            .filter_map(|n| n.parse().ok())
            .collect();
        shards.sort_unstable();
        Ok(shards)
    }

    /// A shard's rows, up to date. Made anew from the records where the index is in doubt, and
    /// then saved if this is a writer, or nobody else writes just now.
    pub(crate) fn index(
        &mut self,
        shard: u64,
        writing: Option<&Writing>,
    ) -> Result<&BTreeMap<Sequence, Row>, StoreError> {
        let path = self.place.index(shard);
        let look = self.indices.entry(shard).or_default().refresh(&path)?;
        if look == Look::Rebuild {
            let mut made = self.scan(shard, writing)?;
            if writing.is_some() {
                made.save(&path)?;
            }
            self.indices.insert(shard, made);
        }
        Ok(&self.indices.entry(shard).or_default().rows)
    }

    /// What is in a shard and is no record.
    pub(crate) fn broken(&self, shard: u64) -> Vec<String> {
        let index = self.indices.get(&shard);
        index.map_or_else(Vec::new, |i| i.broken.values().cloned().collect())
    }

    /// The index that a shard's records make. A writer moves what is damaged aside.
    fn scan(&self, shard: u64, writing: Option<&Writing>) -> Result<Index, StoreError> {
        let mut made = Index::default();
        for name in names(&self.place.shard(shard))? {
            let Some(id) = id_of(&name) else { continue };
            match self.look(shard, &id)? {
                Found::Record(d) => {
                    made.rows.insert(d.sequence(), Row::of(&d));
                }
                Found::Unreadable(e) => {
                    let why = match writing {
                        Some(writing) if e.kind() == Kind::Corrupt => {
                            self.move_aside(writing, shard, &id, &e)?
                        }
                        _ => e.to_string(),
                    };
                    made.broken.insert(name, why);
                }
                Found::Nothing => {}
            }
        }
        Ok(made)
    }

    /// A record's own file, pending changes not applied.
    pub(crate) fn look(&self, shard: u64, id: &DeploymentId) -> Result<Found, StoreError> {
        let path = self.place.shard(shard).join(file_name(id));
        let Some((bytes, _)) = read(&path)? else {
            return Ok(Found::Nothing);
        };
        Ok(match record::decode(&bytes) {
            Ok(d) if d.id() == id && *d.workload() == self.workload => Found::Record(Box::new(d)),
            Ok(d) => {
                let why = Unreadable::Damaged(format!("it is the record of {}", d.id()));
                Found::Unreadable(unreadable(&path, &why))
            }
            Err(why) => Found::Unreadable(unreadable(&path, &why)),
        })
    }

    /// A committed record as it is now.
    pub(crate) fn get(
        &mut self,
        state: &State,
        shard: u64,
        id: &DeploymentId,
    ) -> Result<Found, StoreError> {
        let found = self.look(shard, id)?;
        let Found::Record(mut d) = found else {
            return Ok(found);
        };
        if d.sequence() > state.last || state.pending.forgets(d.sequence()) {
            return Ok(Found::Nothing);
        }
        for change in &state.pending.events {
            if change.deployment == *id && !d.events().contains(&change.event) {
                d.apply(change.event.clone())
                    .map_err(|e| crate::error::illegal(id, e.to_string()).because(e))?;
            }
        }
        Ok(Found::Record(d))
    }

    /// In which shard a deployment's file is.
    pub(crate) fn shard_with(&self, id: &DeploymentId) -> Result<Option<u64>, StoreError> {
        let name = file_name(id);
        let shards = self.shards()?;
        let found = |shard: &&u64| self.place.shard(**shard).join(&name).exists();
        Ok(shards.iter().rev().find(found).copied())
    }

    /// The record in flight, read again only if another process has written it.
    pub(crate) fn current(
        &mut self,
        shard: u64,
        id: &DeploymentId,
    ) -> Result<Deployment, StoreError> {
        let path = self.place.record(shard, id);
        let stamp = Stamp::of(&path)?;
        if let Some((known, d)) = &self.current
            && Some(*known) == stamp
            && d.id() == id
        {
            return Ok(d.clone());
        }
        match self.look(shard, id)? {
            Found::Record(d) => {
                if let Some(stamp) = stamp {
                    self.current = Some((stamp, (*d).clone()));
                }
                Ok(*d)
            }
            Found::Unreadable(e) => Err(e),
            Found::Nothing => Err(crate::error::unknown(id)),
        }
    }
}

/// The names in a directory, sorted; none if it is not there.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(system("a directory of the history cannot be read", dir, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|e| system("a directory of the history cannot be read", dir, e))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
