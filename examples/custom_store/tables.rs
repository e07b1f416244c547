//! What is in the file: five tables, and the rules that hold between them.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use rollback_core::deployment::{Annotations, Deployment, Opening, Phase};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::TimedEvent;
use rollback_core::history::{Claim, Epoch, Sequence, WorkloadState, capped_json};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Records by sequence, as JSON.
pub(crate) const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// The sequence of each id.
pub(crate) const IDS: TableDefinition<'_, &str, u64> = TableDefinition::new("ids");
/// The deployment that was asked for under each workload's idempotency key.
pub(crate) const KEYS: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("keys");
/// A [`Row`] for each workload, as JSON.
pub(crate) const WORKLOADS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("workloads");
/// The history's identity, and the newest sequence given.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// A record in its parts. `Deployment` is their fold, and is not read as it is written.
#[derive(Serialize, Deserialize)]
struct Parts {
    new: Opening,
    annotations: Annotations,
    events: Vec<TimedEvent>,
}

/// What is kept of a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Who lives is not kept, but found out each time.
    pub(crate) state: WorkloadState,
    /// How often the lease has changed hands, whether or not somebody has it.
    pub(crate) epoch: Epoch,
    pub(crate) cancel_requested_by: Option<Actor>,
    /// What was settled last, and under which epoch: so that the same `finish` again is recognised.
    pub(crate) finished: Option<(DeploymentId, Epoch)>,
}

impl Row {
    pub(crate) fn in_flight(&self) -> Option<&DeploymentId> {
        self.state.in_flight.as_ref().map(|f| &f.deployment)
    }

    /// Whether the deployment in flight is this lease's.
    pub(crate) fn fence(&self, lease: &Claim) -> Result<(), StoreError> {
        lease.check(self.epoch, self.in_flight())
    }
}

/// One write to the file: all of it is done, or nothing.
pub(crate) struct Write(pub(crate) WriteTransaction);

impl Write {
    pub(crate) fn row(&self, workload: &WorkloadId) -> Result<Row, StoreError> {
        let table = self.0.open_table(WORKLOADS).map_err(broken)?;
        row_of(&table, workload)
    }

    pub(crate) fn put_row(&self, row: &Row) -> Result<(), StoreError> {
        let mut table = self.0.open_table(WORKLOADS).map_err(broken)?;
        let key = row.state.workload.to_string();
        let json = to_json(row)?;
        table.insert(&*key, &*json).map_err(broken)?;
        Ok(())
    }

    pub(crate) fn record(&self, id: &DeploymentId) -> Result<Deployment, StoreError> {
        let ids = self.0.open_table(IDS).map_err(broken)?;
        let records = self.0.open_table(RECORDS).map_err(broken)?;
        record_of(&ids, &records, id)?.ok_or_else(|| StoreError::unknown(id))
    }

    /// How far a deployment is. A record that cannot be read is in the way all the same.
    pub(crate) fn phase(&self, id: &DeploymentId) -> Phase {
        self.record(id).map_or(Phase::Opened, |d| d.phase())
    }

    pub(crate) fn put_record(&self, deployment: &Deployment) -> Result<(), StoreError> {
        let mut records = self.0.open_table(RECORDS).map_err(broken)?;
        let json = to_json(&Parts {
            new: deployment.opening().clone(),
            annotations: deployment.annotations().clone(),
            events: deployment.events().to_vec(),
        })?;
        let key = deployment.sequence().0;
        records.insert(key, &*json).map_err(broken)?;
        Ok(())
    }

    /// Adds events to a record, if they can follow.
    pub(crate) fn apply(&self, id: &DeploymentId, events: &[TimedEvent]) -> Result<(), StoreError> {
        self.put_record(&self.record(id)?.with(events)?)
    }

    /// Opens a record, with the next sequence.
    pub(crate) fn open(&self, new: &Opening) -> Result<Sequence, StoreError> {
        capped_json(&new.id, new)?;
        self.take_key(new)?;
        let sequence = Sequence(self.sequence()?.0 + 1);
        self.set_sequence(sequence)?;
        let mut ids = self.0.open_table(IDS).map_err(broken)?;
        let there = ids
            .insert(new.id.as_str(), sequence.0)
            .map_err(broken)?
            .is_some();
        if there {
            return Err(StoreError::known(&new.id));
        }
        self.put_record(&Deployment::open(new.clone(), sequence))?;
        Ok(sequence)
    }

    /// Takes a deployment's idempotency key; that of a record which is gone is free again.
    fn take_key(&self, new: &Opening) -> Result<(), StoreError> {
        let Some(asked) = &new.asked else {
            return Ok(());
        };
        let workload = new.workload.to_string();
        let place = (&*workload, asked.key.as_str());
        let mut keys = self.0.open_table(KEYS).map_err(broken)?;
        let taken = keys.get(place).map_err(broken)?;
        let by = taken.map(|id| id.value().to_owned());
        if let Some(by) = by.and_then(|id| id.parse().ok())
            && self.record(&by).is_ok()
        {
            return Err(StoreError::key_taken(&asked.key, &by));
        }
        keys.insert(place, new.id.as_str()).map_err(broken)?;
        Ok(())
    }

    /// The newest sequence that was given, or is not to be given.
    pub(crate) fn sequence(&self) -> Result<Sequence, StoreError> {
        let meta = self.0.open_table(META).map_err(broken)?;
        let last = meta.get("sequence").map_err(broken)?;
        last.map_or(Ok(Sequence(0)), |json| from_json("sequence", json.value()))
    }

    pub(crate) fn set_sequence(&self, sequence: Sequence) -> Result<(), StoreError> {
        let mut meta = self.0.open_table(META).map_err(broken)?;
        let json = to_json(&sequence)?;
        meta.insert("sequence", &*json).map_err(broken)?;
        Ok(())
    }
}

pub(crate) fn row_of(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    workload: &WorkloadId,
) -> Result<Row, StoreError> {
    let key = workload.to_string();
    match table.get(&*key).map_err(broken)? {
        Some(json) => from_json(&key, json.value()),
        None => Ok(Row {
            state: WorkloadState::unseen(workload.clone()),
            epoch: Epoch::default(),
            cancel_requested_by: None,
            finished: None,
        }),
    }
}

pub(crate) fn record_of(
    ids: &impl ReadableTable<&'static str, u64>,
    records: &impl ReadableTable<u64, &'static [u8]>,
    id: &DeploymentId,
) -> Result<Option<Deployment>, StoreError> {
    let Some(sequence) = ids.get(id.as_str()).map_err(broken)? else {
        return Ok(None);
    };
    let json = records.get(sequence.value()).map_err(broken)?;
    json.map(|json| parse(sequence.value(), json.value()))
        .transpose()
}

/// A record from its JSON.
pub(crate) fn parse(sequence: u64, json: &[u8]) -> Result<Deployment, StoreError> {
    let place = sequence.to_string();
    let parts: Parts = from_json(&place, json)?;
    Deployment::replay(
        parts.new,
        Sequence(sequence),
        parts.events,
        parts.annotations,
    )
    .map_err(|e| StoreError::new(Kind::Corrupt, e.to_string()).on(place))
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|e| StoreError::new(Kind::Io, "it cannot be written as JSON").because(e))
}

pub(crate) fn from_json<T: DeserializeOwned>(place: &str, json: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(json)
        .map_err(|e| StoreError::new(Kind::Corrupt, e.to_string()).on(place))
}

/// What redb says, as the kind of error that the engine goes by.
pub(crate) fn broken(e: impl Into<redb::Error>) -> StoreError {
    let e = e.into();
    let kind = match &e {
        redb::Error::DatabaseAlreadyOpen => Kind::Busy,
        redb::Error::Corrupted(_) => Kind::Corrupt,
        redb::Error::UpgradeRequired(_) => Kind::NewerSchema,
        redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => Kind::Full,
        _ => Kind::Io,
    };
    StoreError::new(kind, e.to_string())
}
