//! Daemons that are reached by TCP with certificates, and through ssh.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::Backend;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_docker::{DockerBackend, DockerConfig, Endpoint, SwarmBackend, SwarmConfig};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::service::unavailable;
use rollback_testkit::world::{Build, World};
use support::pki::Pki;
use support::sshd::Sshd;
use support::{DockerWorld, cx, free_port};

/// With the network of this machine, where a daemon's port can be reached.
fn world() -> Option<DockerWorld> {
    let fixture = DockerFixture::start().map_err(|why| unavailable(&why));
    Some(DockerWorld::new(&Arc::new(fixture.ok()?)))
}

fn by(w: &DockerWorld, endpoint: Endpoint) -> DockerBackend {
    DockerBackend::new(w.config().endpoint(endpoint)).unwrap()
}

async fn refused(w: &DockerWorld, endpoint: Endpoint) -> BackendError {
    by(w, endpoint).observe(&cx()).await.unwrap_err()
}

/// Deploys and goes back, and asks both backends.
async fn does_all(w: &DockerWorld, endpoint: &Endpoint) {
    let backend = by(w, endpoint.clone());
    let first = w.deploy_with(&backend, Build::V1).await;
    let op = w
        .plan(
            &backend,
            rollback_core::backend::End::Placed(first),
            &w.reference(Build::V2),
        )
        .await;
    let op = w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    let live = op.to.instance().unwrap();
    backend.health(&cx(), live).await.unwrap();
    backend.diagnose(&cx(), live).await.unwrap();
    backend.switch(&cx(), &op.reversed()).await.unwrap();
    backend.retire(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    let config = SwarmConfig::new("a@b".parse().unwrap(), "a", w.fixture.dir().join("swarm"));
    let swarm = SwarmBackend::new(config.endpoint(endpoint.clone())).unwrap();
    let e = swarm.observe(&cx()).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Unsupported, "{e}");
    assert!(e.to_string().contains("manager"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_behind_tls_is_deployed_to_and_who_is_not_who_it_should_be_is_told() {
    let Some(w) = world() else { return };
    let pki = Pki::new(&w.fixture.dir().join("pki"));
    let port = free_port();
    let listen = format!("tcp://127.0.0.1:{port}");
    let files = [
        format!("--tlscacert={}", pki.path("ca.pem")),
        format!("--tlscert={}", pki.path("server.pem")),
        format!("--tlskey={}", pki.path("server-key.pem")),
    ];
    let args = [
        "--tlsverify",
        "-H",
        &listen,
        &files[0],
        &files[1],
        &files[2],
    ];
    w.fixture.start_dockerd_with(&args).unwrap();
    let at = |host: &str, ca: &str, cert: &str| {
        Endpoint::tls(host, port, pki.certificates(ca, cert)).unwrap()
    };
    let good = at("localhost", "ca", "client");
    assert_eq!(good.to_string(), format!("tcp://localhost:{port}"));
    does_all(&w, &good).await;
    for (endpoint, says) in [
        (at("localhost", "other-ca", "client"), "not of the CA"),
        (at("127.0.0.1", "ca", "client"), "of another host"),
        (
            at("localhost", "ca", "other-client"),
            "this program's certificate",
        ),
        (at("localhost", "ca", "expired"), "certificate"),
        (at("localhost", "ca", "missing"), "cannot be used"),
    ] {
        let e = refused(&w, endpoint).await;
        assert_eq!(e.kind(), Kind::Unauthorized, "{e}");
        assert!(e.to_string().contains(says), "{says}: {e}");
        assert!(!format!("{e:?}").contains("PRIVATE"), "{e:?}");
    }
    // Nobody is there, or does not speak TLS.
    let nobody = Endpoint::tls("localhost", free_port(), pki.certificates("ca", "client"));
    let e = refused(&w, nobody.unwrap()).await;
    assert_eq!(e.kind(), Kind::Unreachable, "{e}");
    // A daemon whose certificate has expired.
    let files = [
        format!("--tlscert={}", pki.path("stale.pem")),
        format!("--tlskey={}", pki.path("stale-key.pem")),
        format!("--tlscacert={}", pki.path("ca.pem")),
    ];
    let args = [
        "--tlsverify",
        "-H",
        &listen,
        &files[0],
        &files[1],
        &files[2],
    ];
    w.fixture.start_dockerd_with(&args).unwrap();
    let e = refused(&w, good).await;
    assert_eq!(e.kind(), Kind::Unauthorized, "{e}");
    assert!(e.to_string().contains("has expired"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_on_a_port_of_this_machine_is_deployed_to() {
    let Some(w) = world() else { return };
    let port = free_port();
    let listen = format!("tcp://127.0.0.1:{port}");
    w.fixture
        .start_dockerd_with(&["--tls=false", "-H", &listen])
        .unwrap();
    does_all(&w, &Endpoint::tcp("127.0.0.1", port).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_behind_ssh_is_deployed_to_and_a_strange_host_or_key_is_told() {
    let Some(w) = world() else { return };
    let Some(sshd) = Sshd::start(&w.fixture.dir().join("ssh"), &w.fixture.socket()) else {
        return;
    };
    let at = |config: &str| {
        let destination = format!("root@127.0.0.1:{}", sshd.port);
        Endpoint::ssh_configured(&destination, sshd.dir.join(config)).unwrap()
    };
    does_all(&w, &at("config")).await;
    for (config, says) in [
        ("stranger", "Host key verification failed"),
        ("no-key", "Permission denied"),
    ] {
        let e = refused(&w, at(config)).await;
        assert_eq!(e.kind(), Kind::Unauthorized, "{e}");
        assert!(e.to_string().contains(says), "{e}");
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let nobody = Endpoint::ssh_configured(&nobody, sshd.dir.join("config")).unwrap();
    let e = refused(&w, nobody).await;
    assert_eq!(e.kind(), Kind::Unreachable, "{e}");
    assert!(e.to_string().contains("Connection refused"), "{e}");
}

/// Processes of this machine that were started with these words.
fn started_with(words: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.trim_end().ends_with(words))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ssh_had_started_to_get_through_outlived_it() {
    let dir = tempfile::tempdir().unwrap();
    let words = format!("sleep 86400.{}", std::process::id());
    // Two of them: the shell, which waits, and what it waits for.
    let config = format!("Host *\nProxyCommand sh -c '{words}; true'\n");
    std::fs::write(dir.path().join("config"), config).unwrap();
    let endpoint = Endpoint::ssh_configured("h", dir.path().join("config")).unwrap();
    let config = DockerConfig::new("a@b".parse().unwrap(), "api", dir.path());
    let backend = DockerBackend::new(config.endpoint(endpoint)).unwrap();
    let cx = cx();
    let asked = tokio::time::timeout(Duration::from_secs(2), backend.observe(&cx));
    if asked.await.is_ok() {
        return unavailable("ssh is not installed");
    }
    for _ in 0..50 {
        if started_with(&words) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{words} goes on");
}

#[test]
fn two_daemons_behind_one_ssh_host_were_one_place() {
    let place = |name: Option<&str>| {
        let config = DockerConfig::new("a@b".parse().unwrap(), "api", "/var/lib/a");
        let config = config.endpoint(Endpoint::ssh("one@host").unwrap());
        let named = name.into_iter().fold(config, DockerConfig::daemon);
        DockerBackend::new(named).unwrap().place()
    };
    assert_ne!(place(Some("one's")), place(Some("two's")));
    assert_ne!(place(Some("one's")), place(None));
}
