//! [`Client`]: the repository: references, closures, pins. Never its work tree or index.

use std::fs::File;
use std::io;
use std::path::Path;

use git2::{ErrorCode, Oid, Repository};
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_core::release::ReferenceKind;

use crate::config::GitConfig;
use crate::error;
use crate::release::sync_dir;
use crate::tree::{Files, Kind};

/// Longest reference that is looked up, in bytes.
const MAX_REFERENCE: usize = 512;

/// An open repository, for one call.
pub(crate) struct Client {
    repo: Repository,
    prefix: String,
}

impl Client {
    pub(crate) fn open(config: &GitConfig) -> Result<Self, BackendError> {
        let path = &config.repository;
        if !path.exists() {
            return Err(unreachable(path));
        }
        let repo = Repository::open(path).map_err(|e| match e.code() {
            ErrorCode::NotFound => unreachable(path),
            _ => error::git("the repository cannot be opened", path.display(), e),
        })?;
        let client = Self {
            repo,
            prefix: prefix(&config.workload),
        };
        client.refuse_partial_clone(path)?;
        client.refuse_lost_root(&config.root)?;
        Ok(client)
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repo
    }

    fn refuse_partial_clone(&self, path: &Path) -> Result<(), BackendError> {
        let fail = |e| {
            error::git(
                "the repository's configuration is unreadable",
                path.display(),
                e,
            )
        };
        let config = self.repo.config().map_err(fail)?;
        let mut promisors = config
            .entries(Some(r"^(remote\..*\.promisor|extensions\.partialclone)$"))
            .map_err(fail)?;
        match promisors.next() {
            Some(_) => Err(
                error::unsupported("the repository is a partial clone", path.display())
                    .advice("clone it in full: a rollback must not depend on the remote"),
            ),
            None => Ok(()),
        }
    }

    /// The commit that a tag, branch, full reference name or (abbreviated) commit id means now.
    pub(crate) fn resolve(&self, reference: &str) -> Result<(Oid, ReferenceKind), BackendError> {
        check_reference(reference)?;
        let names =
            ["refs/tags/", "refs/heads/", "refs/remotes/"].map(|p| format!("{p}{reference}"));
        let full =
            (reference == "HEAD" || reference.starts_with("refs/")).then(|| reference.to_owned());
        for name in full.iter().chain(&names) {
            match self.repo.find_reference(name) {
                Ok(found) => {
                    let commit = found.peel_to_commit().map_err(|e| {
                        error::git("the reference does not lead to a commit", reference, e)
                    })?;
                    return Ok((commit.id(), kind_of(&found)));
                }
                Err(e) if e.code() == ErrorCode::NotFound => {}
                Err(e) => return Err(error::git("the reference is unreadable", reference, e)),
            }
        }
        let hex =
            (4..=40).contains(&reference.len()) && reference.bytes().all(|b| b.is_ascii_hexdigit());
        let missing = || {
            BackendError::new(BackendErrorKind::NotFound, "no such tag, branch or commit")
                .on(reference)
                .advice("check the name, or fetch it into the repository first")
        };
        if !hex {
            return Err(missing());
        }
        match self.repo.find_commit_by_prefix(reference) {
            Ok(commit) => Ok((commit.id(), ReferenceKind::Fixed)),
            Err(e) if e.code() == ErrorCode::Ambiguous => Err(BackendError::new(
                BackendErrorKind::InvalidReference,
                "several commits begin like this",
            )
            .on(reference)
            .advice("give more digits")),
            Err(e) if e.code() == ErrorCode::NotFound => Err(missing()),
            Err(e) => Err(error::git("the commit cannot be read", reference, e)),
        }
    }

    /// Everything the commit's tree holds, proven to be there and to be something that this
    /// backend can write. `Gone` where an object is missing.
    pub(crate) fn files(&self, commit: Oid) -> Result<Files, BackendError> {
        let gone = |e: git2::Error| match e.code() {
            ErrorCode::NotFound => {
                error::gone("objects of the commit are missing", commit).because(e)
            }
            _ => error::git("the commit cannot be read", commit, e),
        };
        let tree = self
            .repo
            .find_commit(commit)
            .and_then(|c| c.tree())
            .map_err(gone)?;
        let mut files = Files::new();
        let mut todo = vec![(std::path::PathBuf::new(), tree)];
        while let Some((at, tree)) = todo.pop() {
            for entry in &tree {
                let path = at.join(entry_name(&entry, commit)?);
                let kind = match entry.filemode() {
                    0o040_000 => {
                        todo.push((path, self.repo.find_tree(entry.id()).map_err(gone)?));
                        continue;
                    }
                    0o160_000 => {
                        return Err(error::unsupported(
                            "the commit has a submodule",
                            path.display(),
                        )
                        .advice("vendor its files into the repository"));
                    }
                    0o120_000 => Kind::Link,
                    mode if mode & 0o100 != 0 => Kind::Executable,
                    _ => Kind::File,
                };
                let blob = self.repo.find_blob(entry.id()).map_err(gone)?;
                if entry.name_bytes() == b".gitattributes" && has_filter(blob.content()) {
                    return Err(error::unsupported(
                        "the commit uses filter attributes (such as Git LFS)",
                        path.display(),
                    )
                    .advice("commit the real content; filters are never run"));
                }
                files.insert(path, (kind, entry.id()));
            }
        }
        Ok(files)
    }

    fn pin_name(&self, deployment: &DeploymentId) -> String {
        format!("{}{deployment}", self.prefix)
    }

    /// Keeps the commit from `git gc`, durably.
    pub(crate) fn pin(&self, deployment: &DeploymentId, commit: Oid) -> Result<(), BackendError> {
        let name = self.pin_name(deployment);
        if !git2::Reference::is_valid_name(&name) {
            return Err(BackendError::new(
                BackendErrorKind::InvalidReference,
                "the workload's name cannot be part of a git reference",
            )
            .on(name));
        }
        self.repo
            .reference(&name, commit, true, "rollback: pinned for a deployment")
            .map_err(|e| error::git("the commit cannot be pinned", &name, e))?;
        self.sync_ref(&name)
            .map_err(|e| error::io("the pin cannot be made durable", &name, e))
    }

    // libgit2 leaves this to the kernel's leisure, and a pin lost in a power cut is a lost release.
    fn sync_ref(&self, name: &str) -> io::Result<()> {
        let base = self.repo.commondir();
        let file = base.join(name);
        match File::open(&file) {
            Ok(f) => f.sync_all()?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return File::open(base.join("packed-refs"))?.sync_all();
            }
            Err(e) => return Err(e),
        }
        for dir in file.ancestors().skip(1).take_while(|d| *d != base) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Loose objects of the closure to the disk: whoever committed may not have waited for it.
    pub(crate) fn sync_objects(&self, commit: Oid, files: &Files) -> Result<(), BackendError> {
        let objects = self.repo.commondir().join("objects");
        for oid in files.values().map(|(_, oid)| *oid).chain([commit]) {
            let hex = oid.to_string();
            let Some((dir, rest)) = hex.split_at_checked(2) else {
                continue;
            };
            match File::open(objects.join(dir).join(rest)).and_then(|f| f.sync_all()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(error::io("an object cannot be made durable", &hex, e));
                }
                Ok(()) => sync_dir(&objects.join(dir))?,
                // It is in a pack, which git writes durably.
                Err(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn unpin(&self, deployment: &DeploymentId) -> Result<(), BackendError> {
        self.delete(&self.pin_name(deployment))
    }

    fn delete(&self, name: &str) -> Result<(), BackendError> {
        let fail = |e| error::git("the pin cannot be removed", name, e);
        match self.repo.find_reference(name) {
            Ok(mut found) => found.delete().map_err(fail),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(()),
            Err(e) => Err(fail(e)),
        }
    }

    /// Refuses to go on where releases were placed in a root that is not there: on a disk that is not
    /// mounted, say. To make it anew would put a second one under the mount.
    fn refuse_lost_root(&self, root: &Path) -> Result<(), BackendError> {
        if root.is_dir() || self.pins()?.is_empty() {
            return Ok(());
        }
        Err(BackendError::new(
            BackendErrorKind::Unreachable,
            "the deploy root is not there, and releases were placed in it",
        )
        .on(root.display())
        .advice("mount its disk; if it was removed for good, make an empty directory there"))
    }

    /// Removes this workload's pins on every commit that `keep` does not name.
    pub(crate) fn unpin_others(&self, keep: &dyn Fn(&str) -> bool) -> Result<(), BackendError> {
        let pins = self.pins()?;
        let mut others = pins.iter().filter(|(_, oid)| !keep(&oid.to_string()));
        others.try_for_each(|(name, _)| self.delete(name))
    }

    /// This workload's pins: each reference, and the commit that it keeps.
    fn pins(&self) -> Result<Vec<(String, Oid)>, BackendError> {
        let fail = |e| error::git("the pins cannot be listed", &self.prefix, e);
        let glob = format!("{}*", self.prefix);
        let mut pins = Vec::new();
        for found in self.repo.references_glob(&glob).map_err(fail)? {
            let found = found.map_err(fail)?;
            if let (Ok(name), Some(oid)) = (found.name(), found.target()) {
                pins.push((name.to_owned(), oid));
            }
        }
        Ok(pins)
    }
}

fn prefix(workload: &WorkloadId) -> String {
    format!("refs/rollback/{workload}/")
}

fn unreachable(path: &Path) -> BackendError {
    BackendError::new(BackendErrorKind::Unreachable, "there is no git repository")
        .on(path.display())
        .advice("check the path, and that its disk is mounted")
}

fn check_reference(reference: &str) -> Result<(), BackendError> {
    let valid = (1..=MAX_REFERENCE).contains(&reference.len())
        && !reference.starts_with('-')
        && git2::Reference::is_valid_name(&format!("refs/heads/{reference}"));
    if valid {
        return Ok(());
    }
    let shown: String = reference.chars().take(40).collect();
    Err(BackendError::new(
        BackendErrorKind::InvalidReference,
        "this is not a tag, branch or commit id",
    )
    .on(format!("{shown:?}"))
    .advice("give a tag, a branch or a commit id"))
}

/// One safe path component, or a refusal: a forged tree must not write outside its directory.
fn entry_name(
    entry: &git2::TreeEntry<'_>,
    commit: Oid,
) -> Result<std::path::PathBuf, BackendError> {
    use std::os::unix::ffi::OsStrExt;
    let name = entry.name_bytes();
    let forged = name.is_empty()
        || name == b"."
        || name == b".."
        || name.eq_ignore_ascii_case(b".git")
        || name.iter().any(|b| matches!(b, b'/' | 0));
    if forged {
        return Err(error::corrupt(
            "the commit has a path that git forbids",
            commit,
        ));
    }
    Ok(std::ffi::OsStr::from_bytes(name).into())
}

fn has_filter(attributes: &[u8]) -> bool {
    String::from_utf8_lossy(attributes)
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .any(|word| word.starts_with("filter="))
}

/// The commit that a directory made by hand has checked out, if it is a git checkout.
pub(crate) fn checkout(dir: &Path) -> Option<(Oid, Files)> {
    if !dir.join(".git").exists() {
        return None;
    }
    let repo = Repository::open(dir).ok()?;
    let commit = repo.head().ok()?.peel_to_commit().ok()?.id();
    let client = Client {
        repo,
        prefix: String::new(),
    };
    let files = client.files(commit).ok()?;
    Some((commit, files))
}

/// A recorded commit id.
pub(crate) fn commit_id(digest: &str) -> Option<Oid> {
    (digest.len() == 40)
        .then(|| Oid::from_str(digest).ok())
        .flatten()
}

/// A tag stays, a branch moves, and so does whatever points at one.
fn kind_of(found: &git2::Reference<'_>) -> ReferenceKind {
    if found.is_tag() {
        ReferenceKind::Fixed
    } else {
        ReferenceKind::Moving
    }
}
