//! An online copy: a snapshot of the whole history in one file, checked and durable before it
//! gets its name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::error::sqlite;
use rollback_fs::system;

/// How long the copy waits for a file that SQLite says is locked.
const BUSY: Duration = Duration::from_secs(10);

/// Copies the database of `from` to the file `to`, which must not exist.
pub(crate) fn backup(from: &Connection, source: &Path, to: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(exists(to));
    }
    let temporary = Temporary::beside(to)?;
    copy(from, source, &temporary.0)?;
    File::open(&temporary.0)
        .and_then(|f| f.sync_all())
        .map_err(|e| system("the copy cannot be made durable", to, e))?;
    temporary.name(to)?;
    File::open(directory(to))
        .and_then(|d| d.sync_all())
        .map_err(|e| system("the copy's directory cannot be made durable", to, e))
}

/// A file of ours beside the copy's place; removed if the copy does not come to be.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(to: &Path) -> Result<Self, StoreError> {
        /// Apart from other copies of this process.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = to.file_name() else {
            return Err(
                StoreError::new(Kind::Unusable, "the copy's path names no file")
                    .on(to.display())
                    .advice("name a file, such as history-copy.db"),
            );
        };
        loop {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            hidden.push(format!(".{}-{n}.tmp", std::process::id()));
            let path = directory(to).join(hidden);
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            match made {
                Ok(_) => return Ok(Self(path)),
                // Left by a process that died, and had our number.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(system("the copy cannot be made", to, e)),
            }
        }
    }

    /// Gives the file its name, unless somebody else's file has it by now.
    fn name(self, to: &Path) -> Result<(), StoreError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let named = renameat_with(CWD, &self.0, CWD, to, RenameFlags::NOREPLACE);
        let named = match named.map_err(io::Error::from) {
            // Not every file system can rename like this; a second name is as careful.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                fs::hard_link(&self.0, to)
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
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            let _ = fs::remove_file(path);
        }
    }
}

fn copy(from: &Connection, source: &Path, to: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags).map_err(|e| sqlite(to, e))?;
    let at_to = |e| sqlite(to, e);
    // The file is synced once, when it is whole.
    copy.pragma_update(None, "synchronous", "OFF")
        .map_err(at_to)?;
    pages(from, &mut copy, source)?;
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

fn directory(to: &Path) -> &Path {
    match to.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
