//! A workload's summaries: those that are kept lie together, so that its list reads a few pages and no
//! record. What has none is summarized from the record.

use std::iter::Peekable;

use rollback_core::history::{Query, Sequence, Summaries, Summary};
use rollback_core::id::WorkloadId;
use rusqlite::Connection;

use crate::columns::decode;
use crate::error::Failure;
use crate::kept::keep;
use crate::read::{self, readable};
use crate::record::{Raw, sequences};

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
