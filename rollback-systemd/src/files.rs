//! Files that survive a power cut, and the units' search path.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::config::{SystemdConfig, UnitName};
use crate::error::file_error;
use crate::release::{MAX_UNIT, sha256};

/// Where units are looked for, first match first (systemd.unit(5)). Written to: the first alone.
const SEARCH: &[&str] = &[
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// Makes a directory of our own, 0700.
pub(crate) fn private_dir(path: &Path) -> Result<(), BackendError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| {
            file_error(
                "a directory for the backend's state cannot be made",
                path,
                e,
            )
        })
}

/// Writes a file whole or not at all, durably: temporary file, fsync, rename, fsync of the
/// directory. An existing file's mode is kept.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), BackendError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mode = fs::metadata(path).map_or(mode, |m| m.permissions().mode() & 0o7777);
    let inner = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".rollback-")
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    };
    inner().map_err(|e| file_error("the file cannot be written", path, e))
}

/// Removes a file, durably; one that is not there is removed already.
pub(crate) fn remove(path: &Path) -> Result<(), BackendError> {
    let fail = |e| file_error("the file cannot be removed", path, e);
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(e)),
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    File::open(dir).and_then(|d| d.sync_all()).map_err(fail)
}

/// Reads a regular file of at most 1 MiB; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, BackendError> {
    let fail = |e| file_error("the file cannot be read", path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(fail(e)),
    };
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(
            BackendError::new(Kind::InvalidReference, "this is not a regular file")
                .on(path.display())
                .advice("name a unit file"),
        );
    }
    let mut bytes = Vec::new();
    file.take(MAX_UNIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    Ok(Some(bytes))
}

/// A unit's fragment as it lies in the search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Below the configured root.
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
}

/// What lies in the search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Masked(PathBuf),
    Fragment(Fragment),
}

/// Where the backend writes its fragment.
pub(crate) fn own_path(config: &SystemdConfig) -> PathBuf {
    config.root.join(SEARCH[0]).join(config.unit.as_str())
}

/// Looks for the fragment itself: the manager's view lags behind until it reloads
/// (systemd#4500).
pub(crate) fn find(config: &SystemdConfig) -> Result<Found, BackendError> {
    for dir in SEARCH {
        let path = config.root.join(dir).join(config.unit.as_str());
        if fs::read_link(&path).is_ok_and(|to| to == Path::new("/dev/null")) {
            return Ok(Found::Masked(path));
        }
        if let Some(content) = read(&path)? {
            return Ok(Found::Fragment(Fragment { path, content }));
        }
    }
    Ok(Found::Nothing)
}

/// Every drop-in that applies, by path below the root, with the SHA-256 of its content: the
/// manager does not notice a new directory of them until it reloads (systemd#31752).
pub(crate) fn drop_ins(config: &SystemdConfig) -> Result<BTreeMap<String, String>, BackendError> {
    let mut found = BTreeMap::new();
    for dir in SEARCH {
        for name in drop_in_dirs(&config.unit) {
            let dir = config.root.join(dir).join(name);
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|e| e == "conf") {
                    let content = read(&path)?.unwrap_or_default();
                    let shown = path.strip_prefix(&config.root).unwrap_or(&path);
                    found.insert(shown.display().to_string(), sha256(&content));
                }
            }
        }
    }
    Ok(found)
}

/// `api.service.d`, and for an instance `worker@.service.d` as well.
fn drop_in_dirs(unit: &UnitName) -> Vec<String> {
    let mut names = vec![format!("{unit}.d")];
    if let Some((template, _)) = unit.as_str().split_once('@') {
        names.push(format!("{template}@.service.d"));
    }
    names
}
