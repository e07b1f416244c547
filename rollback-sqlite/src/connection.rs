//! Connections and their settings.

use std::path::Path;
use std::time::{Duration, Instant};

use rollback_core::error::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Failure, sqlite};
use crate::schema;

/// How long a write waits for another process's write.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// A connection with this library's settings.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sqlite(path, e))?;
    configure(&connection).map_err(|e| match e {
        Failure::Store(e) => e.on(path.display()),
        e => e.at(path),
    })?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), Failure> {
    connection.busy_timeout(BUSY)?;
    // Before anything that could write: what is not ours stays as it is.
    schema::check(connection)?;
    wal(connection)?;
    // FULL: a commit has reached the disk before it is acknowledged.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    plain(connection)?;
    // A first read opens the log, which from then on nobody else removes.
    schema::version(connection)?;
    Ok(())
}

/// The settings of every connection, also of one that cannot write.
pub(crate) fn plain(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "trusted_schema", false)?;
    // What undoes a statement that fails, the log's commit needs none of: in a file (in /var/tmp, as
    // SQLite has it) it would be one more to make for each deployment, and to get rid of.
    connection.pragma_update(None, "temp_store", "memory")?;
    // A plan must not depend on the values that are bound: without this, SQLite prepares some
    // cached statements again for every value, which takes longer than to run them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Turns the write-ahead log on. Two processes that do so at the same instant on a new file can
/// be told "busy" at once, whatever the timeout: the later one tries again.
fn wal(connection: &Connection) -> rusqlite::Result<()> {
    let patience = Instant::now() + BUSY;
    loop {
        let mode: rusqlite::Result<String> =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
        match mode {
            Ok(_) => return Ok(()),
            Err(e)
                if matches!(
                    e.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                ) && Instant::now() < patience =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(e),
        }
    }
}
