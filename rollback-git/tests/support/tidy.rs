//! What is left of whoever was killed.

use std::fs;
use std::path::{Path, PathBuf};

use super::Site;

/// Nothing that a killed writer leaves is left once somebody has come after it.
pub fn tidy(site: &Site, context: &str) {
    let mut todo = vec![site.dir.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            let left = [".lock", ".next", ".gone"]
                .iter()
                .any(|end| name.ends_with(end));
            assert!(
                !left && !name.starts_with(".tmp"),
                "{context}: {}",
                path.display()
            );
            if path.is_dir() && !path.is_symlink() {
                todo.push(path);
            }
        }
    }
    let empty = |dir: PathBuf| fs::read_dir(dir).is_ok_and(|mut d| d.next().is_none());
    assert!(empty(site.root().join(".rollback/trash")), "{context}");
    let mut releases: Vec<_> = names(&site.root().join("releases"));
    let mut notes = names(&site.root().join(".rollback/releases"));
    notes.retain(|n| n.ends_with(".json"));
    releases.iter_mut().for_each(|n| n.push_str(".json"));
    assert_eq!(releases, notes, "{context}: each directory has its note");
    let pins = names(&site.dir.join("repo/worktrees"));
    assert_eq!(
        pins.len(),
        releases.len(),
        "{context}: each has its pin: {pins:?}"
    );
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
