//! A commit's tree on disk: written durably, and compared file by file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use git2::Oid;
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use sha2::{Digest as _, Sha256};

use crate::error;
use crate::file::sync_dir;
use crate::ignore::Ignored;

/// What a path in a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Executable,
    Link,
    /// Nobody here can look into it: a socket, or something that this user may not read.
    Opaque,
}

impl Kind {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::File => 'f',
            Self::Executable => 'x',
            Self::Link => 'l',
            Self::Opaque => 'o',
        }
    }

    pub(crate) fn of_letter(letter: &[u8]) -> Option<Self> {
        [Self::File, Self::Executable, Self::Link, Self::Opaque]
            .into_iter()
            .find(|kind| letter == [kind.letter() as u8])
    }
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
    let mut dirs = BTreeSet::from([dir.to_owned()]);
    for (relative, (kind, oid)) in files {
        cx.check()?;
        let mut parent = dir.to_owned();
        for part in relative.parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if dirs.insert(parent.clone()) {
                // Fails on a link that a forged tree put there: nothing is written through it.
                fs::create_dir(&parent)
                    .and_then(|()| fs::set_permissions(&parent, Permissions::from_mode(0o755)))
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
        Kind::Executable => 0o755,
        Kind::File | Kind::Opaque => 0o644,
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

/// How what was found differs from `files`: path to `added`, `missing`, `modified` or `unreadable`.
pub(crate) fn differences(
    files: &Files,
    found: &Files,
    ignored: &Ignored,
) -> BTreeMap<PathBuf, &'static str> {
    let mut out = BTreeMap::new();
    for (path, content) in files {
        let how = match found.get(path) {
            Some(found) if found == content => continue,
            _ if ignored.covers(path) => continue,
            None => "missing",
            Some((Kind::Opaque, _)) => "unreadable",
            Some(_) => "modified",
        };
        out.insert(path.clone(), how);
    }
    for (path, (kind, _)) in found.iter().filter(|(path, _)| !files.contains_key(*path)) {
        let how = if *kind == Kind::Opaque {
            "added, unreadable"
        } else {
            "added"
        };
        out.insert(path.clone(), how);
    }
    out
}

/// A digest of all that was found, for a directory that belongs to no commit.
pub(crate) fn digest(found: &Files) -> String {
    let mut h = Sha256::new();
    for (path, (kind, oid)) in found {
        let path = path.as_os_str().as_bytes();
        h.update((path.len() as u64).to_be_bytes());
        h.update(path);
        h.update([*kind as u8]);
        h.update(oid.as_bytes());
    }
    format!("tree:{}", base16ct::lower::encode_string(&h.finalize()))
}
