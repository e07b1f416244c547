//! Summaries, kept beside the records that they follow from: a workload's lie together, so that its
//! list reads a few pages and no record.
//!
//! Triggers take a summary away when anything changes its record, whoever does it: an older library
//! that has the file open, or a hand. What has none is summarized from the record.

use std::iter::Peekable;

use rollback_core::deployment::Deployment;
use rollback_core::history::{Query, Sequence, Summaries, Summary};
use rollback_core::id::WorkloadId;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::read::{self, readable};
use crate::record::{Raw, decode, encode, sequences};

/// The table, and what keeps it from saying what is not so.
pub(crate) const TABLE: &str = "
CREATE TABLE summaries (
    workload   TEXT NOT NULL,
    deployment INTEGER NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (workload, deployment)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER summaries_record_gone AFTER DELETE ON deployments BEGIN
    DELETE FROM summaries WHERE workload = old.workload AND deployment = old.sequence;
END;
CREATE TRIGGER summaries_record_changed AFTER UPDATE OF workload, header, annotations ON deployments
BEGIN
    DELETE FROM summaries WHERE workload = old.workload AND deployment = old.sequence;
END;
CREATE TRIGGER summaries_event_added AFTER INSERT ON events BEGIN
    DELETE FROM summaries WHERE deployment = new.deployment
      AND workload = (SELECT workload FROM deployments WHERE sequence = new.deployment);
END;
CREATE TRIGGER summaries_event_changed AFTER UPDATE ON events BEGIN
    DELETE FROM summaries WHERE deployment IN (old.deployment, new.deployment)
      AND workload IN
        (SELECT workload FROM deployments WHERE sequence IN (old.deployment, new.deployment));
END;
CREATE TRIGGER summaries_event_gone AFTER DELETE ON events BEGIN
    DELETE FROM summaries WHERE deployment = old.deployment
      AND workload = (SELECT workload FROM deployments WHERE sequence = old.deployment);
END;
";

/// Keeps the summary of a settled record. One in flight changes with each event, and is read whole.
pub(crate) fn keep(tx: &Connection, deployment: &Deployment) -> Result<(), Failure> {
    if deployment.settlement().is_none() {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO summaries (workload, deployment, body) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![
        deployment.workload().to_string(),
        i64::try_from(deployment.sequence().0).unwrap_or(i64::MAX),
        encode(&Summary::of(deployment))?
    ])?;
    Ok(())
}

/// Makes the summaries of a file that has had none. What cannot be read has none.
pub(crate) fn fill(tx: &Connection) -> Result<(), Failure> {
    for sequence in sequences(tx)? {
        match Raw::at(tx, sequence).and_then(|raw| raw.deployment(tx)) {
            Ok(deployment) => keep(tx, &deployment)?,
            Err(e) if e.is_of_one_record() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The kept summary of one record; `None` if it has none that can be read.
pub(crate) fn kept(tx: &Connection, deployment: &Deployment) -> Result<Option<Summary>, Failure> {
    let sequence = i64::try_from(deployment.sequence().0).unwrap_or(i64::MAX);
    let body: Option<Option<String>> = tx
        .prepare_cached("SELECT body FROM summaries WHERE workload = ?1 AND deployment = ?2")?
        .query_row(
            params![deployment.workload().to_string(), sequence],
            |row| Ok(row.get(0).ok()),
        )
        .optional()?;
    Ok(body.flatten().and_then(|body| decode("", &body).ok()))
}

/// The summaries of one workload, newest first, at most `limit`.
pub(crate) fn of(
    connection: &Connection,
    workload: &WorkloadId,
    limit: usize,
) -> Result<Summaries, Failure> {
    match walk(connection, workload, limit) {
        Err(e) if e.is_damage() => salvage(connection, workload),
        all => all,
    }
}

fn walk(
    connection: &Connection,
    workload: &WorkloadId,
    limit: usize,
) -> Result<Summaries, Failure> {
    let mut records = connection.prepare_cached(
        "SELECT sequence FROM deployments WHERE service = ?1 AND target = ?2
         ORDER BY sequence DESC",
    )?;
    let (service, target) = (workload.service().as_str(), workload.target().as_str());
    let records = records.query_map([service, target], |row| row.get::<_, i64>(0))?;
    let mut bodies = connection.prepare_cached(
        "SELECT deployment, body FROM summaries WHERE workload = ?1 ORDER BY deployment DESC",
    )?;
    let bodies = bodies.query_map([workload.to_string()], |row| {
        // What is no text is no summary: its record is asked.
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1).ok()))
    })?;
    let mut bodies = bodies.peekable();
    let mut all = Summaries::default();
    for sequence in records {
        if all.summaries.len() == limit {
            return Ok(all);
        }
        let sequence = sequence?;
        let summary = match body_of(&mut bodies, sequence)? {
            Some(body) => decode::<Summary>(workload, &body).ok(),
            None => None,
        };
        let summary = summary.filter(|s| i64::try_from(s.sequence.0) == Ok(sequence));
        match summary {
            Some(summary) => all.summaries.push(summary),
            None => {
                let read = Raw::at(connection, sequence).and_then(|raw| raw.deployment(connection));
                let read = readable(read, sequence, &mut all.unreadable)?;
                all.summaries.extend(read.as_ref().map(Summary::of));
            }
        }
    }
    all.is_whole = true;
    Ok(all)
}

/// The body of one record, where both are walked from the newest on.
fn body_of(
    bodies: &mut Peekable<impl Iterator<Item = rusqlite::Result<(i64, Option<String>)>>>,
    sequence: i64,
) -> Result<Option<String>, Failure> {
    while let Some(next) = bodies.next_if(|b| b.as_ref().map_or(true, |(at, _)| *at >= sequence)) {
        let (at, body) = next?;
        if at == sequence {
            return Ok(body);
        }
    }
    Ok(None)
}

/// Those of a file in which a page of SQLite's is damaged, from the records that can be read.
fn salvage(connection: &Connection, workload: &WorkloadId) -> Result<Summaries, Failure> {
    let mut query = Query::workload(workload).limit(1_000);
    let mut all = Summaries::default();
    loop {
        let page = read::list(connection, &query)?;
        all.summaries
            .extend(page.deployments.iter().map(Summary::of));
        all.unreadable.extend(page.unreadable);
        match page.next {
            Some(next) => query.before = Some::<Sequence>(next),
            None => {
                all.is_whole = true;
                return Ok(all);
            }
        }
    }
}
