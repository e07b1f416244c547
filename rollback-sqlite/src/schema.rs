//! The tables, as a list of migrations counted by SQLite's `user_version`.

use std::collections::BTreeMap;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rusqlite::{Connection, TransactionBehavior};

use crate::error::Failure;
use crate::{kept, sealing, summaries};

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
const MIGRATIONS: &[&[&str]] = &[
    &["
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
"],
    &["
-- Counts over a span of time read one of these and no record. They are found by the time of
-- opening, and hold what is counted.
CREATE INDEX deployments_opened ON deployments
    (opened_us, opened_ns, outcome, trigger, duration_ms);
CREATE INDEX deployments_service_opened ON deployments
    (service, opened_us, opened_ns, target, outcome, trigger, duration_ms);
"],
    &[
        "
CREATE TABLE history (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    id          TEXT NOT NULL,
    incarnation TEXT NOT NULL
) STRICT;
ALTER TABLE workloads ADD COLUMN amendments TEXT;
ALTER TABLE workloads ADD COLUMN seal BLOB;
ALTER TABLE deployments ADD COLUMN seal BLOB;
ALTER TABLE deployments ADD COLUMN annotations_seal BLOB;
ALTER TABLE events ADD COLUMN seal BLOB;
-- The random end of an id, by which people abbreviate it.
CREATE INDEX deployments_random ON deployments (substr(id, 24), id);
",
        "
-- A program of an older version that has the file open does not seal what it writes, and fails.
CREATE TRIGGER workloads_begin_sealed BEFORE INSERT ON workloads WHEN NEW.seal IS NULL
BEGIN SELECT RAISE(ABORT, 'a newer version seals this history: update this program'); END;
CREATE TRIGGER workloads_stay_sealed BEFORE UPDATE ON workloads WHEN NEW.seal IS OLD.seal
BEGIN SELECT RAISE(ABORT, 'a newer version seals this history: update this program'); END;
CREATE TRIGGER deployments_begin_sealed BEFORE INSERT ON deployments
WHEN NEW.seal IS NULL OR NEW.annotations_seal IS NULL
BEGIN SELECT RAISE(ABORT, 'a newer version seals this history: update this program'); END;
CREATE TRIGGER deployments_stay_sealed BEFORE UPDATE ON deployments
WHEN NEW.seal IS OLD.seal AND NEW.annotations_seal IS OLD.annotations_seal
BEGIN SELECT RAISE(ABORT, 'a newer version seals this history: update this program'); END;
CREATE TRIGGER events_begin_sealed BEFORE INSERT ON events WHEN NEW.seal IS NULL
BEGIN SELECT RAISE(ABORT, 'a newer version seals this history: update this program'); END;
",
        kept::TABLE,
    ],
    &["
-- The idempotency key that a deployment was asked under, and what has been recalled.
ALTER TABLE deployments ADD COLUMN asked_key TEXT;
CREATE UNIQUE INDEX deployments_key ON deployments (workload, asked_key)
    WHERE asked_key IS NOT NULL;
-- An older version that has the file open does not find the column, and fails: it would lose
-- what follows.
ALTER TABLE workloads RENAME COLUMN amendments TO amended;
ALTER TABLE workloads ADD COLUMN recalls TEXT;
ALTER TABLE workloads ADD COLUMN floor TEXT;
"],
];

/// What cannot be said in SQL, for a file that had this version; after all tables are there, since it
/// reads and writes as this version does.
fn bring_up(tx: &Connection, found: i64) -> Result<(), Failure> {
    if found < 3 {
        sealing::seal_all(tx)?;
    }
    if found < 4 {
        summaries::fill(tx)?;
    }
    Ok(())
}

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
    migrate_if(connection, |_| Ok(()))
}

/// The same, unless there is something against it: it is asked when nobody else can write, and only
/// if a file has an older schema.
pub(crate) fn migrate_if(
    connection: &mut Connection,
    may: impl FnOnce(&Connection) -> Result<(), Failure>,
) -> Result<(), Failure> {
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
    if (1..newest()).contains(&found) {
        may(&tx)?;
    }
    let missing = usize::try_from(found).unwrap_or(0);
    for sql in MIGRATIONS.iter().skip(missing).copied().flatten() {
        tx.execute_batch(sql)?;
    }
    bring_up(&tx, found)?;
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

/// Refuses what is no history: to be restored from, a file must have its tables.
pub(crate) fn ours(connection: &Connection) -> Result<(), Failure> {
    check(connection)?;
    if version(connection)? == 0 {
        return Err(foreign().into());
    }
    Ok(())
}

/// The names of what the schema lacks, or has in other words than a history that is made now.
pub(crate) fn differs(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut fresh = Connection::open_in_memory()?;
    migrate(&mut fresh)?;
    let theirs = words(connection)?;
    let ours = words(&fresh)?.into_iter();
    // An earlier version, which is read where nothing can be written, lacks what came later.
    let may_lack = version(connection)? < newest();
    let differs = ours.filter(|(name, sql)| match theirs.get(name) {
        Some(their) => their != sql,
        None => !may_lack,
    });
    Ok(differs.map(|(name, _)| name).collect())
}

/// What makes each table, index and trigger, by its name.
fn words(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Option<Vec<u8>>>> {
    let all = "SELECT CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema";
    let mut all = connection.prepare(all)?;
    let all = all.query_map([], |row| {
        let name: Vec<u8> = row.get(0)?;
        Ok((String::from_utf8_lossy(&name).into_owned(), row.get(1)?))
    })?;
    all.collect()
}

fn foreign() -> StoreError {
    StoreError::new(
        Kind::Unusable,
        "the file is another program's database and was left as it is",
    )
    .advice("choose another path")
}

pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::{connection, open};

    const FILE: &str = "ROLLBACK_SQLITE_MIGRATED_FILE";
    const DEATH: &str = "ROLLBACK_SQLITE_MIGRATION_DIES";

    fn version_1(path: &Path) {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(include_str!("../tests/fixtures/v1.sql"))
            .unwrap();
        // Enough records that half a migration has reached the disk.
        connection
            .execute_batch(
                "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO deployments (sequence, id, workload, service, target, trigger, actor,
                   opened_us, opened_ns, header)
                 SELECT i, 'x' || i, 'x@x', 'x', 'x', 'deploy', 'x', i, 0, '{}' FROM n",
            )
            .unwrap();
    }

    /// What is in the file, read without this library.
    fn contents(path: &Path) -> (i64, Vec<String>, i64, String) {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("SELECT name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        let records = connection.query_row("SELECT count(*) FROM deployments", [], |r| r.get(0));
        let check = connection.pragma_query_value(None, "integrity_check", |r| r.get(0));
        (
            version(&connection).unwrap(),
            names.map(Result::unwrap).collect(),
            records.unwrap(),
            check.unwrap(),
        )
    }

    fn child(path: &Path, death: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "schema::tests::child_that_migrates"])
            .env(FILE, path)
            .env(DEATH, death)
            .stdout(Stdio::null());
        command
    }

    /// Not a test by itself: what a child process does.
    #[test]
    fn child_that_migrates() {
        let Some(path) = std::env::var_os(FILE) else {
            return;
        };
        let path = Path::new(&path);
        let death = std::env::var(DEATH).unwrap();
        if death == "never" {
            open::open(path).unwrap();
            return;
        }
        let mut connection = connection::connect(path).unwrap();
        // What is done is in the log before it is committed.
        connection.pragma_update(None, "cache_size", 5).unwrap();
        match death.parse() {
            Ok(steps) => connection.progress_handler(steps, Some(|| std::process::abort())),
            Err(_) => connection.commit_hook(Some(|| std::process::abort())),
        }
        .unwrap();
        migrate(&mut connection).unwrap();
    }

    #[test]
    fn a_migration_that_is_killed_leaves_the_old_schema_and_is_done_by_the_next_who_opens() {
        for death in ["100", "5000", "30000", "commit"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("history.db");
            version_1(&path);
            let before = contents(&path);
            assert_eq!(before.0, 1);
            let status = child(&path, death).output().unwrap().status;
            assert_eq!(status.code(), None, "killed at {death}");
            assert_eq!(contents(&path), before, "{death}");
            open::open(&path).unwrap();
            let after = contents(&path);
            assert_eq!((after.0, after.2, &*after.3), (newest(), before.2, "ok"));
            assert!(after.1.len() > before.1.len());
        }
    }

    #[test]
    fn processes_that_migrate_at_once_migrate_it_once() {
        for _ in 0..3 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("history.db");
            version_1(&path);
            let spawn = |_| child(&path, "never").spawn().unwrap();
            let children: Vec<_> = (0..4).map(spawn).collect();
            for mut child in children {
                assert!(child.wait().unwrap().success());
            }
            let after = contents(&path);
            assert_eq!((after.0, &*after.3), (newest(), "ok"));
        }
    }

    #[test]
    fn a_migrated_file_has_the_tables_and_indexes_of_a_new_one() {
        let all = |connection: &Connection| -> Vec<(String, Option<String>)> {
            let sql = "SELECT name, sql FROM sqlite_schema ORDER BY name";
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.unwrap().map(Result::unwrap).collect()
        };
        let mut new = Connection::open_in_memory().unwrap();
        migrate(&mut new).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        version_1(&path);
        assert_eq!(all(&open::open(&path).unwrap().writer.unwrap()), all(&new));
    }
}
