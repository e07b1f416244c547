//! Opening the directory: refusing what cannot work, and making it ours if it is new.

use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_fs::{check_local, durable, make_dir, system};
use serde::{Deserialize, Serialize};

use crate::folder::names;
use crate::layout::Layout;
use crate::seal::{self, FORMAT, Unreadable};

/// The first file of the directory: it says whose it is.
#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
    store: String,
}

const STORE: &str = "rollback-json";

/// Checks the directory, and makes it ours if it is new.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
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
    let marker = layout.format();
    let Some((bytes, _)) = crate::record::read(&marker)? else {
        if names(&path)?
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
        // What leads to the history must last as long as what will be in it. Best effort: not every
        // directory above is ours to open.
        for above in path.ancestors().skip(1) {
            let _ = durable::sync_dir(above);
        }
        let bytes = seal::seal(&Marker {
            format: FORMAT,
            store: STORE.to_owned(),
        })?;
        return match durable::create(&marker, &bytes) {
            Ok(()) => Ok(path),
            // Another process was quicker; it may even have begun, and removed what we had half
            // written.
            Err(_) if marker.exists() => Ok(path),
            Err(e) => Err(system("the history cannot be begun", &path, e)),
        };
    };
    match seal::open::<Marker>(&bytes) {
        Ok(marker) if marker.store == STORE => Ok(path),
        Err(why @ Unreadable::Newer(_)) => {
            Err(StoreError::new(Kind::NewerSchema, why.to_string()).on(path.display()))
        }
        Ok(_) | Err(Unreadable::Damaged(_)) => Err(StoreError::new(
            Kind::Corrupt,
            "the directory's format.json is not what this library wrote",
        )
        .on(marker.display())
        .advice("restore this one file from a copy; nothing else was looked at")),
    }
}
