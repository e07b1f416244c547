//! The programs' repository: what a version holds, and whether it is sick.

use std::fs;
use std::io;
use std::path::Path;

use git2::{ErrorCode, Repository, Signature, Tree};

/// Versions that are there from the start, `v0` to the last.
pub(crate) const VERSIONS: u64 = 24;

/// What is published of a version, file by file. Long enough for a power cut to tear.
pub(crate) fn files(version: &str, sick: bool) -> [(&'static str, String); 3] {
    let health = if sick { "sick" } else { "ok" };
    [
        ("version", version.to_owned()),
        ("health", health.to_owned()),
        ("body", format!("{version} {health}\n").repeat(400)),
    ]
}

/// Every fifth version is sick, the first is not.
pub(crate) fn is_sick(nth: u64) -> bool {
    nth % 5 == 4
}

/// The version that a directory holds, whole: `Err` says what is wrong with it.
pub(crate) fn version_in(dir: &Path) -> Result<String, String> {
    let read = |name: &str| {
        fs::read_to_string(dir.join(name)).map_err(|e| format!("{}/{name}: {e}", dir.display()))
    };
    let version = read("version")?;
    let sick = read("health")? == "sick";
    for (name, text) in files(&version, sick) {
        let nested = match name {
            "body" => "app/body",
            other => other,
        };
        if read(nested)? != text {
            return Err(format!(
                "{}/{nested} is not that of {version:?}",
                dir.display()
            ));
        }
    }
    Ok(version)
}

/// Makes a repository with the first versions, each a tag.
pub(crate) fn make(path: &Path, bare: bool) -> Result<(), git2::Error> {
    let repo = if bare {
        Repository::init_bare(path)?
    } else {
        Repository::init(path)?
    };
    for nth in 0..VERSIONS {
        commit(&repo, &format!("v{nth}"), is_sick(nth))?;
    }
    Ok(())
}

/// Commits a version and tags it, as a program would that pushes and deploys at once.
pub(crate) fn add(path: &Path, version: &str, sick: bool) -> Result<(), git2::Error> {
    commit(&Repository::open(path)?, version, sick)
}

fn commit(repo: &Repository, version: &str, sick: bool) -> Result<(), git2::Error> {
    let mut top = repo.treebuilder(None)?;
    let mut app = repo.treebuilder(None)?;
    for (name, text) in files(version, sick) {
        let blob = repo.blob(text.as_bytes())?;
        let tree = if name == "body" { &mut app } else { &mut top };
        tree.insert(name, blob, 0o100_644)?;
    }
    top.insert("app", app.write()?, 0o040_000)?;
    let tree = repo.find_tree(top.write()?)?;
    let author = Signature::now("A", "a@example.org")?;
    let id = repo.commit(None, &author, &author, version, &tree, &[])?;
    let name = format!("refs/tags/{version}");
    match repo.reference(&name, id, false, "chaos") {
        Err(e) if e.code() == ErrorCode::Exists => Ok(()),
        other => other.map(|_| ()),
    }
}

/// The references that the backend keeps.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// Each name, and its commit.
    pub(crate) kept: Vec<(String, String)>,
    /// What of them cannot be read, to the last file.
    pub(crate) broken: Vec<String>,
}

/// Reads every pin, and all that it leads to.
pub(crate) fn pins(path: &Path) -> Result<Pins, git2::Error> {
    let repo = Repository::open(path)?;
    let Pins {
        mut kept,
        mut broken,
    } = Pins::default();
    let worktrees = fs::read_dir(repo.commondir().join("worktrees"));
    for entry in worktrees.into_iter().flatten().flatten() {
        let place = entry.path();
        let Ok(text) = fs::read_to_string(place.join("rollback.json")) else {
            continue;
        };
        let said: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let part = |name: &str| said[name].as_str().unwrap_or("?").to_owned();
        let name = format!("refs/rollback/{}/{}", part("workload"), part("deployment"));
        let head = fs::read_to_string(place.join("HEAD")).unwrap_or_default();
        let commit = git2::Oid::from_str(head.trim()).and_then(|id| repo.find_commit(id));
        match commit {
            Ok(commit) => {
                kept.push((name.clone(), commit.id().to_string()));
                if let Err(e) = commit.tree().and_then(|tree| read_all(&repo, &tree)) {
                    broken.push(format!("{name}: {e}"));
                }
            }
            Err(e) => broken.push(format!("{name}: {e}")),
        }
    }
    Ok(Pins { kept, broken })
}

fn read_all(repo: &Repository, tree: &Tree<'_>) -> Result<(), git2::Error> {
    for entry in tree {
        if entry.filemode() == 0o040_000 {
            read_all(repo, &repo.find_tree(entry.id())?)?;
        } else {
            repo.find_blob(entry.id())?;
        }
    }
    Ok(())
}

/// The release that `current` leads to; `None`: there is no link.
pub(crate) fn current(root: &Path) -> io::Result<Option<std::path::PathBuf>> {
    match fs::read_link(root.join("current")) {
        Ok(to) => Ok(Some(root.join(to))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
