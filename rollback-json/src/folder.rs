//! One workload's directory: its state, records and indices, with what has been read of them.

mod ended;
mod finding;
mod indexing;
mod rebuilding;
mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rollback_core::deployment::{Deployment, IllegalEvent};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_fs::system;

use crate::index::Index;
use crate::layout::{Layout, Place, file_name, id_of};
use crate::record::{self, read, unreadable};
use crate::seal::Unreadable;
use crate::state::{Amendment, State, damaged};

pub(crate) use ended::has_ended;
pub(crate) use finding::{Beginnings, Named};
pub(crate) use indexing::{Others, Overlay};
pub(crate) use writing::Writing;

/// One workload's directory and what has been read of it. What is remembered of a file is believed
/// only while the file has the same content.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) workload: WorkloadId,
    pub(crate) place: Place,
    root: PathBuf,
    quarantine: PathBuf,
    state: Option<(Vec<u8>, State)>,
    current: Option<Current>,
    indices: BTreeMap<u64, Index>,
    /// The ids of each shard's records, and of which content of its index.
    ids: BTreeMap<u64, Ids>,
}

/// Ids, and the mark of the index that they go with.
type Ids = ((String, u64), Vec<DeploymentId>);

/// The record in flight as its file is.
#[derive(Debug)]
struct Current {
    bytes: Vec<u8>,
    deployment: Deployment,
    /// Whether there is nothing in it that this version does not know.
    plain: bool,
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
            root: layout.root().to_owned(),
            quarantine: layout.quarantine(),
            workload,
            state: None,
            current: None,
            indices: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    /// The state as its file says now. Without one there are no records either, or it was lost.
    pub(crate) fn state(&mut self) -> Result<State, StoreError> {
        let path = self.place.state();
        let mut bytes = read(&path)?;
        // It is there before the first record is. In this order, lest it comes in between.
        if bytes.is_none() && self.has_records()? {
            bytes = read(&path)?;
            if bytes.is_none() {
                return Err(damaged(&path, "the file is gone, and there are records"));
            }
        }
        let Some(bytes) = bytes else {
            self.state = None;
            return Ok(State::unseen(self.workload.clone()));
        };
        match &self.state {
            Some((known, state)) if *known == bytes => Ok(state.clone()),
            _ => {
                let state = State::open(&bytes, &self.workload, &path)?;
                self.state = Some((bytes, state.clone()));
                Ok(state)
            }
        }
    }

    /// The state to read records by, and why it is not the workload's own: records are shown
    /// though their state is damaged, or its file cannot be opened.
    pub(crate) fn state_for_reading(&mut self) -> (State, Option<StoreError>) {
        match self.state() {
            Ok(state) => (state, None),
            Err(e) => (State::unseen(self.workload.clone()), Some(e)),
        }
    }

    fn has_records(&self) -> Result<bool, StoreError> {
        for shard in self.shards()? {
            if names(&self.place.shard(shard))?
                .iter()
                .any(|n| id_of(n).is_some())
            {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// A record's own file, pending changes not applied.
    pub(crate) fn look(&self, shard: u64, id: &DeploymentId) -> Found {
        self.look_at(&self.place.record(shard, id), id)
    }

    /// A file that the system does not let us read hides no other either.
    fn look_at(&self, path: &Path, id: &DeploymentId) -> Found {
        let read = read(path).and_then(|bytes| {
            let decoded = bytes.map(|bytes| self.decode(path, &bytes, id));
            decoded.transpose()
        });
        match read {
            Ok(Some(d)) => Found::Record(Box::new(d)),
            Ok(None) => Found::Nothing,
            Err(e) => Found::Unreadable(e),
        }
    }

    fn decode(
        &self,
        path: &Path,
        bytes: &[u8],
        id: &DeploymentId,
    ) -> Result<Deployment, StoreError> {
        let why = match record::decode(bytes) {
            Ok(d) if d.id() == id && *d.workload() == self.workload => return Ok(d),
            Ok(d) => Unreadable::Damaged(format!("it is the record of {}", d.id())),
            Err(why) => why,
        };
        Err(unreadable(path, &why))
    }

    /// A committed record as it is now.
    pub(crate) fn get(&self, state: &State, shard: u64, id: &DeploymentId) -> Found {
        let pending = &state.pending;
        if pending.forgets(id) {
            return Found::Nothing;
        }
        let mut found = self.look(shard, id);
        if matches!(found, Found::Nothing) && pending.opens(id).is_some() {
            found = self.look_at(&self.place.unpublished(shard, id), id);
            if matches!(found, Found::Nothing) {
                // It got its name between the two looks.
                found = self.look(shard, id);
            }
        }
        let Found::Record(d) = found else {
            return found;
        };
        let changes = pending.events.iter().filter(|c| c.deployment == *id);
        match amended(*d, changes) {
            Ok(d) => Found::Record(Box::new(d)),
            // What was committed does not fit what the record says.
            Err(e) => Found::Unreadable(e.into()),
        }
    }

    /// In which shard a deployment's file is, or will get its name.
    pub(crate) fn shard_with(&mut self, id: &DeploymentId) -> Result<Option<u64>, StoreError> {
        let shards = self.shards()?;
        if let Some(shard) = self.shard_among(&shards, id) {
            return Ok(Some(shard));
        }
        let (state, _) = self.state_for_reading();
        Ok(state.pending.opens(id).map(|placed| placed.shard))
    }

    /// In which of these shards a deployment's file is.
    fn shard_among(&self, shards: &[u64], id: &DeploymentId) -> Option<u64> {
        let name = file_name(id);
        let found = |shard: &&u64| self.place.shard(**shard).join(&name).exists();
        shards.iter().rev().find(found).copied()
    }

    /// The record in flight.
    pub(crate) fn current(
        &mut self,
        shard: u64,
        id: &DeploymentId,
    ) -> Result<Deployment, StoreError> {
        let path = self.place.record(shard, id);
        let Some(bytes) = read(&path)? else {
            return Err(StoreError::unknown(id));
        };
        if let Some(current) = &self.current
            && current.bytes == bytes
            && current.deployment.id() == id
        {
            return Ok(current.deployment.clone());
        }
        let deployment = self.decode(&path, &bytes, id)?;
        self.current = Some(Current {
            plain: record::encode(&deployment)? == bytes,
            deployment: deployment.clone(),
            bytes,
        });
        Ok(deployment)
    }

    /// Where what is damaged is moved to.
    fn aside(&self, name: &str) -> PathBuf {
        let mut to = self.quarantine.join(format!("{}.{name}", self.workload));
        let mut nth = 1;
        while to.exists() {
            nth += 1;
            to = self
                .quarantine
                .join(format!("{}.{nth}.{name}", self.workload));
        }
        to
    }
}

/// Whether an error is of one workload or record alone, and hides no other.
pub(crate) fn is_of_one(e: &StoreError) -> bool {
    matches!(e.kind(), Kind::Corrupt | Kind::NewerSchema)
}

/// The names in a directory, sorted; none if it is not there.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    each_name(dir, |name| names.push(name.to_owned()))?;
    names.sort_unstable();
    Ok(names)
}

/// The same one by one, in any order.
pub(crate) fn each_name(dir: &Path, mut take: impl FnMut(&str)) -> Result<(), StoreError> {
    let failed = |e| system("a directory of the history cannot be read", dir, e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        if let Some(name) = entry.map_err(failed)?.file_name().to_str() {
            take(name);
        }
    }
    Ok(())
}

/// A record with what was committed for it, as far as it is without it.
fn amended<'a>(
    mut record: Deployment,
    changes: impl IntoIterator<Item = &'a Amendment>,
) -> Result<Deployment, IllegalEvent> {
    for change in changes {
        if !record.events().contains(&change.event) {
            record.apply(change.event.clone())?;
        }
    }
    Ok(record)
}
