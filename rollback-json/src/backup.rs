//! Copies of a history, and histories from copies.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::id::WorkloadId;
use rollback_fs::durable::{TEMPORARY, sync_dir};
use rollback_fs::{make_dir, owner, random, system};

use crate::folder::names;
use crate::inner::Inner;
use crate::layout::{Layout, Place};
use crate::list::locked;
use crate::open;
use crate::state::{Placed, State};

/// What lasts of a workload's directory. The state is last: a copy has no state that is newer
/// than its records.
const RECORDS: &str = "records";
const STATE: &str = "state.json";

/// Copies a history to a directory that does not exist.
pub(crate) fn backup(store: &Inner, to: &Path) -> Result<(), StoreError> {
    place(to, |aside| {
        copy_file(&store.layout.format(), &aside.join("format.json"))?;
        for workload in store.workloads()? {
            let here = store.folder(&workload);
            let mut folder = locked(&here);
            // Keeps writers out; what a killed one left is carried out, so that the copy is whole.
            let writing = match folder.writing(&store.locks) {
                Ok(writing) => Some(writing),
                // Damaged, or only to be read: it is copied as it is.
                Err(e) if matches!(e.kind(), Kind::Busy) => return Err(e),
                Err(_) => None,
            };
            let copied = copy_workload(&store.layout, &Layout::new(aside.to_owned()), &workload);
            if let Some(writing) = writing {
                folder.end(writing, true);
            }
            copied?;
        }
        // Last: no number in the copy is greater than what it says.
        copy_file(&store.layout.sequence(), &aside.join("sequence"))
    })
}

/// Copies a copy of a history to where it will be one.
pub(crate) fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    let from = fs::canonicalize(from).map_err(|e| system("the backup cannot be found", from, e))?;
    let from = Layout::new(from);
    // Refuses what is no history, or a newer version's.
    open::check(&from)?;
    place(to, |aside| {
        let target = Layout::new(aside.to_owned());
        copy_file(&from.format(), &target.format())?;
        for name in names(&from.workloads())? {
            if let Ok(workload) = name.parse() {
                copy_workload(&from, &target, &workload)?;
            }
        }
        copy_dir(&from.quarantine(), &target.quarantine())?;
        copy_file(&from.sequence(), &target.sequence())
    })
}

fn copy_workload(from: &Layout, to: &Layout, workload: &WorkloadId) -> Result<(), StoreError> {
    let (from, to) = (from.workload(workload), to.workload(workload));
    make_dir(to.dir())?;
    copy_dir(&from.dir().join(RECORDS), &to.dir().join(RECORDS))?;
    copy_file(&from.dir().join(STATE), &to.dir().join(STATE))?;
    copy_nameless(&from, &to, workload)
}

/// Copies the record that the copied state has made one, if it has not got its name: whoever writes
/// in the copy gives it.
fn copy_nameless(from: &Place, to: &Place, workload: &WorkloadId) -> Result<(), StoreError> {
    let path = to.state();
    let Some(bytes) = crate::record::read(&path)? else {
        return Ok(());
    };
    // A damaged one says nothing of it.
    let Ok(state) = State::open(&bytes, workload, &path) else {
        return Ok(());
    };
    let Some(Placed {
        deployment, shard, ..
    }) = state.pending.opened
    else {
        return Ok(());
    };
    let named = to.record(shard, &deployment);
    if named.exists() {
        return Ok(());
    }
    make_dir(&to.shard(shard))?;
    let nameless = to.unpublished(shard, &deployment);
    copy_file(&from.unpublished(shard, &deployment), &nameless)?;
    if nameless.exists() {
        return Ok(());
    }
    // It got its name meanwhile.
    copy_file(&from.record(shard, &deployment), &named)
}

/// Fills a directory aside, makes all of it durable, and gives it its name.
fn place(to: &Path, fill: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let taken = || {
        StoreError::new(
            Kind::Unusable,
            "there is something already; it was left as it is",
        )
        .on(to.display())
        .advice("choose a path where nothing is, or move that away first")
    };
    if fs::symlink_metadata(to).is_ok() {
        return Err(taken());
    }
    let around = match to.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    make_dir(around)?;
    let Some(random) = random::hex(16) else {
        return Err(StoreError::new(
            Kind::Io,
            "the system gives no random bytes",
        ));
    };
    let aside = around.join(format!("{TEMPORARY}{random}"));
    let placed = make_dir(&aside).and_then(|()| fill(&aside)).and_then(|()| {
        // All at once is faster than each file for itself.
        let kept = File::open(&aside).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
        kept.map_err(|e| system("the copy cannot be made durable", &aside, e))?;
        let cwd = rustix::fs::CWD;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(cwd, &aside, cwd, to, flags) {
            Err(rustix::io::Errno::EXIST) => return Err(taken()),
            Err(rustix::io::Errno::INVAL) => {
                fs::rename(&aside, to).map_err(|e| system("the copy cannot get its name", to, e))?
            }
            other => other.map_err(|e| system("the copy cannot get its name", to, e.into()))?,
        }
        sync_dir(around).map_err(|e| system("the copy cannot be made durable", around, e))
    });
    if placed.is_err() {
        let _ = fs::remove_dir_all(&aside);
    }
    placed
}

fn copy_dir(from: &Path, to: &Path) -> Result<(), StoreError> {
    if !from.is_dir() {
        return Ok(());
    }
    make_dir(to)?;
    for name in names(from)? {
        if name.starts_with(TEMPORARY) {
            continue;
        }
        let (from, to): (PathBuf, PathBuf) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy_dir(&from, &to)?;
        } else {
            copy_file(&from, &to)?;
        }
    }
    Ok(())
}

/// Copies a file; one that is not there is not there in the copy.
fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    let Some(bytes) = crate::record::read(from)? else {
        return Ok(());
    };
    let copied: io::Result<()> = owner::create(to).and_then(|mut file| file.write_all(&bytes));
    copied.map_err(|e| system("a file cannot be copied", to, e))
}
