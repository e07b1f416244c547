//! What a plan is warned of before anything moves.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::net::TcpListener;
use std::time::Duration;

use rollback_core::backend::{Backend, End};
use rollback_core::release::Release;
use rollback_docker::{DockerBackend, Drain, PullPolicy};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::service::unavailable;
use support::apart::Apart;
use support::{cx, registry_that_says};

async fn remarks(backend: &DockerBackend, from: &End, to: &Release) -> Vec<String> {
    let to = End::Planned(to.clone());
    backend.preflight(&cx(), from, &to).await.unwrap().remarks
}

async fn live(backend: &DockerBackend) -> End {
    let seen = backend.observe(&cx()).await.unwrap();
    seen.live_instance()
        .cloned()
        .map_or(End::Nothing, End::Placed)
}

#[tokio::test]
async fn who_has_a_port_and_who_stops_slowly_was_found_out_when_nothing_answered() {
    let Some(apart) = Apart::new() else { return };
    let published = || {
        apart
            .config()
            .publish("127.0.0.1:9090".parse().unwrap(), 80)
    };
    let backend = DockerBackend::new(published()).unwrap();
    apart.deploy(&backend, "api:v1").await;
    let from = live(&backend).await;
    let release = backend.resolve(&cx(), "api:v2").await.unwrap();
    assert_eq!(
        remarks(&backend, &from, &release).await,
        [""; 0],
        "its port is its own"
    );
    let run = [
        "run",
        "-d",
        "--name",
        "other",
        "-p",
        "9091:80",
        "-p",
        "9092:53/udp",
    ];
    apart.fixture.must(&[&run[..], &["api:v1"]].concat());
    let side = ["run", "-d", "--name", "side", "--network", "container:api"];
    apart
        .fixture
        .must(&[&side[..], &["-e", "PORT=81", "api:v1"]].concat());
    let more = published()
        .publish("127.0.0.1:9091".parse().unwrap(), 81)
        .publish("127.0.0.1:9092".parse().unwrap(), 82)
        .drain(Drain::signal(
            "USR1".parse().unwrap(),
            Duration::from_secs(25),
        ));
    let backend = DockerBackend::new(more).unwrap();
    let release = backend.resolve(&cx(), "api:v2").await.unwrap();
    let told = remarks(&backend, &from, &release).await;
    assert_eq!(
        told,
        [
            "port 127.0.0.1:9091 (tcp) is other's",
            "api may take 35 s to stop; nothing answers once it has ended what it is at",
            "side shares the network of api and loses it",
        ]
    );
    // What goes nowhere, and what is live already, meets nobody.
    let to = [End::Nothing, from.clone()];
    for to in to {
        let seen = backend.preflight(&cx(), &from, &to).await.unwrap();
        assert!(seen.remarks.is_empty(), "{seen:?}");
    }
}

#[tokio::test]
async fn another_programs_port_on_the_hosts_own_network_is_told() {
    let started = DockerFixture::start().map_err(|why| unavailable(&why));
    let Ok(fixture) = started else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    fixture.build("api:v1", &[&format!("EXPOSE {port}")]);
    let config = rollback_docker::DockerConfig::new(
        "api@web-1".parse().unwrap(),
        "api",
        fixture.dir().join("state"),
    );
    let config = config.socket(fixture.socket()).pull(PullPolicy::Never);
    let backend = DockerBackend::new(config.network("host")).unwrap();
    let release = backend.resolve(&cx(), "api:v1").await.unwrap();
    let told = remarks(&backend, &End::Nothing, &release).await;
    assert_eq!(
        told,
        [format!(
            "port 0.0.0.0:{port} (tcp) is taken by another program"
        )]
    );
    drop(listener);
    assert_eq!(remarks(&backend, &End::Nothing, &release).await, [""; 0]);
}

#[tokio::test]
async fn a_registry_was_asked_for_what_no_registry_has_or_may_be_asked_for() {
    let Some(apart) = Apart::new() else { return };
    let backend = DockerBackend::new(apart.config()).unwrap();
    let id = format!("sha256:{}", "b".repeat(64));
    let digest = format!("registry.invalid/x@{id}");
    for (digest, why) in [
        (id, "it came from no registry"),
        (digest, "no such image here"),
    ] {
        let artifact = rollback_core::release::Artifact::new(&digest, &digest);
        let release = Release::new("docker".parse().unwrap(), artifact);
        let told = remarks(&backend, &End::Nothing, &release).await;
        assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_had_or_run_is_told_before_anything_moves() {
    let Some(apart) = Apart::new() else { return };
    let config = || apart.config().pull(PullPolicy::Always);
    let at = registry_that_says(
        &apart.fixture,
        "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
    );
    let digest = format!("{at}/x@sha256:{}", "b".repeat(64));
    let artifact = rollback_core::release::Artifact::new(&digest, &digest);
    let release = Release::new("docker".parse().unwrap(), artifact);
    let backend = DockerBackend::new(config()).unwrap();
    let told = remarks(&backend, &End::Nothing, &release).await;
    let none = format!("{at} asks for credentials, and none are configured for it");
    assert_eq!(told, [none]);
    let backend = DockerBackend::new(config().credentials(&at, "me", "secret")).unwrap();
    let told = remarks(&backend, &End::Nothing, &release).await;
    let refused = format!("{at} does not take the credentials that it is asked with");
    assert_eq!(told, [refused]);
    // Here, and for another machine.
    let backend = DockerBackend::new(apart.config()).unwrap();
    let v1 = backend.resolve(&cx(), "api:v1").await.unwrap();
    let asks = apart.config().platform(&"linux/s390x".parse().unwrap());
    let asks = DockerBackend::new(asks).unwrap();
    let release = asks.configured(&cx(), Some(&v1)).await.unwrap().unwrap();
    let told = remarks(&asks, &End::Nothing, &release).await;
    assert!(told[0].contains("linux/s390x"), "{told:?}");
}
