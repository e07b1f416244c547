//! An online copy: a snapshot of the whole history in one file, checked and durable before it
//! gets its name.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use rollback_fs::{beside, owner, random, system};

use crate::error::{Failure, sqlite};
use crate::place::directory;
use crate::write::without_locks;

/// How long the copy waits for a file that SQLite says is locked.
const BUSY: Duration = Duration::from_secs(10);

/// Copies the database of `from` to the file `to`, which must not exist.
pub(crate) fn backup(from: &Connection, source: &Path, to: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(exists(to));
    }
    let temporary = Temporary::beside(to)?;
    copy(from, source, &temporary.path, |copy| without_locks(copy))?;
    temporary.sync(to)?;
    temporary.name(to)?;
    File::open(directory(to))
        .and_then(|d| d.sync_all())
        .map_err(|e| system("the copy's directory cannot be made durable", to, e))
}

/// A file of ours beside the copy's place; removed if the copy does not come to be. Its lock says
/// that it is in use: one without is what a killed process left, and goes with the next copy.
struct Temporary {
    path: PathBuf,
    /// Closed before the copy gets its name: from then on others of this process may open it, and
    /// would lose SQLite's locks on it.
    lock: Option<File>,
}

/// How the names of such files begin.
const TEMPORARY: &str = ".rollback-copy-";

impl Temporary {
    fn beside(to: &Path) -> Result<Self, StoreError> {
        if to.file_name().is_none() {
            return Err(
                StoreError::new(Kind::Unusable, "the copy's path names no file")
                    .on(to.display())
                    .advice("name a file, such as history-copy.db"),
            );
        }
        let failed = |e| system("the copy cannot be made", to, e);
        let dir = directory(to);
        sweep(&dir);
        let random = random::hex(16).ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
        let path = dir.join(format!("{TEMPORARY}{random}"));
        // While it has no lock yet, nobody sweeps.
        let _unswept = unswept(&dir).map_err(failed)?;
        let lock = owner::create(&path).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self {
            path,
            lock: Some(lock),
        })
    }

    fn sync(&self, to: &Path) -> Result<(), StoreError> {
        let synced = self.lock.as_ref().map_or(Ok(()), File::sync_all);
        synced.map_err(|e| system("the copy cannot be made durable", to, e))
    }

    /// Gives the file its name, unless somebody else's file has it by now.
    fn name(mut self, to: &Path) -> Result<(), StoreError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        // While it has neither its lock nor its name, nobody sweeps.
        let _unswept = unswept(&directory(to))
            .map_err(|e| system("the copy cannot be given its name", to, e))?;
        self.lock = None;
        let named = renameat_with(CWD, &self.path, CWD, to, RenameFlags::NOREPLACE);
        let named = match named.map_err(io::Error::from) {
            // Not every file system can rename like this; a second name is as careful.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                fs::hard_link(&self.path, to)
            }
            named => named,
        };
        named.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => exists(to),
            _ => system("the copy cannot be given its name", to, e),
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // SQLite's own files go when its connection closes; after a failure they may not.
        remove(&self.path);
    }
}

/// Keeps others from sweeping a directory, until it is dropped.
fn unswept(dir: &Path) -> io::Result<File> {
    let dir = File::open(dir)?;
    dir.lock_shared()?;
    Ok(dir)
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(beside(path, suffix));
    }
}

/// Removes what killed processes have left in a directory: surely ours, and surely nobody's now.
fn sweep(dir: &Path) {
    let alone = File::open(dir).and_then(|d| d.try_lock().map(|()| d).map_err(io::Error::from));
    let (Ok(_alone), Ok(entries)) = (alone, fs::read_dir(dir)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|n| n.strip_prefix(TEMPORARY));
        let ours =
            random.is_some_and(|r| r.len() == 16 && r.bytes().all(|b| b.is_ascii_hexdigit()));
        if !ours {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        match file.try_lock() {
            Ok(()) => remove(&entry.path()),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

/// Copies a database into the empty file `to`, which nobody else has open, checks it there, and lets
/// the caller finish it.
pub(crate) fn copy(
    from: &Connection,
    source: &Path,
    to: &Path,
    finish: impl FnOnce(&mut Connection) -> Result<(), Failure>,
) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags).map_err(|e| sqlite(to, e))?;
    let at_to = |e| sqlite(to, e);
    // The file is synced once, when it is whole.
    copy.pragma_update(None, "synchronous", "OFF")
        .map_err(at_to)?;
    pages(from, &mut copy, source)?;
    // Nobody has it but us, and it is worth nothing until it is whole.
    copy.pragma_update(None, "journal_mode", "memory")
        .map_err(at_to)?;
    let said: String = copy
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .map_err(|e| sqlite(to, e))?;
    if said != "ok" {
        return Err(StoreError::new(
            Kind::Corrupt,
            format!("the history is damaged ({said}); no copy was made"),
        )
        .on(source.display())
        .advice("verify it, and keep the copies that you have"));
    }
    finish(&mut copy).map_err(|e| e.at(to))?;
    // Kept in the file: it has a log from its first opening on.
    copy.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
        .map_err(at_to)?;
    copy.close().map_err(|(_, e)| sqlite(to, e))
}

/// All pages in one step: one snapshot, which writers neither delay nor make to begin again.
fn pages(from: &Connection, to: &mut Connection, source: &Path) -> Result<(), StoreError> {
    let patience = Instant::now() + BUSY;
    let backup = Backup::new(from, to).map_err(|e| sqlite(source, e))?;
    loop {
        match backup.step(-1).map_err(|e| sqlite(source, e))? {
            StepResult::Done => return Ok(()),
            _ if Instant::now() > patience => {
                return Err(StoreError::new(
                    Kind::Busy,
                    "the history stays locked; no copy was made",
                )
                .on(source.display())
                .advice("try again"));
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn exists(to: &Path) -> StoreError {
    StoreError::new(
        Kind::Unusable,
        "a file is where the copy was to be, and was left as it is",
    )
    .on(to.display())
    .advice("choose another path, or move that file away")
}
