//! A record's summary, kept beside the record that it follows from.
//!
//! Triggers take a summary away when anything changes its record, whoever does it: an older library
//! that has the file open, or a hand.

use rollback_core::deployment::Deployment;
use rollback_core::history::Summary;
use rusqlite::{Connection, OptionalExtension, params};

use crate::columns::{decode, encode, signed};
use crate::error::Failure;

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
        signed(deployment.sequence().0),
        encode(&Summary::of(deployment))?
    ])?;
    Ok(())
}

/// The kept summary of one record; `None` if it has none that can be read.
pub(crate) fn kept(tx: &Connection, deployment: &Deployment) -> Result<Option<Summary>, Failure> {
    let sequence = signed(deployment.sequence().0);
    let body: Option<Option<String>> = tx
        .prepare_cached("SELECT body FROM summaries WHERE workload = ?1 AND deployment = ?2")?
        .query_row(
            params![deployment.workload().to_string(), sequence],
            |row| Ok(row.get(0).ok()),
        )
        .optional()?;
    Ok(body.flatten().and_then(|body| decode("", &body).ok()))
}
