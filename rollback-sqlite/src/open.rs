//! Opening the file: refusing what cannot work before SQLite touches it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::Liveness;
use rollback_fs::{Locks, Shared, check_local, check_single, make_dir, resolve, system};
use rusqlite::Connection;

use crate::connection::{BUSY, connect};
use crate::create;
use crate::error::{Failure, no_bytes, not_a_database};
use crate::place::{Inode, Place, STORE_LOCK, directory, locks_beside};
use crate::read_only;
use crate::schema;

const BUSY_MS: u32 = 10_000;

/// A history that was opened.
pub(crate) struct Opened {
    pub(crate) place: Place,
    pub(crate) locks: Locks,
    /// The connection that writes; `None` on a read-only file system.
    pub(crate) writer: Option<Connection>,
    /// Says that the file is in use.
    pub(crate) shared: Option<Shared>,
}

/// Checks the path, makes the file if there is none, and brings it to the newest schema.
pub(crate) fn open(path: &Path) -> Result<Opened, StoreError> {
    // Whatever leads to it, it has one name, one log and one set of locks.
    let path = resolve(path)?;
    // Before anything is made or opened.
    check_local(&path)?;
    check_file(&path)?;
    if path.exists() && read_only::is_mounted_so(&path)? {
        let place = read_only::open(path)?;
        return Ok(Opened {
            locks: Locks::to_look_at(locks_beside(place.path())),
            place,
            writer: None,
            shared: None,
        });
    }
    make_dir(&directory(&path))?;
    let locks = Locks::in_dir(locks_beside(&path))?;
    let shared = share(&path, &locks)?;
    // Somebody may have made or replaced it since.
    check_file(&path)?;
    let file = Inode::of(&path)?.ok_or_else(|| gone(&path))?;
    let mut connection = connect(&path)?;
    schema::migrate_if(&mut connection, |tx| nobody_deploys(tx, &locks)).map_err(|e| match e {
        Failure::Store(e) => e.on(path.display()),
        e => e.at(&path),
    })?;
    Ok(Opened {
        place: Place::new(path, file)?,
        locks,
        writer: Some(connection),
        shared: Some(shared),
    })
}

/// Refuses while a living process has something in flight: it would be of an older version, and could
/// neither go on nor back with a schema that it does not know.
fn nobody_deploys(connection: &Connection, locks: &Locks) -> Result<(), Failure> {
    let sql = "SELECT id, holder FROM workloads WHERE in_flight IS NOT NULL";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in rows {
        let (workload, holder): (String, Option<String>) = row?;
        // Of a damaged row nothing is known; its workload is in nobody's way.
        let (Ok(workload), Some(holder)) = (workload.parse(), holder) else {
            continue;
        };
        let Ok(holder) = serde_json::from_str(&holder) else {
            continue;
        };
        // Who cannot be seen to live holds up nothing that only their lock would prove.
        let liveness = match locks.take(&workload)? {
            None => Liveness::Alive,
            Some(lock) => lock.liveness_if_seen(&holder),
        };
        if liveness == Liveness::Alive {
            let what = format!(
                "a process of an older version has a deployment of {workload} in flight, which it \
                 could not finish once this one has brought the history up to date"
            );
            return Err(StoreError::new(Kind::Busy, what)
                .advice("try again when it has ended")
                .into());
        }
    }
    Ok(())
}

/// Shares the store's lock, with the file there: made if there is none.
fn share(path: &Path, locks: &Locks) -> Result<Shared, StoreError> {
    let patience = Instant::now() + BUSY;
    while Instant::now() < patience {
        if !path.exists() {
            if let Some(alone) = locks.take_named(STORE_LOCK, 100)?
                && !path.exists()
            {
                create::create(path)?;
                drop(alone);
            }
            continue;
        }
        if let Some(shared) = locks.share_named(STORE_LOCK, BUSY_MS)?
            && path.exists()
        {
            return Ok(shared);
        }
    }
    Err(StoreError::new(
        Kind::Busy,
        "the history is being restored, or another process has it open though its file is gone",
    )
    .on(path.display())
    .advice("try again; if it lasts, end the programs that have it open"))
}

fn gone(path: &Path) -> StoreError {
    StoreError::new(Kind::Busy, "the history's file was just taken away")
        .on(path.display())
        .advice("try again")
}

/// Refuses what is no file, no database, or a newer library's, before it is opened for writing:
/// SQLite itself writes to a file while it finds out. Nothing there is as good.
pub(crate) fn check_file(path: &Path) -> Result<(), StoreError> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(system("the history cannot be examined", path, e)),
    };
    if meta.is_dir() {
        return Err(
            StoreError::new(Kind::Unusable, "the history's path is a directory")
                .on(path.display())
                .advice("name a file in it, such as history.db"),
        );
    }
    if !meta.is_file() {
        return Err(
            StoreError::new(Kind::Unusable, "the history's path is not a regular file")
                .on(path.display())
                .advice("choose another path"),
        );
    }
    check_single(path)?;
    if meta.len() == 0 {
        return Err(no_bytes(path));
    }
    // Less than SQLite's own header.
    if meta.len() < 100 {
        return Err(not_a_database(path));
    }
    // As if nobody could change it: SQLite then opens nothing else, locks and writes nothing.
    read_only::at_rest(path, || read_only::connect_immutable(path).map(drop))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    #[test]
    fn a_cached_statement_was_prepared_again_for_every_value() {
        let dir = tempfile::tempdir().unwrap();
        let opened = super::open(&dir.path().join("history.db")).unwrap();
        let connection = opened.writer.unwrap();
        let mut statement = connection
            .prepare("SELECT (SELECT max(ordinal) FROM events WHERE deployment = ?1) = ?2")
            .unwrap();
        for n in 0..4 {
            let _: Option<bool> = statement.query_row([n, n], |row| row.get(0)).unwrap();
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
