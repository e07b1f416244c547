//! Images: what is held is found, and what is let go frees the disk.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rollback_core::backend::{Availability, Backend, End, Instance};
use rollback_core::context::{ProgressSink, TransferProgress};
use rollback_core::error::{BackendError, BackendErrorKind, LiveImpact};
use rollback_docker::{DockerBackend, Platform, PullPolicy};
use rollback_testkit::world::{Build, World};
use support::cutting::large;
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

#[tokio::test]
async fn docker_ps_showed_an_image_id_where_the_image_has_a_name() {
    let Some(w) = world() else { return };
    let shown = || {
        let by_name = format!("name=^{}$", w.name);
        let args = ["ps", "--no-trunc", "--filter", &by_name];
        let shown = w
            .fixture
            .must(&[&args[..], &["--format", "{{.Image}}"]].concat());
        shown.trim().to_owned()
    };
    let first = w.deploy(Build::V1).await;
    assert_eq!(shown(), w.digest(Build::V1));
    // One from no registry has no other name, and one that docker has forgotten has none any more.
    let local = format!("{}:local", w.name);
    w.fixture.build(&local, &["ENV VERSION=local"]);
    let id = |name: &str| {
        let args = ["image", "inspect", "-f", "{{.Id}}", name];
        w.fixture.must(&args).trim().to_owned()
    };
    let by_id = DockerBackend::new(w.config().pull(PullPolicy::Never)).unwrap();
    let op = w.plan(&by_id, End::Placed(first.clone()), &local).await;
    let second = w.run(&by_id, op).await.to;
    assert_eq!(shown(), id(&local));
    let (tag, first_id) = (w.reference(Build::V1), id(w.digest(Build::V1)));
    w.fixture.must(&["pull", "-q", &tag]);
    w.fixture.must(&["rmi", &tag]);
    w.fixture.must(&["rm", first.handle.as_str()]);
    let back = w.operation(second, End::Planned(first.release));
    w.run(&by_id, back).await;
    assert_eq!(shown(), first_id);
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_said_what_it_did_and_not_how_much_of_it_is_done() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let reference = large(&w, "large", &[24, 40]);
    let op = w.plan(&backend, End::Nothing, &reference).await;
    let (sink, mut said) = ProgressSink::channel();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while said.changed().await.is_ok() {
            let said = said.borrow_and_update().clone();
            heard.extend(said.transfer.map(|transfer| (transfer, said.line)));
        }
        heard
    });
    let op = backend.prepare(&cx().with_progress(sink), &op).await;
    op.unwrap();
    let heard = heard.await.unwrap();
    let (last, line) = heard.last().unwrap();
    assert!(last.total > 64 << 20, "{line}");
    assert_eq!(last.done, last.total, "{line}");
    assert!(line.contains(&w.name) && line.contains(" MB"), "{line}");
    let of_all = |t: &TransferProgress| t.done > 0 && t.done < t.total;
    assert!(heard.iter().any(|(t, _)| of_all(t)), "{heard:?}");
}

/// An image for another machine, here and at the registry.
fn foreign(w: &DockerWorld) -> String {
    let (dir, reference) = (
        w.fixture.dir().join("foreign"),
        format!("{}/{}:foreign", w.fixture.registry(), w.name),
    );
    w.fixture.build(&reference, &["ENV VERSION=foreign"]);
    std::fs::create_dir(&dir).unwrap();
    let tar = dir.join("image.tar");
    let path = tar.to_str().unwrap();
    w.fixture.must(&["save", "-o", path, &reference]);
    let run = |what: &str, rest: &[&str]| {
        let mut run = Command::new("tar");
        let run = run.args([what, path, "-C"]).arg(&dir).args(rest);
        assert!(run.status().unwrap().success());
    };
    run("-xf", &[]);
    // What it is for stands in its configuration alone; what is in it nobody looks at.
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    for entry in std::fs::read_dir(&dir).unwrap().flatten() {
        let own = read(&entry.path());
        if own.contains("\"architecture\":\"amd64\"") {
            let other = own.replace("\"amd64\"", "\"arm64\"");
            std::fs::write(entry.path(), other).unwrap();
        }
    }
    std::fs::remove_file(&tar).unwrap();
    run("-cf", &["--exclude=image.tar", "."]);
    w.fixture.must(&["rmi", &reference]);
    w.fixture.must(&["load", "-i", path]);
    w.fixture.must(&["push", "-q", &reference]);
    reference
}

#[tokio::test]
async fn an_image_for_another_machine_was_started_in_place_of_what_ran() {
    let Some(w) = world() else { return };
    let live = w.deploy(Build::V1).await;
    let state = || w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let before = state();
    let reference = foreign(&w);
    let said = "the image is for linux/arm64, and linux/amd64 is what this engine runs";
    let refused = |e: &BackendError, said: &str| {
        assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
        assert!(e.to_string().contains(said), "{e}");
    };
    for policy in [PullPolicy::Always, PullPolicy::Never] {
        let backend = DockerBackend::new(w.config().pull(policy)).unwrap();
        refused(&backend.resolve(&cx(), &reference).await.unwrap_err(), said);
    }
    // What an older record names is refused once it is here, and before anything moves.
    let digest = [
        "image",
        "inspect",
        "-f",
        "{{index .RepoDigests 0}}",
        &reference,
    ];
    let digest = w.fixture.must(&digest).trim().to_owned();
    let mut planned = serde_json::to_value(&live.release).unwrap();
    planned["artifact"]["digest"] = digest.into();
    let to = End::Planned(serde_json::from_value(planned).unwrap());
    let op = w.operation(End::Placed(live.clone()), to);
    let e = w.docker().prepare(&cx(), &op).await.unwrap_err();
    refused(&e, said);
    let arm: Platform = "linux/arm64".parse().unwrap();
    let backend = DockerBackend::new(w.config().platform(&arm)).unwrap();
    let e = backend.resolve(&cx(), &w.reference(Build::V2)).await;
    let said = "linux/arm64 is configured, and this engine is linux/amd64";
    refused(&e.unwrap_err(), said);
    assert_eq!(state(), before);
    // Of one that is for both, what this machine runs is taken, and the release says which.
    let both = format!("{}/{}:both", w.fixture.registry(), w.name);
    let create = ["manifest", "create", "--insecure", &both];
    let of = [w.digest(Build::V2), &reference];
    w.fixture.must(&[&create[..], &of].concat());
    w.fixture.must(&["manifest", "push", "--insecure", &both]);
    let amd: Platform = "linux/amd64".parse().unwrap();
    for config in [w.config(), w.config().platform(&amd)] {
        let backend = DockerBackend::new(config).unwrap();
        let placed = {
            let from = w.live().await.map_or(End::Nothing, End::Placed);
            let op = w.plan(&backend, from, &both).await;
            w.run(&backend, op).await.to
        };
        let release = placed.release().unwrap();
        let platform = release.artifact().platform.as_deref();
        assert_eq!(platform, Some("linux/amd64"));
        assert_eq!(w.serving().await.as_deref(), Some("v2"));
        let seen = backend.observe(&cx()).await.unwrap();
        assert_eq!(&seen.live_instance().unwrap().release, release);
    }
}
