//! The tables, as a list of migrations counted by SQLite's `user_version`.

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rusqlite::{Connection, TransactionBehavior};

use crate::error::Failure;

/// Marks the file as ours: "roll" in ASCII.
const APPLICATION_ID: i32 = 0x726f_6c6c;

/// Each entry takes a file from the version of its index to the next. Never edit one that was
/// released: add one.
///
/// Every column that a query filters on has an index of its own; SQLite appends the row id, which
/// is the sequence, so a filtered page is read in order without sorting.
///
/// A program with an older library may have the file open while a newer one migrates it: a
/// migration that an older library could not write past must make it fail, not go on.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE workloads (
    id          TEXT PRIMARY KEY,
    version     INTEGER NOT NULL DEFAULT 0,
    epoch       INTEGER NOT NULL DEFAULT 0,
    live        TEXT NOT NULL,
    in_flight   TEXT,
    holder      TEXT,
    cancel_by   TEXT,
    hold        TEXT,
    policy      TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    workload      TEXT NOT NULL,
    service       TEXT NOT NULL,
    target        TEXT NOT NULL,
    backend       TEXT,
    trigger       TEXT NOT NULL,
    actor         TEXT NOT NULL,
    opened_us     INTEGER NOT NULL,
    opened_ns     INTEGER NOT NULL,
    outcome       TEXT,
    verdict       TEXT,
    settled_us    INTEGER,
    duration_ms   INTEGER,
    settled_epoch INTEGER,
    pinned        INTEGER NOT NULL DEFAULT 0,
    annotations   TEXT NOT NULL DEFAULT '{}',
    header        TEXT NOT NULL
) STRICT;
CREATE INDEX deployments_workload ON deployments (service, target);
CREATE INDEX deployments_service  ON deployments (service);
CREATE INDEX deployments_target   ON deployments (target);
CREATE INDEX deployments_backend  ON deployments (backend);
CREATE INDEX deployments_trigger  ON deployments (trigger);
CREATE INDEX deployments_actor    ON deployments (actor);
CREATE INDEX deployments_outcome  ON deployments (outcome);

CREATE TABLE labels (
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    deployment INTEGER NOT NULL REFERENCES deployments (sequence) ON DELETE CASCADE,
    PRIMARY KEY (name, value, deployment)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_deployment ON labels (deployment);

CREATE TABLE events (
    deployment INTEGER NOT NULL REFERENCES deployments (sequence) ON DELETE CASCADE,
    ordinal    INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,
    name       TEXT NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (deployment, ordinal)
) STRICT, WITHOUT ROWID;
",
    "
-- Counts over a span of time read one of these and no record. They are found by the time of
-- opening, and hold what is counted.
CREATE INDEX deployments_opened ON deployments
    (opened_us, opened_ns, outcome, trigger, duration_ms);
CREATE INDEX deployments_service_opened ON deployments
    (service, opened_us, opened_ns, target, outcome, trigger, duration_ms);
",
];

/// The newest schema that this library writes.
pub(crate) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The error for a file of a newer library.
pub(crate) fn newer(found: i64) -> StoreError {
    let known = newest();
    StoreError::new(
        Kind::NewerSchema,
        format!(
            "the history was written by a newer version (schema {found}, this one knows {known}) \
             and was left as it is"
        ),
    )
    .advice("update this program")
}

/// Brings a file to the newest schema; all of it or nothing. Safe in several processes at once.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    if version(connection)? == newest() {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&tx)?;
    if found > newest() {
        return Err(newer(found).into());
    }
    if found == 0 && tables(&tx)? > 0 {
        return Err(foreign().into());
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "user_version", newest())?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.commit()?;
    Ok(())
}

/// Refuses, before anything is written, a file this version must not touch.
pub(crate) fn check(connection: &Connection) -> Result<(), Failure> {
    // One snapshot: another process may be making the tables right now.
    let connection = &connection.unchecked_transaction()?;
    let found = version(connection)?;
    if found > newest() {
        return Err(newer(found).into());
    }
    if found == 0 && tables(connection)? > 0 {
        return Err(foreign().into());
    }
    Ok(())
}

fn foreign() -> StoreError {
    StoreError::new(
        Kind::Unusable,
        "the file is another program's database and was left as it is",
    )
    .advice("choose another path")
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}
