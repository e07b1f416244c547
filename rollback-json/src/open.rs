//! Opening the directory: refusing what cannot work, making it ours if it is new, and telling
//! which history it is.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::{HistoryId, Identity, Sequence};
use rollback_fs::{Birth, Locks, check_local, durable, make_dir, system};
use serde::{Deserialize, Serialize};

use crate::error::busy;
use crate::folder::names;
use crate::layout::Layout;
use crate::record::read;
use crate::seal::{self, FORMAT, Unreadable};

/// The first file of the directory: it says whose it is, and which history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Marker {
    format: u32,
    store: String,
    /// None in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<HistoryId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<HistoryId>,
    /// The directory that it was written for: in another one the history is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Birth>,
    /// No number up to this one is given.
    #[serde(default)]
    pub(crate) past: Sequence,
}

const STORE: &str = "rollback-json";

/// How long another process may take to open the directory, in milliseconds.
const PATIENCE: u32 = 5_000;

/// Which directory a path named when it was opened.
pub(crate) type Inode = (u64, u64);

/// Checks the directory, and makes it ours if it is new.
pub(crate) fn prepare(path: &Path) -> Result<(PathBuf, Inode), StoreError> {
    if path.exists() && !path.is_dir() {
        return Err(
            StoreError::new(Kind::Unusable, "the history's path is no directory")
                .on(path.display())
                .advice("name a directory, or use the SQLite store for a file"),
        );
    }
    make_dir(path)?;
    check_local(path)?;
    let path =
        fs::canonicalize(path).map_err(|e| system("the path cannot be resolved", path, e))?;
    let layout = Layout::new(path.clone());
    if read(&layout.format())?.is_none()
        && names(&path)?
            .iter()
            .any(|n| !n.starts_with(durable::TEMPORARY) && n != "locks")
    {
        return Err(StoreError::new(
            Kind::Unusable,
            "the directory holds something else and was left as it is",
        )
        .on(path.display())
        .advice("choose an empty directory, or a new one"));
    }
    let inode = inode(&path)?;
    let opened = marker(&layout).and_then(|_| sweep(&layout));
    match opened {
        // It can be read all the same.
        Err(e) if e.kind() == Kind::ReadOnly && layout.format().exists() => {}
        Err(e) if e.kind() == Kind::Unusable && layout.format().exists() => {}
        other => drop(other?),
    }
    Ok((path, inode))
}

/// Removes what a killed process has half written of the marker. The counter's is written over by
/// whoever counts next.
fn sweep(layout: &Layout) -> Result<(), StoreError> {
    let root = layout.root();
    let mut left = names(root)?;
    left.retain(|n| n.starts_with(durable::TEMPORARY) && !n.ends_with("sequence"));
    if left.is_empty() {
        return Ok(());
    }
    // Who has it is writing just now.
    let locks = Locks::in_dir(layout.locks())?;
    let Some(_lock) = locks.take_named("open", PATIENCE)? else {
        return Ok(());
    };
    for name in left {
        durable::remove(&root.join(&name))
            .map_err(|e| system("what a killed process left cannot be removed", root, e))?;
    }
    Ok(())
}

/// What a directory is now.
pub(crate) fn inode(path: &Path) -> Result<Inode, StoreError> {
    let meta = fs::metadata(path)
        .map_err(|e| system("the history's directory cannot be examined", path, e))?;
    Ok((meta.dev(), meta.ino()))
}

/// Which history it is. One that was copied here gets a new incarnation, and one of format 1 its
/// identity.
pub(crate) fn identity(layout: &Layout) -> Result<Identity, StoreError> {
    let marker = marker(layout)?;
    match (marker.history, marker.incarnation) {
        (Some(history), Some(incarnation)) => Ok(Identity::new(history, incarnation)),
        _ => Err(damaged(layout)),
    }
}

/// The marker as it belongs in this directory.
pub(crate) fn marker(layout: &Layout) -> Result<Marker, StoreError> {
    let place = birth(layout.root())?;
    if let Some(marker) = load(layout)?
        && marker.format == FORMAT
        && marker.place.as_ref() == Some(&place)
    {
        return Ok(marker);
    }
    change(layout, |_| {})
}

/// Changes the marker, durably.
pub(crate) fn change(
    layout: &Layout,
    change: impl FnOnce(&mut Marker),
) -> Result<Marker, StoreError> {
    let root = layout.root();
    let locks = Locks::in_dir(layout.locks())?;
    let Some(_lock) = locks.take_named("open", PATIENCE)? else {
        return Err(busy(root.display()));
    };
    let place = birth(root)?;
    let found = load(layout)?;
    let is_new = found.is_none();
    let random = |e| StoreError::new(Kind::Io, "the system gives no random bytes").because(e);
    let mut marker = match found {
        Some(marker) if marker.place.as_ref() == Some(&place) && marker.format == FORMAT => marker,
        found => {
            let past = found.as_ref().map_or(Sequence(0), |m| m.past);
            let history = found.and_then(|m| m.history);
            let new = Identity::generate().map_err(random)?;
            Marker {
                format: FORMAT,
                store: STORE.to_owned(),
                history: Some(history.unwrap_or(new.history)),
                incarnation: Some(new.incarnation),
                place: Some(place),
                past,
            }
        }
    };
    change(&mut marker);
    let path = layout.format();
    let bytes = seal::seal(&marker)?;
    let failed = |e| system("the history's format.json cannot be written", &path, e);
    if is_new {
        durable::sync_above(root);
        durable::create(&path, &bytes).map_err(failed)?;
    } else {
        durable::replace(&path, &bytes).map_err(failed)?;
    }
    Ok(marker)
}

/// Refuses a directory that is no history, or that of a newer version.
pub(crate) fn check(layout: &Layout) -> Result<(), StoreError> {
    match load(layout)? {
        Some(_) => Ok(()),
        None => Err(StoreError::new(Kind::Unusable, "this is no history")
            .on(layout.root().display())
            .advice("name the directory of a backup")),
    }
}

fn birth(dir: &Path) -> Result<Birth, StoreError> {
    File::open(dir)
        .and_then(|dir| Birth::of(&dir))
        .map_err(|e| system("the history's directory cannot be examined", dir, e))
}

fn load(layout: &Layout) -> Result<Option<Marker>, StoreError> {
    let path = layout.format();
    let Some(bytes) = read(&path)? else {
        return Ok(None);
    };
    match seal::open::<Marker>(&bytes) {
        Ok(marker) if marker.store == STORE => Ok(Some(marker)),
        Err(why @ Unreadable::Newer(_)) => {
            Err(StoreError::new(Kind::NewerSchema, why.to_string()).on(layout.root().display()))
        }
        Ok(_) | Err(Unreadable::Damaged(_)) => Err(damaged(layout)),
    }
}

fn damaged(layout: &Layout) -> StoreError {
    StoreError::new(
        Kind::Corrupt,
        "the directory's format.json is not what this library wrote",
    )
    .on(layout.format().display())
    .advice("put this one file back from a copy; nothing else was looked at")
}
