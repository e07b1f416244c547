//! The git backend's switch, against the swap of a symbolic link that it cannot do without.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use git2::{Repository, Signature};
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::Sequence;
use rollback_core::prelude::*;
use rollback_git::{GitBackend, GitConfig};
use rollback_sqlite::SqliteStore;

use crate::figure::{Figure, Unit, clocked, compare, timed};
use crate::raw::{DeploymentRow, EventRow, Raw, transactions};

/// As many files as a directory of the releases has at most.
const IN_ONE: usize = 100;

fn site() -> WorkloadId {
    "site@bench".parse().unwrap()
}

/// Two tagged commits of so many files, none of which they share.
fn repository(path: &Path, files: usize) {
    let repo = Repository::init_bare(path).unwrap();
    let who = Signature::now("bench", "bench@example.com").unwrap();
    let mut parent = None;
    for version in ["v1", "v2"] {
        let mut top = repo.treebuilder(None).unwrap();
        for first in (0..files).step_by(IN_ONE) {
            let mut tree = repo.treebuilder(None).unwrap();
            for n in first..files.min(first + IN_ONE) {
                let content = format!("{version} {n}\n").repeat(50);
                let blob = repo.blob(content.as_bytes()).unwrap();
                tree.insert(format!("file-{n}"), blob, 0o100_644).unwrap();
            }
            let tree = tree.write().unwrap();
            top.insert(format!("part-{first}"), tree, 0o040_000)
                .unwrap();
        }
        let tree = repo.find_tree(top.write().unwrap()).unwrap();
        let parents: Vec<git2::Commit<'_>> = parent
            .iter()
            .map(|id| repo.find_commit(*id).unwrap())
            .collect();
        let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
        let id = repo
            .commit(None, &who, &who, version, &tree, &parents)
            .unwrap();
        repo.reference(&format!("refs/tags/{version}"), id, true, "")
            .unwrap();
        parent = Some(id);
    }
}

/// What no rollback can do without that survives a kill: the token and the note of the switch, each
/// durable, and the swap. What is written need not be true.
fn noted_swap(dir: &Path, n: usize) {
    for name in ["fence", "switched"] {
        let next = dir.join("next");
        let mut file = File::create(&next).unwrap();
        file.write_all(&[7; 200]).unwrap();
        file.sync_all().unwrap();
        std::fs::rename(next, dir.join("notes").join(name)).unwrap();
    }
    File::open(dir.join("notes")).unwrap().sync_all().unwrap();
    swap(dir, n);
}

/// What no swap of a published directory can do without.
fn swap(dir: &Path, n: usize) {
    let to = if n.is_multiple_of(2) { "a" } else { "b" };
    let tmp = dir.join("current.tmp");
    symlink(to, &tmp).unwrap();
    std::fs::rename(tmp, dir.join("current")).unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
}

pub(crate) async fn switch(dir: &Path) -> Figure {
    let dir = dir.join("switch");
    std::fs::create_dir(&dir).unwrap();
    repository(&dir.join("repo"), 60);
    let config = GitConfig::new(site(), dir.join("repo"), dir.join("root"));
    let backend = GitBackend::new(config).unwrap();
    let cx = Context::new(Duration::from_secs(600));
    let mut placed = Vec::new();
    for (n, version) in ["v1", "v2"].into_iter().enumerate() {
        let release = backend.resolve(&cx, version).await.unwrap();
        let op = operation(n, End::Nothing, End::Planned(release));
        placed.push(backend.prepare(&cx, &op).await.unwrap().to);
    }
    let raw = dir.join("raw");
    std::fs::create_dir(&raw).unwrap();
    let (backend, cx, placed, raw) = (&backend, &cx, &placed, &raw);
    compare(
        "git: switch, against symlink + rename + fsync of the directory",
        Unit::Micros,
        400,
        |n| async move {
            let (from, to) = (placed[(n + 1) % 2].clone(), placed[n % 2].clone());
            let op = operation(n + 2, End::Placed(from), End::Placed(to));
            let (time, done) = timed(backend.switch(cx, &op)).await;
            done.unwrap();
            time
        },
        |n| async move { clocked(|| swap(raw, n)) },
    )
    .await
}

fn operation(n: usize, from: End, to: End) -> Operation {
    Operation::new(
        site(),
        DeploymentId::generate(SystemClock.now()),
        Sequence(u64::try_from(n).unwrap()),
        from,
        to,
    )
}

/// What a whole rollback is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    Swap,
    /// The swap with all that has to be durable about it: its notes, and the transactions of its record.
    Record,
}

/// A whole rollback to a release of so many files, which is kept and unchanged.
pub(crate) async fn rollback(dir: &Path, files: usize, against: Against) -> Figure {
    let dir = dir.join(format!("rollback-{files}-{against:?}"));
    std::fs::create_dir(&dir).unwrap();
    repository(&dir.join("repo"), files);
    let config = GitConfig::new(site(), dir.join("repo"), dir.join("root"));
    let engine = RollbackEngine::builder(SqliteStore::open(dir.join("history.db")).await.unwrap())
        .workload(Workload::new(GitBackend::new(config).unwrap()))
        .build()
        .unwrap();
    let actor = || Actor::user("bench").unwrap();
    let (mut ids, mut sample) = (Vec::new(), None);
    for version in ["v1", "v2"] {
        let report = engine
            .deploy(&site(), version, actor())
            .await
            .unwrap()
            .await
            .unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        ids.push(report.deployment().id().clone());
        sample = Some(report.deployment().clone());
    }
    let sample = sample.unwrap();
    let events: Vec<EventRow> = sample.events().iter().map(EventRow::from).collect();
    let (row, steps) = (DeploymentRow::from(sample.opening()), transactions(&events));
    let history = Mutex::new(Raw::open(&dir.join("raw.db")).await);
    let raw = dir.join("raw");
    std::fs::create_dir_all(raw.join("notes")).unwrap();
    let last = Mutex::new(0);
    let (engine, ids, raw, last) = (&engine, &ids, &raw, &last);
    let (row, steps, history) = (&row, &steps, &history);
    compare(
        match against {
            Against::Swap => {
                format!("git: a whole rollback to {files} kept files on SQLite, against that swap")
            }
            Against::Record => {
                "git: the same, against that swap and its durable records".to_owned()
            }
        },
        Unit::Millis,
        60,
        |_| async move {
            let goal = {
                let mut last = last.lock().unwrap();
                let goal = Goal::To(ids[*last].clone());
                *last = 1 - *last;
                goal
            };
            let whole = async {
                let run = engine.rollback(&site(), goal, actor()).await.unwrap();
                run.await.unwrap()
            };
            let (time, report) = timed(Box::pin(whole)).await;
            assert!(report.succeeded(), "{}", report.summary());
            time
        },
        |n| async move {
            clocked(|| match against {
                Against::Swap => swap(raw, n),
                Against::Record => {
                    noted_swap(raw, n);
                    let row = row.renamed(&DeploymentId::generate(SystemClock.now()), n);
                    history.lock().unwrap().deploy(&row, steps);
                }
            })
        },
    )
    .await
}
