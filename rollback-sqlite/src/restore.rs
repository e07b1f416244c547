//! Putting a copy in a history's place.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::Liveness;
use rollback_fs::{Locks, beside, check_local, check_single, make_dir, resolve, system};
use rusqlite::{Connection, OpenFlags};

use crate::backup;
use crate::create::Draft;
use crate::error::{Failure, no_bytes, sqlite};
use crate::identity::identity;
use crate::place::{STORE_LOCK, directory, locks_beside};
use crate::read_only;
use crate::schema;
use crate::state::Entry;
use crate::write;

/// How long a restoration waits for programs that are about to close the history, in milliseconds.
const PATIENCE: u32 = 500;

/// Gives the path of what was there before, if there was anything.
pub(crate) fn restore(from: &Path, to: &Path) -> Result<Option<PathBuf>, StoreError> {
    let (from, to) = (resolve(from)?, resolve(to)?);
    check_local(&to)?;
    check_single(&to)?;
    if to.is_dir() {
        return Err(
            StoreError::new(Kind::Unusable, "the history's path is a directory")
                .on(to.display())
                .advice("name a file in it, such as history.db"),
        );
    }
    if from == to {
        return Err(
            StoreError::new(Kind::Unusable, "a history cannot be restored from itself")
                .on(to.display())
                .advice("name a copy of it"),
        );
    }
    make_dir(&directory(&to))?;
    let locks = Locks::in_dir(locks_beside(&to))?;
    let _alone = locks
        .take_named(STORE_LOCK, PATIENCE)?
        .ok_or_else(|| in_use(&to))?;
    nobody_runs(&to, &locks)?;

    let draft = Draft::new(&to)?;
    copy(&from, draft.path())?;
    // From here on nobody else can open what is there, whatever program it is.
    let former = Former::take(&to)?;
    let aside = free_name(&to)?;
    match former {
        // Its log is in it, and what else is there is its connection's.
        Former::Locked { .. } => {}
        Former::Damaged => set_log_aside(&to, &aside)?,
        Former::Nothing => {
            set_log_aside(&to, &aside)?;
            draft.publish(&to)?;
            return Ok(None);
        }
    }
    draft.exchange(&to, &aside)?;
    drop(former);
    Ok(Some(aside))
}

/// The copy, checked, migrated and in a new life.
fn copy(from: &Path, draft: &Path) -> Result<(), StoreError> {
    match fs::metadata(from) {
        Ok(meta) if meta.len() == 0 => return Err(no_bytes(from)),
        Ok(_) => {}
        Err(e) => return Err(system("the copy cannot be read", from, e)),
    }
    let log = fs::metadata(beside(from, "-wal")).is_ok_and(|log| log.len() > 0);
    let source = if log {
        // Somebody has it open, or has died so: SQLite reads both.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(from, flags).map_err(|e| sqlite(from, e))?
    } else {
        read_only::connect_immutable(from)?
    };
    schema::ours(&source).map_err(|e| match e {
        Failure::Store(e) => e.on(from.display()),
        e => e.at(from),
    })?;
    backup::copy(&source, from, draft, new_life)
}

fn new_life(connection: &mut Connection) -> Result<(), Failure> {
    schema::migrate(connection)?;
    let identity = identity(connection)?.restored().map_err(|e| {
        StoreError::new(
            Kind::Io,
            "the system gives no random bytes for a new life of the history",
        )
        .because(e)
    })?;
    connection.execute(
        "UPDATE history SET incarnation = ?1",
        [identity.incarnation.as_str()],
    )?;
    write::without_locks(connection)
}

/// What is in the copy's place, and whom its locks keep out.
enum Former {
    /// No file, and nobody to keep out.
    Nothing,
    /// A database, of which this connection has all locks until it is dropped. Its log is in it by
    /// now.
    Locked { _by: Connection },
    /// What SQLite cannot open: damaged, or no database.
    Damaged,
}

impl Former {
    fn take(to: &Path) -> Result<Self, StoreError> {
        match fs::metadata(to) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(e) => return Err(system("the history cannot be examined", to, e)),
            Ok(meta) if meta.len() == 0 => return Ok(Self::Damaged),
            Ok(_) => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(to, flags).map_err(|e| sqlite(to, e))?;
        match alone(&connection) {
            Ok(()) => Ok(Self::Locked { _by: connection }),
            Err(e) => match sqlite(to, e) {
                e if e.kind() == Kind::Corrupt => Ok(Self::Damaged),
                e if e.kind() == Kind::Busy => Err(in_use(to)),
                e => Err(e),
            },
        }
    }
}

/// A log that is left is one that nobody could read: it goes with what it is of, for with another
/// database it would be taken for that one's.
fn set_log_aside(to: &Path, aside: &Path) -> Result<(), StoreError> {
    let failed = |e| system("what was there before cannot be kept", to, e);
    for suffix in ["-wal", "-journal"] {
        match fs::rename(beside(to, suffix), beside(aside, suffix)) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => other.map_err(failed)?,
        }
    }
    // Only an index of the log.
    match fs::remove_file(beside(to, "-shm")) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed),
    }
}

/// Brings a database's log into it, and keeps everybody out. `Busy` while anybody has it open.
fn alone(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    connection.execute_batch("BEGIN EXCLUSIVE")
}

/// Beside the history: `history.db.replaced-1` and so on.
fn free_name(to: &Path) -> Result<PathBuf, StoreError> {
    for n in 1..u32::MAX {
        let name = beside(to, format!(".replaced-{n}"));
        match fs::symlink_metadata(&name) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(name),
            Ok(_) => {}
            Err(e) => return Err(system("the directory cannot be read", &name, e)),
        }
    }
    Err(in_use(to))
}

/// Refuses while somebody runs a deployment. Who has the history open has its lock as well; but a
/// lease outlives its store.
fn nobody_runs(to: &Path, locks: &Locks) -> Result<(), StoreError> {
    let busy = |what: String| {
        Err(
            StoreError::new(Kind::Conflict, format!("{what}; nothing was restored"))
                .on(to.display())
                .advice("wait for it, or cancel it"),
        )
    };
    let held = locks.all_held()?;
    if let Some(workload) = held.iter().find(|name| name.contains('@')) {
        return busy(format!("a deployment of {workload} is running"));
    }
    // Of a lock file that is gone, the record knows.
    if !to.exists() {
        return Ok(());
    }
    let Ok(connection) = read_only::connect_immutable(to) else {
        return Ok(());
    };
    let Ok((entries, _)) = Entry::all(&connection) else {
        return Ok(());
    };
    for entry in entries {
        if let Ok(Some((id, holder))) = entry.in_flight()
            && locks.liveness(&entry.workload, &holder)? == Liveness::Alive
        {
            return busy(format!("the deployment {id} is running"));
        }
    }
    Ok(())
}

fn in_use(to: &Path) -> StoreError {
    StoreError::new(
        Kind::Busy,
        "a program has the history open; nothing was restored",
    )
    .on(to.display())
    .advice("end the programs that have it open, then try again")
}
