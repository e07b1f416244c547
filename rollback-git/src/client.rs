//! [`Client`]: the repository: references, and what a commit needs. Never its work tree or index,
//! and never its locks.

use std::path::Path;

use git2::{ErrorCode, Oid, Repository};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::ReferenceKind;

use crate::config::GitConfig;
use crate::content::{Files, Kind};
use crate::error;
use crate::listing::{Listing, Relative};
use crate::pins::Pins;
use crate::root::Root;

/// Longest reference that is looked up, in bytes.
const MAX_REFERENCE: usize = 512;

/// How many objects are looked at between two looks at the deadline.
pub(crate) const STRIDE: usize = 64;

/// An open repository, for one call.
pub(crate) struct Client {
    repo: Repository,
}

/// What a commit's tree is made of.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    pub(crate) files: Files,
    /// The tree itself, and those below it.
    pub(crate) trees: Vec<Oid>,
}

impl Client {
    pub(crate) fn open(config: &GitConfig, root: &Root) -> Result<Self, BackendError> {
        let path = &config.repository;
        if !path.exists() {
            return Err(unreachable(path));
        }
        let repo = Repository::open(path).map_err(|e| match e.code() {
            ErrorCode::NotFound => unreachable(path),
            _ => error::git("the repository cannot be opened", path.display(), e),
        })?;
        let client = Self { repo };
        client.refuse_partial_clone(path)?;
        client.refuse_lost_root(root)?;
        Ok(client)
    }

    /// The commits that this root keeps in it.
    pub(crate) fn pins<'a>(&self, root: &'a Root) -> Pins<'a> {
        Pins::new(self.repo.commondir(), root)
    }

    /// Whether a commit is there.
    pub(crate) fn has(&self, commit: Oid) -> bool {
        self.repo.find_commit(commit).is_ok()
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
    /// backend can write. `Gone` where an object is missing. No file is read but attributes.
    pub(crate) fn files(&self, cx: &Context, commit: Oid) -> Result<Closure, BackendError> {
        let gone = |e: git2::Error| match e.code() {
            ErrorCode::NotFound => missing(commit).because(e),
            _ => error::git("the commit cannot be read", commit, e),
        };
        let objects = self.repo.odb().map_err(gone)?;
        let tree = self
            .repo
            .find_commit(commit)
            .and_then(|c| c.tree())
            .map_err(gone)?;
        let mut closure = Closure::default();
        let mut files = Vec::new();
        let mut todo = vec![(Relative::default(), tree)];
        while let Some((at, tree)) = todo.pop() {
            closure.trees.push(tree.id());
            for entry in &tree {
                if (files.len() + todo.len()).is_multiple_of(STRIDE) {
                    cx.check()?;
                }
                let path = at.join(entry_name(&entry, commit)?);
                let shown = || path.as_path().display();
                let kind = match entry.filemode() {
                    0o040_000 => {
                        todo.push((path, self.repo.find_tree(entry.id()).map_err(gone)?));
                        continue;
                    }
                    0o160_000 => {
                        return Err(error::unsupported("the commit has a submodule", shown())
                            .advice("vendor its files into the repository"));
                    }
                    0o120_000 => Kind::Link,
                    mode if mode & 0o100 != 0 => Kind::Executable,
                    _ => Kind::File,
                };
                if !objects.exists(entry.id()) {
                    return Err(missing(commit));
                }
                if entry.name_bytes() == b".gitattributes"
                    && has_filter(self.repo.find_blob(entry.id()).map_err(gone)?.content())
                {
                    return Err(error::unsupported(
                        "the commit uses filter attributes (such as Git LFS)",
                        shown(),
                    )
                    .advice("commit the real content; filters are never run"));
                }
                files.push((path, (kind, entry.id())));
            }
        }
        closure.files = Listing::of(files);
        Ok(closure)
    }

    /// Refuses to go on where releases were placed in a root that is not there: on a disk that is not
    /// mounted, say. To make it anew would put a second one under the mount.
    fn refuse_lost_root(&self, root: &Root) -> Result<(), BackendError> {
        if root.path().is_dir() || self.pins(root).commits()?.is_empty() {
            return Ok(());
        }
        Err(BackendError::new(
            BackendErrorKind::Unreachable,
            "the deploy root is not there, and releases were placed in it",
        )
        .on(root.path().display())
        .advice("mount its disk; if it was removed for good, make an empty directory there"))
    }
}

fn missing(commit: Oid) -> BackendError {
    error::gone("objects of the commit are missing", commit)
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
fn entry_name<'a>(entry: &'a git2::TreeEntry<'_>, commit: Oid) -> Result<&'a [u8], BackendError> {
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
    Ok(name)
}

fn has_filter(attributes: &[u8]) -> bool {
    String::from_utf8_lossy(attributes)
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .any(|word| word.starts_with("filter="))
}

/// The commit that a directory made by hand has checked out, if it is a git checkout.
pub(crate) fn checkout(cx: &Context, dir: &Path) -> Option<(Oid, Files)> {
    if !dir.join(".git").exists() {
        return None;
    }
    let repo = Repository::open(dir).ok()?;
    let commit = repo.head().ok()?.peel_to_commit().ok()?.id();
    let closure = Client { repo }.files(cx, commit).ok()?;
    Some((commit, closure.files))
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
