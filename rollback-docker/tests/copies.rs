//! Copies of images: a way back that survives `docker system prune -a` and a registry's clean-up.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rollback_core::backend::{Availability, Backend, End, Instance};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_docker::{Capture, DockerBackend, DockerConfig};
use rollback_testkit::world::{Build, World};
use support::guarded::{Guarded, PASSWORD};
use support::{DockerWorld, cx, fixture};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

fn keeping(w: &DockerWorld, capture: Capture) -> DockerBackend {
    DockerBackend::new(w.config().capture(capture)).unwrap()
}

fn images(w: &DockerWorld) -> PathBuf {
    let dir = w.fixture.dir().join("state").join(&w.name).join("images");
    let mut workloads = fs::read_dir(dir).unwrap();
    let one = workloads.next().unwrap().unwrap().path();
    assert!(workloads.next().is_none(), "one workload");
    one
}

fn files(w: &DockerWorld) -> Vec<String> {
    let names = fs::read_dir(images(w)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The digits by which a copy is called.
fn digits(instance: &Instance) -> String {
    let digest = &instance.release.artifact().digest;
    digest.rsplit(':').next().unwrap().to_owned()
}

/// Nothing of this is left but its record: no container, no image here, none where it came from.
fn lose(w: &DockerWorld, instance: &Instance) {
    let image = w.inspect(instance.handle.as_str(), "{{.Image}}");
    w.fixture.must(&["rm", instance.handle.as_str()]);
    w.fixture.must(&["rmi", "-f", &image]);
    let digest = &instance.release.artifact().digest;
    w.fixture.delete_from_registry(digest);
    w.fixture.delete_configuration(digest, &image);
}

/// Rolls back to what was lost.
async fn back(w: &DockerWorld, backend: &DockerBackend, from: &Instance, to: &Instance) {
    // Its container is gone: by the record it is placed anew.
    let op = w.operation(End::Placed(from.clone()), End::Placed(to.clone()));
    w.run(backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some(Build::V1.answer()));
}

#[tokio::test]
async fn a_release_that_was_pruned_here_and_at_its_registry_had_no_way_back() {
    let Some(w) = world() else { return };
    let elsewhere = format!("{}/copies", w.fixture.registry());
    for (capture, nearness) in [
        (Capture::off(), None),
        (Capture::archive(), Some(Availability::Local)),
        (
            Capture::open_registry(elsewhere.clone()),
            Some(Availability::Remote),
        ),
    ] {
        let w = DockerWorld::new(&w.fixture);
        let backend = keeping(&w, capture);
        let first = w.deploy_with(&backend, Build::V1).await;
        let second = w.deploy_with(&backend, Build::V2).await;
        lose(&w, &first);
        let end = End::Placed(first.clone());
        let near = backend.availability(&cx(), &end).await.unwrap();
        match nearness {
            Some(nearness) => {
                assert_eq!(near, nearness);
                back(&w, &backend, &second, &first).await;
            }
            None => assert!(matches!(near, Availability::Gone(_)), "{near:?}"),
        }
        // What a push is done by is no name that anybody has to clean up.
        let tags = w
            .fixture
            .must(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        let named = |tag: &&str| tag.contains("/copies/") && !tag.ends_with(":<none>");
        assert_eq!(tags.lines().find(named), None);
    }
}

#[tokio::test]
async fn an_image_from_no_registry_was_gone_with_its_last_name() {
    let Some(w) = world() else { return };
    let backend = keeping(&w, Capture::archive());
    w.fixture.build("by-hand:v1", &["ENV VERSION=v1"]);
    let image = w
        .fixture
        .must(&["images", "-q", "--no-trunc", "by-hand:v1"]);
    let op = w.plan(&backend, End::Nothing, image.trim()).await;
    let first = w.run(&backend, op).await.to.instance().unwrap().clone();
    let second = w.deploy_with(&backend, Build::V2).await;
    w.fixture.must(&["rm", first.handle.as_str()]);
    w.fixture.must(&["rmi", "-f", image.trim()]);
    let end = End::Placed(first.clone());
    let near = backend.availability(&cx(), &end).await.unwrap();
    assert_eq!(near, Availability::Local);
    back(&w, &backend, &second, &first).await;
}

#[tokio::test]
async fn copies_that_nobody_needs_are_let_go_and_those_of_others_are_never_read() {
    let Some(w) = world() else { return };
    let backend = keeping(&w, Capture::archive());
    let first = w.deploy_with(&backend, Build::V1).await;
    let second = w.deploy_with(&backend, Build::V2).await;
    let third = w.deploy_with(&backend, Build::V3).await;
    assert_eq!(files(&w).len(), 6, "{:?}", files(&w));
    for file in files(&w) {
        let mode = fs::metadata(images(&w).join(&file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let mode = fs::metadata(images(&w)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // A copy that was cut off has no note, or no name.
    fs::write(images(&w).join(".unfinished-x"), "half").unwrap();
    fs::write(images(&w).join("README"), "a person's").unwrap();
    fs::write(images(&w).join(format!("{}.tar", "a".repeat(64))), "half").unwrap();
    backend
        .retain(&cx(), std::slice::from_ref(&second))
        .await
        .unwrap();
    let mut kept = vec!["README".to_owned()];
    for instance in [&second, &third] {
        kept.extend(["json", "tar"].map(|kind| format!("{}.{kind}", digits(instance))));
    }
    kept.sort();
    assert_eq!(files(&w), kept);
    let near = backend.availability(&cx(), &End::Placed(first)).await;
    assert_eq!(near.unwrap(), Availability::Remote, "its registry has it");
    // One that is damaged is no copy, and not the end either: its registry is asked.
    let path = images(&w).join(format!("{}.tar", digits(&second)));
    fs::write(&path, "not what was kept").unwrap();
    let image = w.inspect(second.handle.as_str(), "{{.Image}}");
    w.fixture.must(&["rm", second.handle.as_str()]);
    w.fixture.must(&["rmi", "-f", &image]);
    let op = w.operation(End::Placed(third.clone()), End::Placed(second.clone()));
    w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some(Build::V2.answer()));
    backend.retain(&cx(), &[]).await.unwrap();
    assert_eq!(files(&w).len(), 3);
    // Another workload with the same state directory lets go its own.
    let state = w.fixture.dir().join("state").join(&w.name);
    let other = DockerConfig::new("other@web-1".parse().unwrap(), "other", state);
    let other = other.socket(w.fixture.socket()).capture(Capture::archive());
    let other = DockerBackend::new(other).unwrap();
    other.retain(&cx(), &[]).await.unwrap();
    assert_eq!(files(&w).len(), 3);
}

#[tokio::test]
async fn a_preparation_that_was_cut_off_and_repeated_left_no_copy() {
    let Some(w) = world() else { return };
    let plain = w.docker();
    let op = w.plan(&plain, End::Nothing, &w.reference(Build::V1)).await;
    // All but the copy: so is one that was killed while it was written.
    plain.prepare(&cx(), &op).await.unwrap();
    let backend = keeping(&w, Capture::archive());
    let first = w.run(&backend, op).await.to.instance().unwrap().clone();
    let kept = ["json", "tar"].map(|kind| format!("{}.{kind}", digits(&first)));
    assert_eq!(files(&w), kept);
}

#[tokio::test]
async fn on_a_full_disk_what_is_live_was_replaced_without_a_copy() {
    let Some(w) = world() else { return };
    let first = w.deploy(Build::V1).await;
    let before = w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let state = w.fixture.dir().join("state").join(&w.name).join("images");
    fs::create_dir_all(&state).unwrap();
    let at = state.to_str().unwrap();
    let run = |argv: &[&str]| {
        let status = std::process::Command::new(argv[0])
            .args(&argv[1..])
            .status();
        assert!(status.unwrap().success(), "{argv:?}");
    };
    run(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", at]);
    let backend = keeping(&w, Capture::archive());
    let reference = w.reference(Build::V2);
    let op = w.plan(&backend, End::Placed(first), &reference).await;
    let refused = backend.prepare(&cx(), &op).await;
    let undone = backend.retire(&cx(), &op.reversed()).await;
    let left = w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let files = fs::read_dir(state.read_dir().unwrap().next().unwrap().unwrap().path());
    let files = files.unwrap().count();
    run(&["umount", at]);
    let e = refused.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Exhausted, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    undone.unwrap();
    assert_eq!((left, files), (before, 0));
}

#[tokio::test]
async fn where_no_copy_could_be_kept_what_was_live_was_replaced() {
    let Some(g) = Guarded::new() else { return };
    let w = &g.w;
    let prefix = format!("{}/copies", g.at);
    let capture = Capture::registry(prefix.clone());
    let e = DockerBackend::new(w.config().capture(capture.clone())).unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unauthorized, "{e}");
    for bad in [
        "",
        "copies",
        "just/a-path",
        "host.example:5000",
        "h.example/UPPER",
    ] {
        let config = w.config().capture(Capture::open_registry(bad.to_owned()));
        let e = DockerBackend::new(config).unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::InvalidReference, "{bad}: {e}");
    }
    let first = w.deploy(Build::V1).await;
    let started = || w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let before = started();
    let with = |password: &str| {
        let config = w.config().capture(capture.clone());
        DockerBackend::new(config.credentials(&g.at, "me", password)).unwrap()
    };
    let open = keeping(w, Capture::open_registry(prefix.clone()));
    for refused in [with("wrong-password"), open] {
        let op = w
            .plan(
                &refused,
                End::Placed(first.clone()),
                &w.reference(Build::V2),
            )
            .await;
        let e = refused.prepare(&cx(), &op).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Unauthorized, "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
        assert!(!format!("{e:?}").contains("wrong-password"), "{e:?}");
        refused.retire(&cx(), &op.reversed()).await.unwrap();
    }
    assert_eq!(started(), before);
    let backend = with(PASSWORD);
    let second = w.deploy_with(&backend, Build::V2).await;
    // Of what was live a copy was made as well.
    lose(w, &first);
    back(w, &backend, &second, &first).await;
}
