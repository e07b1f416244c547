//! A deployment as rows, and rows as a deployment.

use rollback_core::deployment::{Annotations, Deployment, Opening, RecordVersion};
use rollback_core::error::StoreError;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Epoch, Sequence, capped_json};
use rollback_core::id::{DeploymentId, IdempotencyKey, WorkloadId};
use rollback_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::columns::{decode, signed, split, word};
use crate::error::{Failure, unreadable};
use crate::kept;
use crate::seal::Seal;

/// A record's own row, not yet understood.
pub(crate) struct Raw {
    pub(crate) sequence: i64,
    pub(crate) id: String,
    pub(crate) header: String,
    pub(crate) annotations: String,
    pub(crate) seal: Option<Seal>,
    pub(crate) annotations_seal: Option<Seal>,
}

/// A record, and the seal of all that it says.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) deployment: Deployment,
    pub(crate) seal: Seal,
}

/// An event's row.
struct RawEvent {
    ordinal: usize,
    body: String,
    seal: Option<Seal>,
}

impl Raw {
    /// What [`Raw::from_row`] reads.
    pub(crate) const COLUMNS: &'static str =
        "d.sequence, d.id, d.header, d.annotations, d.seal, d.annotations_seal";

    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            id: row.get(1)?,
            header: row.get(2)?,
            annotations: row.get(3)?,
            seal: row.get(4)?,
            annotations_seal: row.get(5)?,
        })
    }

    /// The row of one record.
    pub(crate) fn at(connection: &Connection, sequence: i64) -> Result<Self, Failure> {
        let sql = format!(
            "SELECT {} FROM deployments d WHERE d.sequence = ?1",
            Self::COLUMNS
        );
        Ok(connection
            .prepare_cached(&sql)?
            .query_row([sequence], Self::from_row)?)
    }

    /// Reads the events and folds them. A record that does not parse, or was changed since it was
    /// sealed, is a `Corrupt` error of its own, apart from one of the file.
    pub(crate) fn sealed(self, connection: &Connection) -> Result<Sealed, Failure> {
        let broken = |what: &str| unreadable(&self.id, format!("{what} was changed by hand"));
        let mut statement = connection.prepare_cached(
            "SELECT ordinal, body, seal FROM events WHERE deployment = ?1 ORDER BY ordinal",
        )?;
        let mut rows = statement.query([self.sequence])?;
        let mut events = Vec::new();
        let mut seal = Seal::of_record(self.sequence, &self.header);
        let mut settled = seal;
        let mut misfit = None;
        while let Some(row) = rows.next()? {
            let event = RawEvent {
                ordinal: row.get::<_, i64>(0)?.try_into().unwrap_or(usize::MAX),
                body: row.get(1)?,
                seal: row.get(2)?,
            };
            let timed: TimedEvent = decode(&self.id, &event.body)?;
            if event.ordinal != events.len() {
                return Err(unreadable(
                    &self.id,
                    format!("event {} of its timeline is missing", events.len()),
                )
                .into());
            }
            seal = seal.then(&event.body);
            if event.seal.is_some_and(|stored| stored != seal) {
                misfit
                    .get_or_insert_with(|| format!("event {} or what is before it", event.ordinal));
            }
            if ends(&timed.event) {
                settled = seal;
            }
            events.push(timed);
        }
        let new: Opening = decode(&self.id, &self.header).map_err(|e| newer(&self, e))?;
        let annotations: Annotations = decode(&self.id, &self.annotations)?;
        let sequence = Sequence(u64::try_from(self.sequence).unwrap_or(0));
        let deployment = Deployment::replay(new, sequence, events, annotations)
            .map_err(|e| unreadable(&self.id, e))?;
        if let Some(what) = misfit {
            return Err(broken(&what).into());
        }
        if self.seal.is_some_and(|stored| stored != settled) {
            return Err(broken("its header, or how it ended,").into());
        }
        if deployment.id().as_str() != self.id {
            return Err(broken("its id").into());
        }
        let annotations = Seal::of_annotations(&self.id, &self.annotations);
        if self.annotations_seal.is_some_and(|s| s != annotations) {
            return Err(broken("what people added to it").into());
        }
        Ok(Sealed { deployment, seal })
    }

    /// The same, for reading alone.
    pub(crate) fn deployment(self, connection: &Connection) -> Result<Deployment, Failure> {
        Ok(self.sealed(connection)?.deployment)
    }
}

/// A header that a newer version wrote, and this one cannot read, is not damaged.
fn newer(raw: &Raw, e: StoreError) -> StoreError {
    match RecordVersion::named_in(&raw.header) {
        Some(version) if version.is_newer() => StoreError::newer_record(version).on(&raw.id),
        _ => e,
    }
}

/// Whether an event is one that the record's own row is brought up to date with.
fn ends(event: &Event) -> bool {
    matches!(event, Event::Settled(_) | Event::RolledBackBy { .. })
}

/// One record; `None` if there is none of that id.
pub(crate) fn load(
    connection: &Connection,
    id: &DeploymentId,
) -> Result<Option<Deployment>, Failure> {
    Ok(load_sealed(connection, id)?.map(|sealed| sealed.deployment))
}

/// The same, to be added to.
pub(crate) fn load_sealed(
    connection: &Connection,
    id: &DeploymentId,
) -> Result<Option<Sealed>, Failure> {
    let sql = format!("SELECT {} FROM deployments d WHERE d.id = ?1", Raw::COLUMNS);
    let raw = connection
        .prepare_cached(&sql)?
        .query_row([id.as_str()], Raw::from_row)
        .optional()?;
    raw.map(|raw| raw.sealed(connection)).transpose()
}

/// The sequences of all records, lowest first. They are read from an index, so that damage to the
/// table hides none.
pub(crate) fn sequences(connection: &Connection) -> Result<Vec<i64>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT sequence FROM deployments INDEXED BY deployments_opened")?;
    let mut all = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    all.sort_unstable();
    Ok(all)
}

/// The idempotency key that a deployment was asked under.
pub(crate) fn key(new: &Opening) -> Option<&str> {
    new.asked.as_ref().map(|asked| asked.key.as_str())
}

/// The deployment that was opened under this key.
pub(crate) fn keyed(
    connection: &Connection,
    workload: &WorkloadId,
    key: &IdempotencyKey,
) -> Result<Option<DeploymentId>, Failure> {
    let sql = "SELECT id FROM deployments WHERE workload = ?1 AND asked_key = ?2";
    let id: Option<String> = connection
        .prepare_cached(sql)?
        .query_row([workload.to_string().as_str(), key.as_str()], |row| {
            row.get(0)
        })
        .optional()?;
    let id = id.map(|id| id.parse().map_err(|e| unreadable(id, e)));
    Ok(id.transpose()?)
}

/// Opens a record, and gives its place in the order.
pub(crate) fn insert(connection: &Connection, new: &Opening) -> Result<Sequence, Failure> {
    let header = capped_json(&new.id, new)?;
    let exists: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM deployments WHERE id = ?1)")?
        .query_row([new.id.as_str()], |row| row.get(0))?;
    if exists {
        return Err(StoreError::known(&new.id).into());
    }
    if let Some(asked) = &new.asked
        && let Some(by) = keyed(connection, &new.workload, &asked.key)?
    {
        return Err(StoreError::key_taken(&asked.key, &by).into());
    }
    let (us, ns) = split(new.opened_at);
    // AUTOINCREMENT's own rule, said beforehand: the seal holds the sequence.
    let mut sequence: i64 = connection
        .prepare_cached(
            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'deployments'), 0),
               coalesce((SELECT max(sequence) FROM deployments), 0)) + 1",
        )?
        .query_row([], |row| row.get(0))?;
    // A number under which damage has put another record's events is nobody's.
    let mut strays =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM events WHERE deployment = ?1)")?;
    while strays.query_row([sequence], |row| row.get(0))? {
        sequence += 1;
    }
    let annotations = "{}";
    connection
        .prepare_cached(
            "INSERT INTO deployments
               (sequence, id, workload, service, target, backend, trigger, actor, opened_us,
                opened_ns, header, annotations, seal, annotations_seal, asked_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            sequence,
            new.id.as_str(),
            new.workload.to_string(),
            new.workload.service().as_str(),
            new.workload.target().as_str(),
            new.backend().map(|b| b.as_str()),
            new.trigger.kind().as_str(),
            new.actor.name().as_str(),
            us,
            ns,
            header,
            annotations,
            Seal::of_record(sequence, &header),
            Seal::of_annotations(new.id.as_str(), annotations),
            key(new),
        ])?;
    let mut labels = connection
        .prepare_cached("INSERT INTO labels (name, value, deployment) VALUES (?1, ?2, ?3)")?;
    for (name, value) in &new.labels {
        labels.execute(params![name, value, sequence])?;
    }
    Ok(Sequence(u64::try_from(sequence).unwrap_or(0)))
}

/// Adds an event to a record, after the fold has allowed it, and brings the columns that queries
/// filter on up to date.
pub(crate) fn push(
    connection: &Connection,
    record: &mut Sealed,
    event: &TimedEvent,
    epoch: Option<Epoch>,
) -> Result<(), Failure> {
    let deployment = &mut record.deployment;
    let body = capped_json(deployment.id(), event)?;
    let ordinal = i64::try_from(deployment.events().len()).unwrap_or(i64::MAX);
    let sequence = signed(deployment.sequence().0);
    deployment.apply(event.clone()).map_err(StoreError::from)?;
    record.seal = record.seal.then(&body);
    connection
        .prepare_cached(
            "INSERT INTO events (deployment, ordinal, at_us, name, body, seal)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            sequence,
            ordinal,
            event.at.as_microsecond(),
            event.event.name(),
            body,
            record.seal,
        ])?;
    if ends(&event.event) {
        connection
            .prepare_cached(
                "UPDATE deployments SET outcome = ?2, verdict = ?3, settled_us = ?4,
                   duration_ms = ?5, settled_epoch = coalesce(?6, settled_epoch), seal = ?7
                 WHERE sequence = ?1",
            )?
            .execute(params![
                sequence,
                deployment.outcome().map(|o| o.as_str()),
                word(&deployment.verdict().kind())?,
                deployment.settled_at().map(Timestamp::as_microsecond),
                deployment
                    .duration()
                    .map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
                epoch.map(|e| signed(e.0)),
                record.seal,
            ])?;
        kept::keep(connection, deployment)?;
    }
    Ok(())
}
