//! What must not lie about once a recovery and another deployment are through.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::deployment::Deployment;

use crate::ground::{Ground, SITES, Site};
use crate::oracle::Breaches;
use crate::site;

/// Whether only what is under way, or was broken off, is called so.
fn is_temporary(name: &str) -> bool {
    name.starts_with(".tmp")
        || name.starts_with("tmp_")
        || name.contains(".tmp")
        || [".lock", ".new", ".next", "-journal"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Looks for temporaries and locks in everything that is ours or that we write to.
pub(crate) fn anywhere(ground: &Ground, breaches: &mut Breaches) {
    let mut todo = vec![ground.dir.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            // The stores' own locks are the kernel's: their files stay. And what somebody who was
            // killed had half committed is git's to clear away.
            if is_locks(&path) || path.ends_with("objects") || path.ends_with("refs/tags") {
                continue;
            }
            if is_temporary(&name) || dir.ends_with(".rollback/trash") {
                breaches.add("left over", path.display());
            } else if entry.file_type().is_ok_and(|t| t.is_dir()) {
                todo.push(path);
            }
        }
    }
    for site in &SITES {
        match site::pins(&ground.repository(site)) {
            Ok(pins) => {
                for pin in pins.broken {
                    breaches.add("a pinned commit cannot be read", pin);
                }
            }
            Err(e) => breaches.add("a repository cannot be read", e),
        }
    }
}

fn is_locks(path: &Path) -> bool {
    path.ends_with("history/locks") || path.ends_with("history.db.locks")
}

/// Whatever stands is whole, at any rest.
pub(crate) fn all_whole(ground: &Ground, site: &Site, breaches: &mut Breaches) {
    let releases = ground.root(site).join("releases");
    for name in names(&releases) {
        if let Err(e) = site::version_in(&releases.join(name)) {
            breaches.add("a standing release is not whole", e);
        }
    }
}

/// Directories, their records and the history agree, and nothing is pinned that nobody needs.
pub(crate) fn after(ground: &Ground, site: &Site, records: &[Deployment], breaches: &mut Breaches) {
    let root = ground.root(site);
    let standing = names(&root.join("releases"));
    let recorded: BTreeSet<String> = names(&root.join(".rollback/releases"))
        .into_iter()
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    for name in standing.symmetric_difference(&recorded) {
        let what = if standing.contains(name) {
            "a directory without a record"
        } else {
            "a record without a directory"
        };
        breaches.add(what, root.join("releases").join(name).display());
    }
    let known: BTreeSet<&str> = records
        .iter()
        .filter_map(|d| d.instance())
        .map(|i| i.handle.as_str())
        .collect();
    for name in &standing {
        if !known.contains(name.as_str()) {
            breaches.add(
                "a directory that no deployment knows",
                root.join("releases").join(name).display(),
            );
        }
    }
    let commits: BTreeSet<&str> = records
        .iter()
        .filter_map(|d| d.release())
        .map(|r| r.artifact().digest.as_str())
        .collect();
    let prefix = format!("refs/rollback/{}/", site.id());
    let pins = site::pins(&ground.repository(site)).unwrap_or_default();
    for (pin, commit) in pins.kept {
        if pin.starts_with(&prefix) && !commits.contains(commit.as_str()) {
            breaches.add("a pin that nobody needs", pin);
        }
    }
}

fn names(dir: &PathBuf) -> BTreeSet<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !is_temporary(name))
        .collect()
}
