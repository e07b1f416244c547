//! Images: what is held is found, and what is let go frees the disk.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::Arc;

use rollback_core::backend::{Availability, Backend, End, Instance};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, cx, fixture};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

/// Bytes of the files below a directory, mounts aside.
fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| match e.file_type() {
            Ok(t) if t.is_dir() && e.file_name() != "merged" => bytes(&e.path()),
            Ok(t) if t.is_file() => e.metadata().map_or(0, |m| m.len()),
            _ => 0,
        })
        .sum()
}

/// An image with a layer of its own.
fn heavy(w: &DockerWorld, name: &str) -> String {
    let reference = format!("{}/{}:{name}", w.fixture.registry(), w.name);
    let (version, layer) = (
        format!("ENV VERSION={name}"),
        format!("COPY --from=rollback-test/base /server /{name}"),
    );
    w.fixture.publish(&reference, &[&version, &layer]);
    reference
}

async fn deploy(w: &DockerWorld, reference: &str) -> Instance {
    let backend = w.docker();
    let from = w.live().await.map_or(End::Nothing, End::Placed);
    let op = w.plan(&backend, from, reference).await;
    w.run(&backend, op).await.to.instance().unwrap().clone()
}

#[tokio::test]
async fn what_retain_lets_go_still_takes_the_disk() {
    let Some(w) = world() else { return };
    let mut all = Vec::new();
    for name in ["a", "b", "used", "named", "live"] {
        all.push(deploy(&w, &heavy(&w, name)).await);
    }
    let digest = |i: &Instance| i.release.artifact().digest.clone();
    // Two of them are somebody's: one has a name, of one a container was made.
    w.fixture
        .must(&["create", "--name", "somebodys", &digest(&all[2])]);
    w.fixture.must(&["tag", &digest(&all[3]), "mine:keep"]);
    let layers = w.fixture.dir().join("d");
    let before = bytes(&layers);
    w.docker().retain(&cx(), &all[4..]).await.unwrap();
    let is_here = |i: &Instance| w.fixture.docker(&["image", "inspect", &digest(i)]).is_ok();
    let here: Vec<bool> = all.iter().map(is_here).collect();
    assert_eq!(here, [false, false, true, true, true]);
    let freed = before.saturating_sub(bytes(&layers));
    assert!(freed > 2 << 20, "only {freed} bytes of {before} are free");
    let pins = w.fixture.must(&["images", "-q", "rollback.local/*"]);
    assert_eq!(
        pins.lines().count(),
        1,
        "only what is live is pinned: {pins}"
    );
    assert_eq!(w.serving().await.as_deref(), Some("live"));
    w.fixture.must(&["start", "somebodys"]);
}

#[tokio::test]
async fn a_pinned_image_is_gone_once_its_tag_is_removed() {
    let Some(w) = world() else { return };
    let first = w.deploy(Build::V1).await;
    let second = w.deploy(Build::V2).await;
    let tag = w.reference(Build::V1);
    w.fixture.must(&["pull", "-q", &tag]);
    // With the last tag of the repository docker forgets the digest.
    w.fixture.must(&["rmi", &tag]);
    w.fixture.must(&["container", "prune", "-f"]);
    w.fixture.must(&["image", "prune", "-f"]);
    let digest = first.release.artifact().digest.clone();
    w.fixture
        .docker(&["image", "inspect", &digest])
        .unwrap_err();
    w.fixture.stop_registry();
    let backend = w.docker();
    let end = End::Placed(first.clone());
    let near = backend.availability(&cx(), &end).await.unwrap();
    assert_eq!(near, Availability::Local);
    backend
        .retain(&cx(), std::slice::from_ref(&first))
        .await
        .unwrap();
    let back = w.operation(End::Placed(second), End::Placed(first));
    w.run(&backend, back).await;
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}

#[tokio::test]
async fn a_preparation_that_is_undone_leaves_its_volumes_and_its_image() {
    let Some(w) = world() else { return };
    let live = deploy(&w, &w.reference(Build::V1)).await;
    let reference = format!("{}/{}:volume", w.fixture.registry(), w.name);
    let lines = ["ENV VERSION=volume", "VOLUME /data"];
    let digest = w.fixture.publish(&reference, &lines);
    // dockerd promises no order among those of one second.
    let told = |command: &[&str]| {
        let mut lines: Vec<String> = w.fixture.must(command).lines().map(Into::into).collect();
        lines.sort_unstable();
        lines
    };
    let volumes = || told(&["volume", "ls", "-q"]);
    let images = || told(&["images", "-qa", "--no-trunc"]);
    let before = (volumes(), images());
    let backend = w.docker();
    let mut op = w.plan(&backend, End::Placed(live), &reference).await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    assert_ne!(volumes(), before.0, "the image makes one");
    backend.retire(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(volumes(), before.0);
    w.fixture
        .docker(&["image", "inspect", &digest])
        .unwrap_err();
    assert_eq!(images(), before.1);
}
