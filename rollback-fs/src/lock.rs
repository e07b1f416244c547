//! Liveness: one lock file for each workload. Who holds the kernel's lock on it lives, stopped or
//! not; whoever died, however it died, holds none.
//!
//! Each lock file holds a text of its own, which whoever takes the lock puts on record with the
//! lease, and says which file that is. So a free lock proves its holder's death only if it is the
//! lock that was held: of a file that somebody has deleted, or replaced, or copied with the history
//! of a process that runs on, nothing follows, and the holder's process is asked for instead.
//!
//! A process that is forked without being executed anew keeps its parent's locks, as the kernel
//! has it: whatever it was forked for, the workload stays held until it ends too.

#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollback_core::error::StoreError;
use rollback_core::history::{Holder, Liveness};
use rollback_core::id::WorkloadId;

use crate::error::system;
use crate::owner::{create_dir, no_follow, open_or_create};
use crate::witness;
use text::{own_text, text};

/// How long a taker waits for somebody who merely looks: looking takes microseconds.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// The locks that this process holds, by path, and their texts: the kernel does not tell a holder of
/// itself, and a file that was deleted cannot be asked.
static HELD: LazyLock<Mutex<HashMap<PathBuf, Option<String>>>> = LazyLock::new(Mutex::default);

fn held_here() -> MutexGuard<'static, HashMap<PathBuf, Option<String>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory of lock files. They are never unlinked: a lock on an unlinked file would guard
/// nothing against the next process, which makes a new one.
#[derive(Debug)]
pub struct Locks {
    dir: PathBuf,
}

/// A held lock; dropping it, or dying, frees it.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    text: Option<String>,
    file: Option<File>,
}

/// A lock that several may hold at once; dropping it, or dying, gives it back.
#[derive(Debug)]
pub struct Shared {
    _file: File,
}

impl Held {
    /// A holder as it is put on record with the lease that this lock is of: it says which file it
    /// has locked.
    #[must_use]
    pub fn sign(&self, holder: &Holder) -> Holder {
        let mut signed = holder.clone();
        signed.lock = self.text.clone();
        signed
    }

    /// Whether a recorded holder is dead, now that this lock has been taken: it is, if this is
    /// the lock that it held.
    pub fn liveness_of(&self, holder: &Holder) -> Liveness {
        liveness_without(self.text.as_deref(), holder)
    }

    /// The same for who gives the holder up on purpose: it is dead unless its process is *seen* to
    /// live. One of another namespace cannot be, and would be in the way until the next boot.
    pub fn liveness_if_seen(&self, holder: &Holder) -> Liveness {
        match self.liveness_of(holder) {
            Liveness::Alive if !witness::sees(holder) => Liveness::Dead,
            liveness => liveness,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // In this order: who finds the lock free must not find it listed here.
        held_here().remove(&self.path);
        self.file = None;
    }
}

/// The life of a holder whose lock is free, or of which there is none: `text` is what the free
/// lock's file holds.
fn liveness_without(text: Option<&str>, holder: &Holder) -> Liveness {
    match &holder.lock {
        // Of before this was kept: the lock is the only witness.
        None => Liveness::Dead,
        Some(locked) if text == Some(&**locked) => Liveness::Dead,
        // It would be listed here, whatever has become of its file, or of a copy.
        Some(_) if witness::is_this_process(holder) => {
            match held_here().values().any(|text| *text == holder.lock) {
                true => Liveness::Alive,
                false => Liveness::Dead,
            }
        }
        Some(_) => witness::liveness(holder),
    }
}

impl Locks {
    /// Locks in this directory, which only its owner may enter; it is made if need be.
    ///
    /// # Errors
    ///
    /// As of [`system`](crate::system) if the directory cannot be made.
    pub fn in_dir(dir: PathBuf) -> Result<Self, StoreError> {
        create_dir(&dir).map_err(|e| system("the lock directory cannot be made", &dir, e))?;
        Ok(Self::to_look_at(dir))
    }

    /// The same where nothing can be made: for looking alone.
    pub fn to_look_at(dir: PathBuf) -> Self {
        // One name for each lock within the process, whatever the way to it.
        let dir = fs::canonicalize(&dir).unwrap_or(dir);
        Self { dir }
    }

    /// Takes a workload's lock; `None` while somebody who lives holds it. A free lock does not
    /// prove that a recorded holder is dead: ask [`Held::liveness_of`].
    ///
    /// # Errors
    ///
    /// As of [`system`](crate::system) if the lock file cannot be made, opened or locked. The lock
    /// is not held then.
    pub fn take(&self, workload: &WorkloadId) -> Result<Option<Held>, StoreError> {
        self.take_with(&file_name(workload), PATIENCE, own_text)
    }

    /// Takes any other lock of this directory, waiting for about so many milliseconds; `None`
    /// while somebody who lives holds it. It is on no record, and has no text. `name` is the
    /// caller's own, never input.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn take_named(&self, name: &str, patience: u32) -> Result<Option<Held>, StoreError> {
        self.take_with(name, patience, |_| None)
    }

    fn take_with(
        &self,
        name: &str,
        patience: u32,
        text: fn(&File) -> Option<String>,
    ) -> Result<Option<Held>, StoreError> {
        let path = self.dir.join(name);
        for tried in 0..patience.max(1) {
            if tried > 0 {
                std::thread::sleep(PAUSE);
            }
            if let Some(held) = self.try_take(&path, text)? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    fn try_take(
        &self,
        path: &Path,
        text: fn(&File) -> Option<String>,
    ) -> Result<Option<Held>, StoreError> {
        if held_here().contains_key(path) {
            return Ok(None);
        }
        let file = self.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => {
                return Err(system("the lock cannot be taken", path, e));
            }
        }
        // Somebody may have deleted the file since it was opened: its lock guards nothing.
        if !is_at(&file, path).map_err(|e| system("the lock cannot be examined", path, e))? {
            return Ok(None);
        }
        match held_here().entry(path.to_owned()) {
            Entry::Occupied(_) => return Ok(None),
            Entry::Vacant(free) => free.insert(None),
        };
        let mut held = Held {
            path: path.to_owned(),
            text: None,
            file: None,
        };
        held.text = text(&file);
        if held.text.is_some() {
            held_here().insert(path.to_owned(), held.text.clone());
        }
        held.file = Some(file);
        Ok(Some(held))
    }

    /// Takes a lock that many may hold at once, and that [`take_named`](Self::take_named) waits
    /// for; `None` while somebody holds it alone, after about so many milliseconds.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn share_named(&self, name: &str, patience: u32) -> Result<Option<Shared>, StoreError> {
        let path = self.dir.join(name);
        for tried in 0..patience.max(1) {
            if tried > 0 {
                std::thread::sleep(PAUSE);
            }
            let file = self.open(&path)?;
            match file.try_lock_shared() {
                Ok(()) if is_at(&file, &path).unwrap_or(false) => {
                    return Ok(Some(Shared { _file: file }));
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => {
                    return Err(system("the lock cannot be taken", &path, e));
                }
            }
        }
        Ok(None)
    }

    /// Whether somebody holds a workload's lock. Of a lock file that was deleted or replaced this
    /// knows nothing: [`liveness`](Self::liveness) does.
    ///
    /// # Errors
    ///
    /// As of [`system`](crate::system) if the lock file is there and cannot be opened or looked at.
    /// Nobody is said to be dead then.
    pub fn look(&self, workload: &WorkloadId) -> Result<Liveness, StoreError> {
        let path = self.path(workload);
        Ok(match self.free_text(&path)? {
            Free::No => Liveness::Alive,
            Free::Yes(_) if held_here().contains_key(&path) => Liveness::Alive,
            Free::Yes(_) => Liveness::Dead,
        })
    }

    /// Whether the recorded holder of a workload's lease lives: by its lock, and where the file of
    /// that lock is gone, by its process.
    ///
    /// # Errors
    ///
    /// As [`look`](Self::look).
    pub fn liveness(&self, workload: &WorkloadId, holder: &Holder) -> Result<Liveness, StoreError> {
        let path = self.path(workload);
        Ok(match self.free_text(&path)? {
            Free::No => Liveness::Alive,
            Free::Yes(text) => liveness_without(text.as_deref(), holder),
        })
    }

    /// The names of the locks in this directory that somebody holds.
    ///
    /// # Errors
    ///
    /// As [`look`](Self::look), and if the directory cannot be read.
    pub fn all_held(&self) -> Result<Vec<String>, StoreError> {
        let failed = |e| system("the lock directory cannot be read", &self.dir, e);
        let mut held = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|n| n.ends_with(LOCK)) else {
                continue;
            };
            if matches!(self.free_text(&self.dir.join(name))?, Free::No) {
                held.push(name.trim_end_matches(LOCK).to_owned());
            }
        }
        held.sort();
        Ok(held)
    }

    /// Looks with a shared lock, so that two who look do not take each other for the holder.
    /// Looking makes no file and needs none, so it also works where nothing can be written.
    fn free_text(&self, path: &Path) -> Result<Free, StoreError> {
        loop {
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(no_follow())
                .open(path);
            let file = match opened {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Free::Yes(None)),
                Err(e) => return Err(system("the lock file cannot be opened", path, e)),
            };
            match file.try_lock_shared() {
                Ok(()) if is_at(&file, path).unwrap_or(true) => {
                    return Ok(Free::Yes(text(&file)));
                }
                // It was replaced meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Free::No),
                Err(TryLockError::Error(e)) => {
                    return Err(system("the workload's lock cannot be looked at", path, e));
                }
            }
        }
    }

    fn path(&self, workload: &WorkloadId) -> PathBuf {
        self.dir.join(file_name(workload))
    }

    fn open(&self, path: &Path) -> Result<File, StoreError> {
        let opened = match open_or_create(path) {
            // Somebody has deleted the directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create_dir(&self.dir).and_then(|()| open_or_create(path))
            }
            opened => opened,
        };
        opened.map_err(|e| system("the lock file cannot be opened", path, e))
    }
}

/// Whether a lock is free, and what its file holds.
enum Free {
    No,
    Yes(Option<String>),
}

const LOCK: &str = ".lock";

/// A workload id is two validated names, each a safe and short path component, and `@`: a file
/// name as it is.
fn file_name(workload: &WorkloadId) -> String {
    format!("{workload}{LOCK}")
}

/// Whether an open file still has this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let mine = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (mine.dev(), mine.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}
