//! Opening the file: refusing what cannot work before SQLite touches it, then the connection's
//! settings.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_fs::{check_local, make_dir, system};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Failure, not_a_database, sqlite};
use crate::schema;

/// How long a write waits for another process's write.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// A history that was opened.
pub(crate) struct Opened {
    /// Its path, resolved.
    pub(crate) path: PathBuf,
    /// The connection that writes; `None` on a read-only file system.
    pub(crate) writer: Option<Connection>,
}

/// Checks the path, makes the file if there is none, and brings it to the newest schema.
pub(crate) fn open(path: &Path) -> Result<Opened, StoreError> {
    let dir = directory(path)?;
    check_local(&dir)?;
    check_file(path)?;
    // SQLite gives -wal and -shm the database's own mode: made 0600, all are.
    let created = !path.exists();
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| system("the history cannot be opened for writing", path, e))?;
    if created {
        File::open(&dir)
            .and_then(|d| d.sync_all())
            .map_err(|e| system("the directory cannot be made durable", &dir, e))?;
    }
    let path =
        fs::canonicalize(path).map_err(|e| system("the path cannot be resolved", path, e))?;
    let mut connection = connect(&path)?;
    schema::migrate(&mut connection).map_err(|e| match e {
        Failure::Store(e) => e.on(path.display()),
        e => e.at(&path),
    })?;
    Ok(Opened {
        path,
        writer: Some(connection),
    })
}

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
    Ok(())
}

/// The settings of every connection, also of one that cannot write.
pub(crate) fn plain(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "trusted_schema", false)?;
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

/// The file's directory, made (0700) if it does not exist.
fn directory(path: &Path) -> Result<PathBuf, StoreError> {
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    };
    make_dir(&dir)?;
    Ok(dir)
}

/// Refuses what is no file, no database, or a newer library's, by reading its first 100 bytes:
/// SQLite itself writes to a file while it finds out.
pub(crate) fn check_file(path: &Path) -> Result<(), StoreError> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
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
    if meta.len() == 0 {
        return Ok(());
    }
    let mut header = [0u8; 100];
    let read = File::open(path).and_then(|mut f| f.read_exact(&mut header));
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(not_a_database(path));
        }
        Err(e) => return Err(system("the history cannot be read", path, e)),
        Ok(()) => {}
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(not_a_database(path));
    }
    let version = i64::from(i32::from_be_bytes([
        header[60], header[61], header[62], header[63],
    ]));
    if version > schema::newest() {
        return Err(schema::newer(version).on(path.display()));
    }
    Ok(())
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
