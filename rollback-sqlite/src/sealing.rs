//! Seals what an older version has written.

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::Identity;
use rusqlite::{Connection, params};

use crate::error::Failure;
use crate::record::{Raw, sequences};
use crate::seal::Seal;
use crate::state::Entry;

/// Names the history and seals everything in it. What is damaged stays as it is, unsealed: `verify`
/// names it.
pub(crate) fn seal_all(tx: &Connection) -> Result<(), Failure> {
    let identity = Identity::generate().map_err(|e| {
        StoreError::new(
            Kind::Io,
            "the system gives no random bytes for the history's id",
        )
        .because(e)
    })?;
    tx.execute(
        "INSERT INTO history (one, id, incarnation) VALUES (1, ?1, ?2)",
        [identity.history.as_str(), identity.incarnation.as_str()],
    )?;
    for sequence in passing_over(sequences(tx))?.unwrap_or_default() {
        passing_over(record(tx, sequence))?;
    }
    let (entries, _) = Entry::all(tx)?;
    for mut entry in entries {
        entry.write(tx)?;
    }
    Ok(())
}

fn passing_over<T>(done: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_of_one_record() => Ok(None),
        Err(e) => Err(e),
    }
}

fn record(tx: &Connection, sequence: i64) -> Result<(), Failure> {
    let raw = Raw::at(tx, sequence)?;
    let mut seal = Seal::of_record(sequence, &raw.header);
    let mut settled = seal;
    let events: Vec<(i64, String, String)> = tx
        .prepare_cached(
            "SELECT ordinal, name, body FROM events WHERE deployment = ?1 ORDER BY ordinal",
        )?
        .query_map([sequence], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (ordinal, name, body) in events {
        seal = seal.then(&body);
        if matches!(&*name, "settled" | "rolled-back-by") {
            settled = seal;
        }
        tx.prepare_cached("UPDATE events SET seal = ?3 WHERE deployment = ?1 AND ordinal = ?2")?
            .execute(params![sequence, ordinal, seal])?;
    }
    tx.prepare_cached(
        "UPDATE deployments SET seal = ?2, annotations_seal = ?3 WHERE sequence = ?1",
    )?
    .execute(params![
        sequence,
        settled,
        Seal::of_annotations(&raw.id, &raw.annotations)
    ])?;
    Ok(())
}
