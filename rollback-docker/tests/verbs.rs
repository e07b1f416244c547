//! What Docker does to those who swap containers, each as a test on a real dockerd.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use rollback_core::backend::{Availability, Backend, End, Live, Running, WayBack};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::guard::Remediation;
use rollback_core::release::{Facet, Restore};
use rollback_docker::{DockerBackend, PullPolicy, RestartContainer, RestartPolicy};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, TOKEN, cx, fixture};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

#[tokio::test]
async fn a_moved_tag_does_not_change_what_a_rollback_runs() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let latest = format!("{}/{}:latest", w.fixture.registry(), w.name);
    let old = ["ENV VERSION=old", "LABEL moved=no"];
    w.fixture.publish(&latest, &old);
    let op = w.plan(&backend, End::Nothing, &latest).await;
    let first = w.run(&backend, op).await.to.instance().unwrap().clone();
    let new = ["ENV VERSION=new", "LABEL moved=yes"];
    w.fixture.publish(&latest, &new);
    let op = w.plan(&backend, End::Placed(first.clone()), &latest).await;
    let second = w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("new"));
    // Nothing of it is left here: it has to be pulled, and the tag now means something else.
    w.fixture.must(&["rm", first.handle.as_str()]);
    w.fixture.must(&["image", "prune", "-af"]);
    let plan = End::Planned(first.release.clone());
    let near = backend.availability(&cx(), &plan).await.unwrap();
    assert_eq!(near, Availability::Remote);
    w.run(&backend, w.operation(second.to, plan)).await;
    assert_eq!(w.serving().await.as_deref(), Some("old"));
}

#[tokio::test]
async fn a_kept_container_does_not_come_back_when_dockerd_restarts() {
    let Some(w) = world() else { return };
    let backend = DockerBackend::new(w.config().restart(RestartPolicy::Always)).unwrap();
    let first = w.deploy_with(&backend, Build::V1).await;
    let second = w.deploy_with(&backend, Build::V2).await;
    w.fixture.stop_dockerd();
    w.fixture.start_dockerd().unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    assert_eq!(w.running().await, 1);
    // The policy is part of the release: it comes back with it, and is no drift meanwhile.
    let policy = "{{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(w.inspect(first.handle.as_str(), policy), "no");
    let back = w.operation(End::Placed(second.clone()), End::Placed(first.clone()));
    w.run(&backend, back).await;
    assert_eq!(w.inspect(first.handle.as_str(), policy), "always");
    assert_eq!(w.inspect(second.handle.as_str(), policy), "no");
    assert_eq!(w.live().await, Some(first));
}

#[tokio::test]
async fn prune_takes_no_rollback_target() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let first = w.deploy(Build::V1).await;
    let second = w.deploy(Build::V2).await;
    let end = End::Placed(first.clone());
    let availability = async || backend.availability(&cx(), &end).await.unwrap();
    // Without its container the image hangs by the pin alone: it was pulled by digest.
    w.fixture.must(&["container", "prune", "-f"]);
    w.fixture.must(&["image", "prune", "-f"]);
    assert_eq!(availability().await, Availability::Local);
    w.fixture.stop_registry();
    let back = w.operation(End::Placed(second), End::Placed(first));
    let back = w.run(&backend, back).await;
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    assert_eq!(w.token().await, TOKEN);
    // The harshest one takes even the pins; a container that is kept still holds its image.
    w.fixture.must(&["image", "prune", "-af"]);
    let near = backend.availability(&cx(), &back.from).await.unwrap();
    assert_eq!(near, Availability::Standby);
    let kept = [back.from.instance().unwrap().clone()];
    backend.retain(&cx(), &kept).await.unwrap();
    let pins = w.fixture.must(&["images", "-q", "rollback.local/*"]);
    assert_eq!(pins.lines().count(), 2, "pinned again: {pins}");
    w.run(&backend, w.operation(back.to, back.from)).await;
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
}

#[tokio::test]
async fn the_old_images_defaults_do_not_leak_into_the_new_container() {
    let Some(w) = world() else { return };
    w.install_by_hand(Build::V1).await;
    let backend = w.docker();
    let adopted = w.live().await.unwrap();
    let Some(Facet::Table(env)) = adopted.release.facets().get("env") else {
        panic!("{adopted:?}")
    };
    let names: Vec<&String> = env.keys().collect();
    assert_eq!(names, ["PORT"], "VERSION and MODE are the image's");
    // What a rollback makes: another image with the configuration that is live today.
    let other = backend.resolve(&cx(), &w.reference(Build::V2)).await;
    let mixed = other
        .unwrap()
        .restored(&adopted.release, &Restore::Artifact);
    let op = w.operation(End::Placed(adopted), End::Planned(mixed));
    let to = w.run(&backend, op).await.to.instance().unwrap().clone();
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    let restart = w.inspect(to.handle.as_str(), "{{.HostConfig.RestartPolicy.Name}}");
    assert_eq!(restart, "unless-stopped", "kept from the one made by hand");
}

#[tokio::test]
async fn what_was_made_by_hand_is_never_removed() {
    let Some(w) = world() else { return };
    w.install_by_hand(Build::V1).await;
    let adopted = w.live().await.unwrap();
    w.deploy(Build::V2).await;
    w.deploy(Build::V3).await;
    w.docker().retain(&cx(), &[]).await.unwrap();
    let ids: Vec<String> = w.containers().into_iter().map(|(id, _)| id).collect();
    assert!(ids.iter().any(|id| id == adopted.handle.as_str()));
    assert_eq!(ids.len(), 2, "it, and the live one");
    assert_eq!(w.serving().await.as_deref(), Some("v3"));
}

#[tokio::test]
async fn a_container_that_removes_itself_has_no_way_back() {
    let Some(w) = world() else { return };
    let port = format!("PORT={}", w.port);
    let reference = w.reference(Build::V1);
    let mut args = vec!["run", "-d", "--rm", "--network", "host", "-e", &port];
    args.extend(["--name", &w.name, &reference]);
    w.fixture.must(&args);
    let backend = w.docker();
    let from = End::Placed(w.live().await.unwrap());
    let mut op = w.plan(&backend, from, &w.reference(Build::V2)).await;
    let prepared = backend.prepare(&cx(), &op).await.unwrap();
    assert!(
        matches!(&prepared.way_back, WayBack::None(why) if why.contains("--rm")),
        "{prepared:?}"
    );
    op.to = End::Placed(prepared.to);
    backend.switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    let e = backend.switch(&cx(), &op.reversed()).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Gone, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
}

#[tokio::test]
async fn what_dockerd_starts_again_in_the_middle_of_a_switch_runs_alone_until_the_switch_goes_on() {
    let Some(w) = world() else { return };
    let backend = DockerBackend::new(w.config().restart(RestartPolicy::Always)).unwrap();
    let first = w.deploy_with(&backend, Build::V1).await;
    let from = End::Placed(first.clone());
    let mut op = w.plan(&backend, from, &w.reference(Build::V2)).await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    // The machine goes down when the former one has stopped and its policy is not off yet.
    w.fixture.must(&["stop", &w.name]);
    w.fixture.stop_dockerd();
    w.fixture.start_dockerd().unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    assert_eq!(w.running().await, 1);
    assert_eq!(w.live().await.map(|i| i.handle), Some(first.handle));
    backend.switch(&cx(), &op).await.unwrap();
    for _ in 0..2 {
        assert_eq!(w.serving().await.as_deref(), Some("v2"));
        assert_eq!(w.running().await, 1);
        w.fixture.stop_dockerd();
        w.fixture.start_dockerd().unwrap();
    }
}

#[tokio::test]
async fn a_stranger_with_the_live_name_is_not_touched() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let mut op = w
        .plan(&backend, End::Nothing, &w.reference(Build::V2))
        .await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    w.install_by_hand(Build::V1).await;
    for e in [
        backend.prepare(&cx(), &op).await.map(drop).unwrap_err(),
        backend.switch(&cx(), &op).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    }
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}

#[tokio::test]
async fn two_that_run_are_said_and_the_next_switch_leaves_one() {
    let Some(w) = world() else { return };
    let first = w.deploy(Build::V1).await;
    w.deploy(Build::V2).await;
    // Without a port of its own the standby would end at once.
    w.fixture.must(&["stop", &w.name]);
    w.fixture.must(&["start", first.handle.as_str()]);
    let live = w.docker().observe(&cx()).await.unwrap().live;
    assert!(matches!(&live, Live::One(s) if s.instance.handle == first.handle));
    let other = ["run", "-d", "--network", "host", "-e", "PORT=0", "--label"];
    let label = |key: &str| {
        let format = format!("{{{{index .Config.Labels \"rollback.{key}\"}}}}");
        format!("rollback.{key}={}", w.inspect(&w.name, &format))
    };
    let labels: Vec<String> = ["workload", "deployment", "release", "image", "park", "spec"]
        .iter()
        .map(|k| label(k))
        .collect();
    let image = w.inspect(&w.name, "{{.Image}}");
    let mut args = other[..6].to_vec();
    for label in &labels {
        args.extend(["--label", label]);
    }
    let twin = format!("{}-twin", w.name);
    args.extend(["--name", &twin, &image]);
    w.fixture.must(&args);
    let live = w.docker().observe(&cx()).await.unwrap().live;
    assert!(
        matches!(&live, Live::Mixed(all, _) if all.len() == 2),
        "{live:?}"
    );
    let backend = w.docker();
    let from = End::Placed(first);
    let op = w.plan(&backend, from, &w.reference(Build::V3)).await;
    w.run(&backend, op).await;
    assert_eq!(w.running().await, 1);
    assert_eq!(w.serving().await.as_deref(), Some("v3"));
}

#[tokio::test]
async fn one_that_somebody_stopped_is_live_and_does_not_run() {
    let Some(w) = world() else { return };
    let op = w.deploy(Build::V1).await;
    w.fixture.must(&["stop", &w.name]);
    let Live::One(sighting) = w.docker().observe(&cx()).await.unwrap().live else {
        panic!("one has the live name")
    };
    assert_eq!(sighting.instance.handle, op.handle);
    assert!(matches!(sighting.running, Running::No(why) if why.contains("exited")));
    w.deploy(Build::V2).await;
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
}

#[tokio::test]
async fn older_values_come_from_a_kept_container_or_are_named_as_lost() {
    let Some(w) = world() else { return };
    let first = w.deploy(Build::V1).await;
    let text = serde_json::to_string(&first).unwrap();
    assert!(!text.contains(TOKEN), "{text}");
    let today = DockerBackend::new(w.config().env("TOKEN", "another-token")).unwrap();
    let second = w.deploy_with(&today, Build::V2).await;
    assert_eq!(w.token().await, "another-token");
    // Another image with the older values: they are still in the container that is kept.
    let other = today.resolve(&cx(), &w.reference(Build::V3)).await.unwrap();
    let mixed = other.restored(&first.release, &Restore::Artifact);
    let op = w.operation(End::Placed(second), End::Planned(mixed.clone()));
    let third = w.run(&today, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("v3"));
    assert_eq!(w.token().await, TOKEN);
    // Once nobody has them, they are named.
    let fourth = w.deploy_with(&today, Build::V2).await;
    let third = third.to.instance().unwrap().clone();
    for gone in [&first, &third] {
        w.fixture.must(&["rm", "-f", gone.handle.as_str()]);
    }
    let op = w.operation(End::Placed(fourth), End::Planned(mixed));
    let seen = today.availability(&cx(), &op.to).await.unwrap();
    assert!(matches!(&seen, Availability::Gone(why) if why.contains("TOKEN")));
    let e = today.prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Gone, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    let text = format!("{e} {e:?}");
    assert!(text.contains("TOKEN"), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains("another-token"));
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_remediation_restarts_the_live_container_and_no_other() {
    let Some(w) = world() else { return };
    let backend = Arc::new(w.docker());
    let op = w
        .plan(&backend, End::Nothing, &w.reference(Build::V1))
        .await;
    let old = w.run(&backend, op).await;
    let op = w
        .plan(&backend, old.to.clone(), &w.reference(Build::V2))
        .await;
    let op = w.run(&backend, op).await;
    let started = || {
        let handle = op.to.instance().unwrap().handle.clone();
        w.fixture
            .must(&["inspect", "-f", "{{.State.StartedAt}}", handle.as_str()])
    };
    let before = started();
    let restart = RestartContainer::new(Arc::clone(&backend));
    let did = restart.attempt(&cx(), &op, "500").await.unwrap();
    assert!(did.starts_with("restarted container "), "{did}");
    assert_ne!(started(), before, "it runs anew");
    assert_eq!(w.live().await.as_ref(), op.to.instance());
    // One that has stopped is started.
    w.fixture
        .must(&["stop", op.to.instance().unwrap().handle.as_str()]);
    restart.attempt(&cx(), &op, "500").await.unwrap();
    assert!(w.serving().await.is_some());
    let before = started();
    let e = restart.attempt(&cx(), &old, "500").await.unwrap_err();
    assert!(
        e.to_string()
            .contains("the container of this deployment is not the live one"),
        "{e}"
    );
    assert_eq!(started(), before);
}

#[tokio::test]
async fn an_image_from_no_registry_is_known_by_its_id() {
    let Some(w) = world() else { return };
    let backend = DockerBackend::new(w.config().pull(PullPolicy::Never)).unwrap();
    let local = format!("{}/{}:local", w.fixture.registry(), w.name);
    w.fixture.build(&local, &["ENV VERSION=local"]);
    let release = backend.resolve(&cx(), &local).await.unwrap();
    let id = w
        .fixture
        .must(&["image", "inspect", "-f", "{{.Id}}", &local]);
    assert_eq!(release.artifact().digest, id.trim());
    let op = w.operation(End::Nothing, End::Planned(release));
    let op = w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("local"));
    assert_eq!(w.live().await.as_ref(), op.to.instance(), "no drift");
    let by_id = backend.resolve(&cx(), id.trim()).await.unwrap();
    assert_eq!(by_id.digest(), op.to.release().unwrap().digest());
}

#[tokio::test]
async fn an_absent_dockerd_is_unreachable_and_says_what_to_do() {
    let dir = std::env::temp_dir().join("there-is-no-such-directory");
    let config = rollback_docker::DockerConfig::new("api@web-1".parse().unwrap(), "api", &dir)
        .socket(dir.join("docker.sock"));
    let backend = DockerBackend::new(config).unwrap();
    let e = backend.observe(&cx()).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unreachable);
    assert_eq!(e.impact(), LiveImpact::Untouched);
    assert!(e.is_transient());
    assert!(e.to_string().contains("check that dockerd runs"), "{e}");
    assert!(!dir.exists(), "nothing was made");
}

#[test]
fn configurations_that_docker_would_refuse_are_refused_at_once() {
    let config = |name: &str| {
        rollback_docker::DockerConfig::new("api@web-1".parse().unwrap(), name, "/state")
    };
    assert!(DockerBackend::new(config("api")).is_ok());
    for bad in [
        config(""),
        config("a"),
        config("../x"),
        config("api").env("A=B", "x"),
        config("api").env("", "x"),
        config("api").env("A", "x\0y"),
        config("api").label("rollback.release", "mine"),
        config("api").bind("/srv", "relative"),
        config("api").bind("", "/data"),
        config("api").socket("docker.sock"),
        rollback_docker::DockerConfig::new("api@web-1".parse().unwrap(), "api", "relative"),
    ] {
        let shown = format!("{bad:?}");
        let e = DockerBackend::new(bad).map(drop).expect_err(&shown);
        assert_eq!(e.impact(), LiveImpact::Untouched);
    }
}
