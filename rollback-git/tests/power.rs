//! The power is cut right after a deployment: what was said to be durable is.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::process::Command;

use git2::{Oid, Repository, Signature};
use rollback_core::backend::{Availability, Backend, End};
use support::disk::Disk;
use support::{GitWorld, Site, cx};

/// Two commits, one upon the other, in trees of their own: nobody has synced any of it.
fn commit(repo: &Repository, text: &str, parent: Oid) -> Oid {
    let mut parent = parent;
    for n in 0..2 {
        let text = format!("{text} {n}");
        let blob = repo.blob(text.as_bytes()).unwrap();
        let mut below = repo.treebuilder(None).unwrap();
        below.insert("deep.txt", blob, 0o100_644).unwrap();
        let mut top = repo.treebuilder(None).unwrap();
        top.insert("below", below.write().unwrap(), 0o040_000)
            .unwrap();
        top.insert("version.txt", blob, 0o100_644).unwrap();
        let tree = repo.find_tree(top.write().unwrap()).unwrap();
        let who = Signature::now("a", "a@example.org").unwrap();
        let before = repo.find_commit(parent).unwrap();
        parent = repo
            .commit(None, &who, &who, &text, &tree, &[&before])
            .unwrap();
    }
    parent
}

#[tokio::test]
async fn a_power_cut_emptied_the_trees_of_a_pinned_commit() {
    let Some(mut disk) = Disk::new(64) else {
        return;
    };
    let w = GitWorld::new();
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(w.fixture.path()).arg(disk.path());
    assert!(cp.status().unwrap().success());
    disk.sync();
    let site = Site::at(&disk.path());
    let mut parent = w
        .fixture
        .commit(rollback_testkit::world::Build::V3)
        .parse()
        .unwrap();
    let mut live = End::Nothing;
    for n in 1..6 {
        let repo = Repository::open(disk.path().join("repo")).unwrap();
        let id = commit(&repo, &format!("round {n}"), parent);
        drop(repo);
        let release = site.git().resolve(&cx(), &id.to_string()).await.unwrap();
        let planned = End::Planned(release);
        let op = site.prepared_to(n, live, planned.clone()).await;
        site.git().switch(&cx(), &op).await.unwrap();
        site.git().retire(&cx(), &op).await.unwrap();
        disk.cut();

        let version = format!("round {n} 1");
        let handle = op.to.instance().unwrap().handle.as_str();
        fs::remove_dir_all(site.root().join("releases").join(handle)).unwrap();
        let near = site.git().availability(&cx(), &planned).await.unwrap();
        assert_eq!(near, Availability::Local, "round {n}");
        let op = site.prepared_to(10 + n, End::Nothing, planned).await;
        site.git().switch(&cx(), &op).await.unwrap();
        assert_eq!(site.serves().as_deref(), Some(version.as_str()));
        disk.sync();
        (live, parent) = (op.to, id);
    }
}
