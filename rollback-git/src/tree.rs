//! A commit's tree on disk: written durably, and compared file by file.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use rollback_core::context::Context;
use rollback_core::error::BackendError;
use sha2::{Digest as _, Sha256};

use crate::content::{Content, Files, Kind};
use crate::error;
use crate::file::sync_dir;
use crate::ignore::Ignored;
use crate::listing::{Listing, Relative};
use crate::scan::Scan;

/// How what stands differs from what belongs there: `added`, `missing`, `modified` or `unreadable`.
pub(crate) type Differences = Vec<(Relative, &'static str)>;

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
    for (relative, (kind, oid)) in files.iter() {
        let relative = relative.as_path();
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

/// How what was found differs from what belongs there.
pub(crate) fn differences<T>(
    belongs: &Listing<T>,
    content: impl Fn(&T) -> Content,
    scan: &Scan,
    ignored: &Ignored,
) -> Differences {
    let rows = belongs.beside(&scan.found);
    rows.filter_map(|(path, belongs, found)| {
        let found = found.map(|found| found.content);
        let how = match (belongs.map(&content), found) {
            (belongs, found) if belongs == found => return None,
            (None, Some((Kind::Opaque, _))) => "added, unreadable",
            (None, _) => "added",
            (Some(_), _) if ignored.covers(path.as_path()) => return None,
            (Some(_), None) => "missing",
            (Some(_), Some((Kind::Opaque, _))) => "unreadable",
            (Some(_), Some(_)) => "modified",
        };
        Some((path.clone(), how))
    })
    .collect()
}

/// A digest of all that was found, for a directory that belongs to no commit.
pub(crate) fn digest(scan: &Scan) -> String {
    let mut rows: Vec<_> = scan.found.iter().collect();
    // Part by part, as it was always done: digests are on record.
    rows.sort_by(|a, b| a.0.as_path().cmp(b.0.as_path()));
    let mut h = Sha256::new();
    for (path, found) in rows {
        let (kind, oid) = found.content;
        let path = path.as_bytes();
        h.update((path.len() as u64).to_be_bytes());
        h.update(path);
        h.update([kind as u8]);
        h.update(oid.as_bytes());
    }
    format!("tree:{}", base16ct::lower::encode_string(&h.finalize()))
}
