//! A new history: made whole under another name, and then given its own. So a file without a
//! schema, or without a byte, is never one that was just made.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_fs::{beside, durable, owner, system};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::{Failure, sqlite};
use crate::place::{Inode, directory, locks_beside};
use crate::schema;

/// What a database is made or copied as before it has its name, in the directory of the locks. Only
/// who has the store's lock alone makes one, so what is there is what a killed process left.
pub(crate) struct Draft(PathBuf);

impl Draft {
    /// An empty file.
    pub(crate) fn new(path: &Path) -> Result<Self, StoreError> {
        let draft = Self(locks_beside(path).join("draft.db"));
        draft.remove();
        owner::create(&draft.0).map_err(|e| system("the history cannot be made", path, e))?;
        Ok(draft)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it durable, and gives it this name, which nothing has.
    pub(crate) fn publish(self, path: &Path) -> Result<(), StoreError> {
        self.sync(path)?;
        fs::rename(&self.0, path).map_err(|e| failed(path, e))?;
        self.sync_dirs(path)?;
        durable::sync_above(&directory(path));
        Ok(())
    }

    /// Makes it durable, and puts it in the place of what has this name, which is called `aside`
    /// then, a name that nothing has. There is no instant without a file of that name.
    pub(crate) fn exchange(self, path: &Path, aside: &Path) -> Result<(), StoreError> {
        self.sync(path)?;
        let done = match self.swap(path, aside) {
            // Not every file system can.
            Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
                fs::hard_link(path, aside).and_then(|()| fs::rename(&self.0, path))
            }
            other => other,
        };
        done.map_err(|e| failed(path, e))?;
        self.sync_dirs(path)
    }

    /// By way of `aside`: what is replaced never has the name of a draft, which whoever comes next
    /// removes. Killed in between, there is a copy too many.
    fn swap(&self, path: &Path, aside: &Path) -> io::Result<()> {
        let inode = |path: &Path| fs::metadata(path).map(|meta| Inode::from(&meta));
        let draft = inode(&self.0)?;
        renameat_with(CWD, &self.0, CWD, aside, RenameFlags::NOREPLACE)?;
        let done = File::open(directory(aside))
            .and_then(|dir| dir.sync_all())
            .and_then(|()| Ok(renameat_with(CWD, aside, CWD, path, RenameFlags::EXCHANGE)?));
        if done.is_err() && inode(aside).is_ok_and(|there| there == draft) {
            // A draft again, to be removed or put in place in another way.
            fs::rename(aside, &self.0)?;
        }
        done
    }

    /// Nobody else has it open, so there are no locks to lose.
    fn sync(&self, path: &Path) -> Result<(), StoreError> {
        File::open(&self.0)
            .and_then(|f| f.sync_all())
            .map_err(|e| failed(path, e))
    }

    fn sync_dirs(&self, path: &Path) -> Result<(), StoreError> {
        for dir in [directory(path), directory(&self.0)] {
            File::open(dir)
                .and_then(|d| d.sync_all())
                .map_err(|e| failed(path, e))?;
        }
        Ok(())
    }

    fn remove(&self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(beside(&self.0, suffix));
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.remove();
    }
}

fn failed(path: &Path, e: std::io::Error) -> StoreError {
    system("the history cannot be made durable", path, e)
}

/// Makes a history where there is none. The caller has the store's lock alone.
pub(crate) fn create(path: &Path) -> Result<(), StoreError> {
    let log = beside(path, "-wal");
    if fs::symlink_metadata(&log).is_ok() {
        return Err(StoreError::new(
            Kind::Corrupt,
            "the history's file is gone, and its log is still there",
        )
        .on(path.display())
        .advice(
            "put the file back, or restore a copy; to begin anew, move the files -wal and -shm \
             beside it away",
        ));
    }
    let draft = Draft::new(path)?;
    fill(draft.path()).map_err(|e| e.at(path))?;
    draft.publish(path)
}

fn fill(draft: &Path) -> Result<(), Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(draft, flags).map_err(|e| sqlite(draft, e))?;
    // The draft is synced once, when it is whole.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "journal_mode", "memory")?;
    schema::migrate(&mut connection)?;
    // Kept in the file: it has a log from its first opening on.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.close().map_err(|(_, e)| e)?;
    Ok(())
}
