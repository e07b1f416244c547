//! A successor beside what is live: what it may not share, where it answers, and that somebody is found
//! by name throughout.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use rollback_core::backend::{Address, Backend, End, Rollout, WayBack};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_docker::{DockerBackend, DockerConfig, MacAddress, NetworkAttachment};
use support::apart::Apart;
use support::{cx, operation};

/// Joins a network that has a subnet of its own, by an alias.
fn joined() -> NetworkAttachment {
    NetworkAttachment::to("web").alias("service")
}

fn listening(config: DockerConfig) -> DockerConfig {
    config.env("ADDRESS", "0.0.0.0")
}

fn apart() -> Option<Apart> {
    let apart = Apart::new()?;
    let network = ["network", "create", "--subnet", "10.77.0.0/24", "web"];
    apart.fixture.must(&network);
    for version in ["v1", "v2"] {
        let lines = [format!("ENV VERSION={version}"), "EXPOSE 8080".to_owned()];
        let lines = lines.each_ref().map(String::as_str);
        apart.fixture.build(&format!("api:{version}"), &lines);
    }
    let run = [
        "run",
        "-d",
        "--dns",
        "127.0.0.2",
        "--name",
        "probe",
        "--network",
        "web",
    ];
    let image = ["rollback-test/base"];
    apart.fixture.must(&[&run[..], &image].concat());
    Some(apart)
}

impl Apart {
    /// What answers at the address of each that has this name.
    fn found(&self, name: &str) -> Vec<String> {
        let at = self.fixture.addresses_for("probe", name).into_iter();
        let ask = |ip| self.fixture.http(&format!("{ip}:8080"), "GET", "/");
        let body = |answer: Option<String>| {
            let answer = answer.unwrap_or_default();
            let body = answer
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned());
            body.unwrap_or_default()
        };
        at.map(|ip| body(ask(ip))).collect()
    }

    fn names(&self) -> Vec<String> {
        let all = self.fixture.must(&["ps", "-a", "--format", "{{.Names}}"]);
        let mut all: Vec<_> = all.lines().map(str::to_owned).collect();
        all.retain(|name| name != "probe");
        all.sort_unstable();
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_is_judged_before_anybody_finds_it_and_then_nobody_is_lost() {
    let Some(apart) = apart() else { return };
    let config = || listening(apart.config().join(&joined())).beside();
    let backend = DockerBackend::new(config()).unwrap();
    assert_eq!(backend.rollout(), Rollout::Beside);
    apart.deploy(&backend, "api:v1").await;
    let mut op = apart.plan(&backend, "api:v2").await;
    let prepared = backend.prepare(&cx(), &op).await.unwrap();
    assert_eq!(prepared.rollout, Rollout::Beside);
    assert_eq!(prepared.way_back, WayBack::Exact);
    op.to = End::Placed(prepared.to);
    let started = backend.start(&cx(), &op).await.unwrap();
    let Some(Address {
        host, port: 8080, ..
    }) = started.addresses.of(Some("8080"))
    else {
        panic!("{started:?}")
    };
    let at = format!("{host}:8080");
    let answer = apart.fixture.http(&at, "GET", "/").unwrap();
    assert!(answer.ends_with("v2"), "{answer}");
    for name in ["service", "api"] {
        assert_eq!(apart.found(name), ["v1"], "{name}");
    }
    // Undone it leaves nothing, and is done again.
    backend.retire(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(apart.names(), ["api"]);
    op.to = End::Planned(op.to.release().unwrap().clone());
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    backend.start(&cx(), &op).await.unwrap();
    let ended = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let mut asked = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                asked.push(apart.fixture.addresses_for("probe", "service"));
            }
            asked
        });
        tokio::task::block_in_place(|| {
            let cx = cx();
            let switched = backend.switch(&cx, &op);
            let switched = tokio::runtime::Handle::current().block_on(switched);
            ended.store(true, Ordering::SeqCst);
            switched.unwrap();
        });
        asks.join().unwrap()
    });
    assert!(asked.iter().all(|found| !found.is_empty()), "{asked:?}");
    for name in ["service", "api"] {
        assert_eq!(apart.found(name), ["v2"], "{name}");
    }
    backend.retire(&cx(), &op).await.unwrap();
    // The standby comes back with its names, beside what is live, and where it is replaced.
    for beside in [true, false] {
        let config = match beside {
            true => config(),
            false => listening(apart.config().join(&joined())),
        };
        let backend = DockerBackend::new(config).unwrap();
        let mut back = operation("api", op.to.clone(), op.from.clone());
        back.to = End::Placed(backend.prepare(&cx(), &back).await.unwrap().to);
        assert_eq!(back.to, op.from, "the container that was kept");
        backend.start(&cx(), &back).await.unwrap();
        backend.switch(&cx(), &back).await.unwrap();
        backend.retire(&cx(), &back).await.unwrap();
        for name in ["service", "api"] {
            assert_eq!(apart.found(name), ["v1"], "{name}");
        }
        let mut forth = operation("api", back.to, back.from);
        forth.to = End::Placed(backend.prepare(&cx(), &forth).await.unwrap().to);
        backend.start(&cx(), &forth).await.unwrap();
        backend.switch(&cx(), &forth).await.unwrap();
        backend.retire(&cx(), &forth).await.unwrap();
        assert_eq!(apart.found("service"), ["v2"]);
    }
}

#[tokio::test]
async fn what_two_cannot_have_at_once_is_refused_before_anything_moves() {
    let Some(apart) = apart() else { return };
    let base = || listening(apart.config());
    let mac: MacAddress = "02:42:0a:4d:00:63".parse().unwrap();
    for (config, what) in [
        (
            base()
                .join(&joined())
                .publish("127.0.0.1:9321".parse().unwrap(), 8080),
            "the host's port 9321/tcp",
        ),
        (
            base().join(&joined().ipv4("10.77.0.99".parse().unwrap())),
            "the address 10.77.0.99 in web",
        ),
        (base().join(&joined().mac(mac)), "in web"),
        (
            base().join(&joined()).bind("data", "/data"),
            "data, which one of them writes to",
        ),
        (base().network("host"), "in the network host"),
        (base(), "in the network bridge"),
    ] {
        let _ = apart.fixture.docker(&["rm", "-f", "api"]);
        let replaces = DockerBackend::new(config.clone()).unwrap();
        apart.deploy(&replaces, "api:v1").await;
        let live = || {
            apart
                .fixture
                .must(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "api"])
        };
        let (before, names) = (live(), apart.names());
        let backend = DockerBackend::new(config.beside()).unwrap();
        let op = apart.plan(&backend, "api:v2").await;
        let seen = backend.preflight(&cx(), &op.from, &op.to).await.unwrap();
        let told = seen.remarks.join("; ");
        assert!(told.contains(what), "{what}: {told}");
        let e = backend.prepare(&cx(), &op).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
        assert!(e.to_string().contains(what), "{what}: {e}");
        backend.retire(&cx(), &op.reversed()).await.unwrap();
        assert_eq!((live(), apart.names()), (before, names));
    }
    // What may be shared is said by name.
    let _ = apart.fixture.docker(&["rm", "-f", "api"]);
    let shares = base()
        .join(&joined())
        .bind("data", "/data")
        .share_volume("data");
    let backend = DockerBackend::new(shares.beside()).unwrap();
    apart.deploy(&backend, "api:v1").await;
    apart.deploy(&backend, "api:v2").await;
    assert_eq!(apart.found("api"), ["v2"]);
}
