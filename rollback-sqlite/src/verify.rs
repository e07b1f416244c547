//! Verification: reads everything, and says what is wrong with it.

use std::collections::BTreeMap;

use rollback_core::deployment::Deployment;
use rollback_core::history::{Fault, Liveness, Summary};
use rollback_core::id::{Actor, WorkloadId};
use rollback_core::time::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::columns::{decode, split, word};
use crate::error::{Failure, unreadable};
use crate::identity::identity;
use crate::kept;
use crate::record::{Raw, key, load, sequences};
use crate::schema;
use crate::state::Entry;
use rollback_fs::strict;

/// SQLite's own check, then each record and each workload, read as they are read in use. Damage
/// to one thing ends the check of that thing only.
pub(crate) fn verify(connection: &Connection) -> Result<Vec<Fault>, Failure> {
    let mut report = Report(Vec::new());
    let checked = file(connection, &mut report);
    report.noting("the file", checked)?;
    let differs = schema::differs(connection);
    for name in report.noting("the schema", differs)?.unwrap_or_default() {
        let what = "it is not as this library makes it";
        report.fault(format!("{name} of the schema"), what);
    }
    let found = sequences(connection);
    for sequence in report
        .noting("the table deployments", found)?
        .unwrap_or_default()
    {
        let place = format!("record {sequence}");
        let checked = record(connection, sequence, &mut report);
        report.noting(&place, checked)?;
    }
    let found = nameless(connection, &mut report);
    report.noting("the table workloads", found)?;
    let found = Entry::all(connection);
    let (entries, damaged) = report
        .noting("the table workloads", found)?
        .unwrap_or_default();
    for damaged in damaged {
        report.fault(damaged.workload.to_string(), damaged.error.to_string());
    }
    let found = identity(connection);
    report.noting("the table history", found)?;
    for entry in entries {
        let checked = workload(connection, &entry, &mut report);
        report.noting(&entry.workload.to_string(), checked)?;
    }
    Ok(report.0)
}

/// Of what has no seal nobody can say whether it was changed.
const UNSEALED: &str = "it is not sealed, as only what was damaged before the history was migrated \
                        is: whether it was changed by hand cannot be told";

/// The faults so far.
struct Report(Vec<Fault>);

impl Report {
    fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.0.push(Fault::new(place.into(), what.into()));
    }

    /// Makes a fault of an error that is one; passes on what kept us from looking.
    fn noting<T>(&mut self, place: &str, found: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match found {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.is_of_one_record() => {
                self.fault(place, e.to_string());
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

fn file(connection: &Connection, report: &mut Report) -> Result<(), Failure> {
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            report.fault("the file", said);
        }
    }
    let mut check = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let table: String = row.get(0)?;
        report.fault(
            format!("the table {table}"),
            "a row belongs to a deployment that is not there",
        );
    }
    Ok(())
}

fn record(connection: &Connection, sequence: i64, report: &mut Report) -> Result<(), Failure> {
    let raw = Raw::at(connection, sequence)?;
    let id = raw.id.clone();
    for text in [&raw.header, &raw.annotations] {
        strict::check(text.as_bytes()).map_err(|e| unreadable(&id, e))?;
    }
    let events = events(connection, sequence)?;
    for event in &events {
        strict::check(event.body.as_bytes()).map_err(|e| unreadable(&id, e))?;
    }
    let sealed = raw.seal.is_some() && raw.annotations_seal.is_some();
    if !sealed || events.iter().any(|event| !event.sealed) {
        report.fault(&id, UNSEALED);
    }
    let deployment = raw.deployment(connection)?;
    for (column, told) in columns(&deployment)? {
        let sql = format!("SELECT {column} FROM deployments WHERE sequence = ?1");
        let stored: Value = connection
            .prepare_cached(&sql)?
            .query_row([sequence], |row| row.get(0))?;
        if stored != told {
            report.fault(&id, differs(column, &stored, &told));
        }
    }
    if kept::kept(connection, &deployment)?.is_some_and(|s| s != Summary::of(&deployment)) {
        report.fault(
            &id,
            "its summary is not what it says: lists may call it something else than it is",
        );
    }
    for (Columns { name, at, .. }, event) in events.iter().zip(deployment.events()) {
        if name != event.event.name() || *at != event.at.as_microsecond() {
            let what = format!("an event's columns say {name} at {at}, and the event does not");
            report.fault(&id, what);
        }
    }
    if labels(connection, sequence)? != deployment.opening().labels {
        report.fault(
            &id,
            "its labels are not those in the table: searches by label may miss it",
        );
    }
    if deployment.settlement().is_none() && !in_flight(connection, &deployment)? {
        report.fault(
            &id,
            "it is unfinished, and its workload does not know: nobody will settle it",
        );
    }
    Ok(())
}

/// The columns that repeat what the record says, and what they must hold.
fn columns(deployment: &Deployment) -> Result<[(&'static str, Value); 14], Failure> {
    let new = deployment.opening();
    let text = |s: &str| Value::Text(s.to_owned());
    let (us, ns) = split(new.opened_at);
    let settled = deployment.settlement().is_some();
    let verdict = if settled {
        Value::Text(word(&deployment.verdict().kind())?)
    } else {
        Value::Null
    };
    let duration = deployment
        .duration()
        .map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    Ok([
        ("workload", text(&new.workload.to_string())),
        ("service", text(new.workload.service().as_str())),
        ("target", text(new.workload.target().as_str())),
        ("backend", new.backend().map(|b| text(b.as_str())).into()),
        ("trigger", text(new.trigger.kind().as_str())),
        ("actor", text(new.actor.name().as_str())),
        ("opened_us", us.into()),
        ("opened_ns", ns.into()),
        (
            "outcome",
            deployment.outcome().map(|o| text(o.as_str())).into(),
        ),
        ("verdict", verdict),
        (
            "settled_us",
            deployment
                .settled_at()
                .map(Timestamp::as_microsecond)
                .into(),
        ),
        ("duration_ms", duration.into()),
        ("asked_key", key(new).map(text).into()),
        ("pinned", deployment.annotations().pinned.into()),
    ])
}

fn differs(column: &str, stored: &Value, told: &Value) -> String {
    format!(
        "the column {column} says {} and the record says {}: filters and counts may be wrong, \
         the record is not",
        shown(stored),
        shown(told)
    )
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Real(_) | Value::Blob(_) => "what is neither text nor a number".to_owned(),
    }
}

/// The row of an event.
struct Columns {
    name: String,
    at: i64,
    body: String,
    sealed: bool,
}

fn events(connection: &Connection, sequence: i64) -> Result<Vec<Columns>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT name, at_us, body, seal IS NOT NULL FROM events WHERE deployment = ?1
         ORDER BY ordinal",
    )?;
    let events = statement.query_map([sequence], |row| {
        Ok(Columns {
            name: row.get(0)?,
            at: row.get(1)?,
            body: row.get(2)?,
            sealed: row.get(3)?,
        })
    })?;
    Ok(events.collect::<Result<_, _>>()?)
}

fn labels(connection: &Connection, sequence: i64) -> Result<BTreeMap<String, String>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT name, value FROM labels WHERE deployment = ?1")?;
    let labels = statement.query_map([sequence], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(labels.collect::<Result<_, _>>()?)
}

fn in_flight(connection: &Connection, deployment: &Deployment) -> Result<bool, Failure> {
    let entry = Entry::find(connection, deployment.workload())?;
    Ok(entry.is_some_and(|e| e.holds(deployment.id())))
}

/// Workloads whose id is none: they are left out wherever workloads are listed.
fn nameless(connection: &Connection, report: &mut Report) -> Result<(), Failure> {
    let mut statement = connection.prepare("SELECT id FROM workloads")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let what = match row.get::<_, String>(0) {
            Ok(id) => id.parse::<WorkloadId>().err().map(|e| e.to_string()),
            Err(e) => Some(format!("the id of a workload is no text ({e})")),
        };
        if let Some(what) = what {
            report.fault("the table workloads", what);
        }
    }
    Ok(())
}

fn workload(connection: &Connection, entry: &Entry, report: &mut Report) -> Result<(), Failure> {
    let place = entry.workload.to_string();
    if let Some(by) = &entry.cancel_by {
        decode::<Actor>(&place, by)?;
    }
    // Who lives does not matter for what is written.
    let state = entry.state(|_, _| Ok(Liveness::Dead))?;
    if !entry.is_sealed() {
        report.fault(&place, UNSEALED);
    }
    if let Some(live) = state.live.known()
        && load(connection, live)?.is_none()
    {
        report.fault(&place, format!("{live} is live, and has no record"));
    }
    if let Some(in_flight) = state.in_flight {
        let id = &in_flight.deployment;
        match load(connection, id)? {
            None => report.fault(&place, format!("{id} is in flight, and has no record")),
            Some(d) if d.settlement().is_some() => {
                report.fault(
                    &place,
                    format!("{id} is in flight, and its record is settled"),
                );
            }
            Some(_) => {}
        }
    } else if entry.is_half_held() {
        report.fault(&place, "a deployment is in flight, and nobody holds it");
    }
    Ok(())
}
