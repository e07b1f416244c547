//! What a pinned commit needs, on the disk: whoever wrote it may not have waited for that.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use git2::{ObjectType, Oid, Repository};
use rollback_core::context::Context;
use rollback_core::error::BackendError;

use crate::client::{Closure, STRIDE};
use crate::error;
use crate::file::sync_dir;

/// Makes a commit durable with all that it needs: its tree and those of its ancestors, down to what
/// the commits need that were pinned before. A broken one would break a rollback, or `git gc`.
pub(crate) fn sync(
    cx: &Context,
    repo: &Repository,
    commit: Oid,
    closure: &Closure,
    pinned: &[Oid],
) -> Result<(), BackendError> {
    let mut sync = Sync {
        repo,
        objects: repo.commondir().join("objects"),
        seen: HashSet::new(),
        dirs: BTreeSet::new(),
    };
    sync.packs()?;
    for (_, (_, oid)) in closure.files.iter() {
        sync.object(cx, *oid)?;
    }
    for oid in &closure.trees {
        sync.object(cx, *oid)?;
    }
    sync.history(cx, commit, pinned)?;
    for dir in &sync.dirs {
        sync_dir(dir)?;
    }
    sync_dir(&sync.objects)
}

struct Sync<'a> {
    repo: &'a Repository,
    objects: PathBuf,
    seen: HashSet<Oid>,
    /// Where something lies that was synced: its name is as durable as its directory.
    dirs: BTreeSet<PathBuf>,
}

impl Sync<'_> {
    /// There are few: not to know who wrote them costs little.
    fn packs(&mut self) -> Result<(), BackendError> {
        let dir = self.objects.join("pack");
        let fail = |e| error::io("a pack cannot be made durable", dir.display(), e);
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            let ending = path.extension().and_then(OsStr::to_str);
            if !matches!(ending, Some("pack" | "idx")) {
                continue;
            }
            match File::open(&path).and_then(|f| f.sync_all()) {
                // Packed anew meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(fail)?,
            }
        }
        self.dirs.insert(dir);
        Ok(())
    }

    /// Whether it lies in a file of its own, which is durable now but for its name.
    fn object(&mut self, cx: &Context, oid: Oid) -> Result<bool, BackendError> {
        if !self.seen.insert(oid) {
            return Ok(false);
        }
        if self.seen.len().is_multiple_of(STRIDE) {
            cx.check()?;
        }
        let hex = oid.to_string();
        let Some((dir, rest)) = hex.split_at_checked(2) else {
            return Ok(false);
        };
        let dir = self.objects.join(dir);
        match File::open(dir.join(rest)).and_then(|f| f.sync_all()) {
            Ok(()) => {
                self.dirs.insert(dir);
                Ok(true)
            }
            // It is in a pack, or in another repository that this one borrows from.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(error::io("an object cannot be made durable", &hex, e)),
        }
    }

    /// The commits that lead to this one, each line down to one that was pinned before, or that is
    /// packed: what git packs, it packs with all that it needs. A shallow or broken history ends
    /// where it ends: it is no part of the release.
    fn history(&mut self, cx: &Context, commit: Oid, pinned: &[Oid]) -> Result<(), BackendError> {
        let mut todo = vec![commit];
        while let Some(oid) = todo.pop() {
            if oid != commit && pinned.contains(&oid) || !self.object(cx, oid)? {
                continue;
            }
            if let Ok(found) = self.repo.find_commit(oid) {
                todo.extend(found.parent_ids());
                self.tree(cx, found.tree_id())?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, cx: &Context, oid: Oid) -> Result<(), BackendError> {
        let mut todo = vec![oid];
        while let Some(oid) = todo.pop() {
            if !self.object(cx, oid)? {
                continue;
            }
            let Ok(tree) = self.repo.find_tree(oid) else {
                continue;
            };
            for entry in &tree {
                match entry.kind() {
                    Some(ObjectType::Tree) => todo.push(entry.id()),
                    Some(ObjectType::Blob) => {
                        self.object(cx, entry.id())?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
