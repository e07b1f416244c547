//! Files that survive a power cut, and the units' search path.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink,
};
use std::path::{Path, PathBuf};

use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::config::{SystemdConfig, UnitName};
use crate::error::file_error;
use crate::release::{MAX_UNIT, sha256};

/// Where units are looked for, first match first (systemd.unit(5)).
const SEARCH: &[&str] = &[
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    OWN,
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];

/// The only one that is written to.
const OWN: &str = "etc/systemd/system";

/// The directories of the search path. `lib` is left out where it is `usr/lib` once more.
fn search(config: &SystemdConfig) -> impl Iterator<Item = PathBuf> {
    let merged = config.root.join("lib").is_symlink();
    SEARCH
        .iter()
        .filter(move |dir| !(merged && dir.starts_with("lib/")))
        .map(|dir| config.root.join(dir))
}

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
/// directory. An existing file's mode and owner are kept. One process writes a path at a time;
/// what an earlier one left half-written goes.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), BackendError> {
    let inner = || -> std::io::Result<()> {
        clear_leftovers(path);
        let file = temporary(path, bytes, mode)?;
        file.persist(path).map_err(|e| e.error)?;
        sync_dir(path)
    };
    inner().map_err(|e| file_error("the file cannot be written", path, e))
}

/// Writes a file of our own unless there is one already.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BackendError> {
    let inner = || match temporary(path, bytes, 0o600)?.persist_noclobber(path) {
        Ok(_) => sync_dir(path),
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e.error),
    };
    inner().map_err(|e| file_error("the file cannot be written", path, e))
}

/// Makes a symbolic link in the place of whatever is there, durably.
pub(crate) fn link(path: &Path, to: &Path) -> Result<(), BackendError> {
    let inner = || -> std::io::Result<()> {
        clear_leftovers(path);
        let made = tempfile::Builder::new()
            .prefix(&temporary_prefix(path))
            .make_in(directory(path), |at| symlink(to, at))?;
        made.persist(path).map_err(|e| e.error)?;
        sync_dir(path)
    };
    inner().map_err(|e| file_error("the link cannot be made", path, e))
}

fn temporary(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<tempfile::NamedTempFile> {
    let before = fs::symlink_metadata(path).ok().filter(|m| m.is_file());
    let mut file = tempfile::Builder::new()
        .prefix(&temporary_prefix(path))
        .tempfile_in(directory(path))?;
    file.write_all(bytes)?;
    if let Some(before) = &before {
        let now = file.as_file().metadata()?;
        if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
            fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    let mode = before.map_or(mode, |m| m.permissions().mode() & 0o7777);
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn temporary_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".rollback-{name}-")
}

fn clear_leftovers(path: &Path) {
    let prefix = temporary_prefix(path);
    for entry in fs::read_dir(directory(path))
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes a file, durably; one that is not there is removed already.
pub(crate) fn remove(path: &Path) -> Result<(), BackendError> {
    let fail = |e| file_error("the file cannot be removed", path, e);
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(e)),
    }
    sync_dir(path).map_err(fail)
}

/// Reads a regular file, one byte more than [`MAX_UNIT`] at most; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, BackendError> {
    let fail = |e| file_error("the file cannot be read", path, e);
    // Opening a named pipe would wait for somebody who writes to it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
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
    /// What it leads to, if it is a link.
    pub(crate) link: Option<PathBuf>,
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
    config.root.join(OWN).join(config.unit.as_str())
}

/// The same as the manager names it.
pub(crate) fn own_name(config: &SystemdConfig) -> String {
    format!("/{OWN}/{}", config.unit)
}

/// A path as a person at the target would name it.
pub(crate) fn below_root(config: &SystemdConfig, path: &Path) -> PathBuf {
    path.strip_prefix(&config.root).unwrap_or(path).into()
}

/// Looks for the fragment itself: the manager's view lags behind until it reloads
/// (systemd#4500). An instance without a file of its own has its template's.
pub(crate) fn find(config: &SystemdConfig) -> Result<Found, BackendError> {
    let names = std::iter::once(config.unit.to_string()).chain(config.unit.template());
    for name in names {
        for dir in search(config) {
            let path = dir.join(&name);
            let link = fs::read_link(&path).ok();
            if link.as_deref() == Some(Path::new("/dev/null")) {
                return Ok(Found::Masked(path));
            }
            let Some(content) = read(&path)? else {
                continue;
            };
            if content.is_empty() {
                return Ok(Found::Masked(path));
            }
            if content.len() > MAX_UNIT {
                return Err(too_large(&path));
            }
            return Ok(Found::Fragment(Fragment {
                path,
                content,
                link,
            }));
        }
    }
    Ok(Found::Nothing)
}

fn too_large(path: &Path) -> BackendError {
    BackendError::new(Kind::Unsupported, "the unit has more than 1 MiB")
        .on(path.display())
        .advice("make it smaller first")
}

/// The fragment that the manager would load instead of ours, if there is one.
pub(crate) fn hides_ours(config: &SystemdConfig) -> Option<PathBuf> {
    search(config)
        .take_while(|dir| *dir != config.root.join(OWN))
        .map(|dir| dir.join(config.unit.as_str()))
        .find(|path| path.symlink_metadata().is_ok())
}

/// Every drop-in that applies, by path below the root, with the SHA-256 of its content: the
/// manager does not notice a new directory of them until it reloads (systemd#31752).
pub(crate) fn drop_ins(config: &SystemdConfig) -> Result<BTreeMap<String, String>, BackendError> {
    let mut found = BTreeMap::new();
    for dir in search(config) {
        for name in drop_in_dirs(&config.unit) {
            for entry in fs::read_dir(dir.join(name)).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|e| e == "conf") {
                    let content = match read(&path) {
                        Ok(Some(content)) => sha256(&content),
                        Ok(None) => "leads nowhere".to_owned(),
                        Err(e) if e.kind() == Kind::InvalidReference => "no file".to_owned(),
                        Err(e) => return Err(e),
                    };
                    let shown = below_root(config, &path);
                    found.insert(shown.display().to_string(), content);
                }
            }
        }
    }
    Ok(found)
}

/// For `api-v2@x.service`: its own, its template's, those of the prefix `api-`, those of all
/// services.
fn drop_in_dirs(unit: &UnitName) -> Vec<String> {
    let mut names = vec!["service.d".to_owned(), format!("{unit}.d")];
    names.extend(unit.template().map(|template| format!("{template}.d")));
    let stem = unit.as_str().trim_end_matches(".service");
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    let dashes = prefix
        .match_indices('-')
        .filter(|(at, _)| *at + 1 < prefix.len());
    names.extend(dashes.map(|(at, _)| format!("{}.service.d", &prefix[..=at])));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_come_from_every_directory_that_applies() {
        let dirs = drop_in_dirs(&"a-b-c@x-y.service".parse().unwrap());
        let all = ["service.d", "a-b-c@x-y.service.d", "a-b-c@.service.d"];
        let prefixes = ["a-.service.d", "a-b-.service.d"];
        assert_eq!(dirs, [&all[..], &prefixes].concat());
    }

    #[test]
    fn a_file_keeps_its_mode_and_leftovers_of_a_killed_writer_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.service");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(dir.path().join(".rollback-x.service-abc"), "half").unwrap();
        fs::write(dir.path().join(".rollback-y.service-abc"), "another's").unwrap();
        write(&path, b"new", 0o644).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".rollback-y.service-abc", "x.service"]);
        write_new(&path, b"third").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"new", "there was one");
    }
}
