//! A commit's tree on disk: written durably, and compared file by file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use sha2::{Digest as _, Sha256};

use crate::error;
use crate::release::sync_dir;

/// What a path in a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Executable,
    Link,
}

/// Every file and link of a tree, by its relative path, with its blob.
pub(crate) type Files = BTreeMap<PathBuf, (Kind, Oid)>;

/// Writes `files` into `dir`, which must not exist, and makes all of it durable.
pub(crate) fn write(
    cx: &Context,
    repo: &git2::Repository,
    files: &Files,
    dir: &Path,
) -> Result<(), BackendError> {
    let fail = |path: &Path, e| error::io("cannot write the release", path.display(), e);
    // New, empty and private while it grows: nobody can put anything in the way.
    fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|e| fail(dir, e))?;
    let mut dirs = std::collections::BTreeSet::from([dir.to_owned()]);
    for (relative, (kind, oid)) in files {
        cx.check()?;
        let mut parent = dir.to_owned();
        for part in relative.parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if dirs.insert(parent.clone()) {
                // Fails on a link that a forged tree put there: nothing is written through it.
                fs::DirBuilder::new()
                    .mode(0o755)
                    .create(&parent)
                    .map_err(|e| fail(&parent, e))?;
            }
        }
        let path = dir.join(relative);
        let blob = repo
            .find_blob(*oid)
            .map_err(|e| error::git("cannot read a file of the commit", relative.display(), e))?;
        write_one(&path, *kind, blob.content()).map_err(|e| fail(&path, e))?;
    }
    for d in dirs.iter().rev() {
        sync_dir(d)?;
    }
    Ok(())
}

fn write_one(path: &Path, kind: Kind, content: &[u8]) -> io::Result<()> {
    let mode = match kind {
        Kind::Link => return symlink(OsStr::from_bytes(content), path),
        Kind::File => 0o644,
        Kind::Executable => 0o755,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    // The service may run as another user: the umask of whoever deploys must not decide.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// How what stands in `dir` differs from `files`: path to `added`, `missing` or `modified`.
pub(crate) fn differences(
    files: &Files,
    dir: &Path,
) -> Result<BTreeMap<String, &'static str>, BackendError> {
    let found = scan(dir)?;
    let mut out = BTreeMap::new();
    for (path, (kind, oid)) in files {
        let how = match found.get(path) {
            None => "missing",
            Some((k, o)) if k != kind || o != oid => "modified",
            Some(_) => continue,
        };
        out.insert(path.to_string_lossy().into_owned(), how);
    }
    for path in found.keys().filter(|p| !files.contains_key(*p)) {
        out.insert(path.to_string_lossy().into_owned(), "added");
    }
    Ok(out)
}

/// A digest of everything in `dir`, for a directory that belongs to no commit.
pub(crate) fn digest(dir: &Path) -> Result<String, BackendError> {
    let mut h = Sha256::new();
    for (path, (kind, oid)) in scan(dir)? {
        let path = path.as_os_str().as_bytes();
        h.update((path.len() as u64).to_be_bytes());
        h.update(path);
        h.update([kind as u8]);
        h.update(oid.as_bytes());
    }
    let hex: String = h.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("tree:{hex}"))
}

fn scan(dir: &Path) -> Result<Files, BackendError> {
    let mut files = Files::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(relative) = todo.pop() {
        let here = dir.join(&relative);
        let fail = |e| error::io("cannot read the release", here.display(), e);
        for entry in fs::read_dir(&here).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let path = relative.join(entry.file_name());
            if path == Path::new(".git") {
                continue;
            }
            let kind = entry.file_type().map_err(fail)?;
            if kind.is_dir() {
                todo.push(path);
            } else {
                files.insert(path, hash(&entry.path(), kind.is_symlink()).map_err(fail)?);
            }
        }
    }
    Ok(files)
}

fn hash(path: &Path, link: bool) -> io::Result<(Kind, Oid)> {
    let other = |e: git2::Error| io::Error::other(e);
    if link {
        let target = fs::read_link(path)?;
        let oid = Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes());
        return Ok((Kind::Link, oid.map_err(other)?));
    }
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_file() {
        // A socket or FIFO must not be opened: it could block for ever.
        return Ok((Kind::File, Oid::ZERO_SHA1));
    }
    let kind = if meta.permissions().mode() & 0o100 == 0 {
        Kind::File
    } else {
        Kind::Executable
    };
    Ok((kind, Oid::hash_file(ObjectType::Blob, path).map_err(other)?))
}
