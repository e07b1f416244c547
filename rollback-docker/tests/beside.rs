//! A successor beside what is live: what it may not share, where it answers, and that somebody is found
//! by name throughout.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rollback_core::backend::{Address, Backend, End, Rollout, WayBack};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_docker::{
    DockerBackend, DockerConfig, Drain, Healthcheck, MacAddress, NetworkAttachment, Successor,
};
use support::apart::{Apart, hearing};
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
    /// What answers here: one that was started just now may not listen yet.
    fn answer(&self, at: &str) -> String {
        for _ in 0..100 {
            if let Some(answer) = self.fixture.http(at, "GET", "/") {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nobody answers at {at}")
    }

    /// What answers at the address of each that has this name.
    fn found(&self, name: &str) -> Vec<String> {
        let at = self
            .fixture
            .resolver_of("probe")
            .addresses_of(name)
            .into_iter();
        let body = |ip| {
            let answer = self.answer(&format!("{ip}:8080"));
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
            body.unwrap_or_default().to_owned()
        };
        at.map(body).collect()
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
    let config = || listening(apart.config().join(&joined())).successor(Successor::Beside);
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
    let answer = apart.answer(&at);
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
            let resolver = apart.fixture.resolver_of("probe");
            while !ended.load(Ordering::SeqCst) {
                asked.push(resolver.addresses_of("service"));
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
        (
            base().join(&joined()).hostname("web-1"),
            "by the hostname web-1",
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
        let backend = DockerBackend::new(config.successor(Successor::Beside)).unwrap();
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
    // The same volume, by way of a third one that has it; and the live one has it by its name.
    let _ = apart.fixture.docker(&["rm", "-f", "api"]);
    let keeper = ["create", "--name", "keeper", "-v", "data:/data", "api:v1"];
    apart.fixture.must(&keeper);
    let run = [
        "run",
        "-d",
        "--name",
        "api",
        "--network",
        "web",
        "--volumes-from",
        "keeper",
    ];
    let reached = [
        "--network-alias",
        "service",
        "-e",
        "ADDRESS=0.0.0.0",
        "api:v1",
    ];
    apart.fixture.must(&[&run[..], &reached].concat());
    for config in [
        base().join(&joined()),
        base()
            .join(&joined())
            .bind("data", "/x")
            .without("host:VolumesFrom"),
    ] {
        let backend = DockerBackend::new(config.successor(Successor::Beside)).unwrap();
        let op = apart.plan(&backend, "api:v2").await;
        let e = backend.prepare(&cx(), &op).await.unwrap_err().to_string();
        assert!(e.contains("data, which one of them writes to"), "{e}");
        backend.retire(&cx(), &op.reversed()).await.unwrap();
    }
    apart.fixture.must(&["rm", "-f", "keeper"]);
    // What may be shared is said by name.
    let _ = apart.fixture.docker(&["rm", "-f", "api"]);
    let shares = base()
        .join(&joined())
        .bind("data", "/data")
        .share_volume("data");
    let backend = DockerBackend::new(shares.successor(Successor::Beside)).unwrap();
    apart.deploy(&backend, "api:v1").await;
    apart.deploy(&backend, "api:v2").await;
    assert_eq!(apart.found("api"), ["v2"]);
}

#[tokio::test]
async fn a_network_that_is_asked_for_by_its_id_is_the_one_that_is_meant() {
    let Some(apart) = apart() else { return };
    let id = |network: &str| {
        let shown = ["network", "inspect", "-f", "{{.Id}}", network];
        apart.fixture.must(&shown).trim().to_owned()
    };
    let web = id("web");
    let run = ["--network", &web, "--network-alias", "service"];
    apart.by_hand(&[&run[..], &["-e", "ADDRESS=0.0.0.0"]].concat());
    let short = NetworkAttachment::to(&web[..12]).alias("service");
    for asked in [NetworkAttachment::to(&web).alias("service"), short] {
        let config = listening(apart.config().join(&asked));
        let backend = DockerBackend::new(config.successor(Successor::Beside)).unwrap();
        let forth = apart.deploy(&backend, "api:v2").await;
        assert_eq!(apart.found("service"), ["v2"]);
        let mut back = operation("api", forth.to, forth.from);
        back.to = End::Placed(backend.prepare(&cx(), &back).await.unwrap().to);
        backend.start(&cx(), &back).await.unwrap();
        backend.switch(&cx(), &back).await.unwrap();
        backend.retire(&cx(), &back).await.unwrap();
        for name in ["service", "api"] {
            assert_eq!(apart.found(name), ["v1"], "{name}");
        }
    }
    for (network, why) in [
        (id("bridge"), "in the network bridge"),
        ("nowhere".to_owned(), "there is no network nowhere"),
    ] {
        let config = apart.config().network(network).successor(Successor::Beside);
        let backend = DockerBackend::new(config).unwrap();
        let op = apart.plan(&backend, "api:v2").await;
        let e = backend.prepare(&cx(), &op).await.unwrap_err();
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
        assert!(e.to_string().contains(why), "{e}");
    }
}

#[tokio::test]
async fn traffic_was_moved_to_what_had_just_been_started_and_was_not_well() {
    let Some(apart) = apart() else { return };
    let expose = "EXPOSE 8080";
    apart.fixture.build("api:sick", &["ENV MODE=sick", expose]);
    apart.fixture.build("api:exit", &["ENV MODE=exit", expose]);
    let late = ["ENV MODE=late SECONDS=1", "ENV VERSION=late", expose];
    apart.fixture.build("api:late", &late);
    let short = Duration::from_millis(300);
    let check = Healthcheck::new(["/server", "check"]);
    let check = check.interval(short).start_period(Duration::from_secs(20));
    let config = listening(apart.config().join(&joined()));
    let strict = check.clone().start_period(short);
    let strict = config.clone().healthcheck(&strict);
    // Within its start period what fails is not counted.
    let config = config.healthcheck(&check);
    for (config, build, why) in [
        (&strict, "api:sick", "its health check fails"),
        (&config, "api:exit", "it exited with code 3"),
    ] {
        let config = config.clone().successor(Successor::Beside);
        let backend = DockerBackend::new(config).unwrap();
        if apart.names().is_empty() {
            apart.deploy(&backend, "api:v1").await;
        }
        let mut op = apart.plan(&backend, build).await;
        op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
        // As after a restart of the host: the switch finds it down.
        let e = backend.switch(&cx(), &op).await.unwrap_err();
        assert!(e.to_string().contains(why), "{why}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
        for name in ["service", "api"] {
            assert_eq!(apart.found(name), ["v1"], "{name}");
        }
        backend.retire(&cx(), &op.reversed()).await.unwrap();
        assert_eq!(apart.names(), ["api"]);
    }
    let config = config.successor(Successor::Beside);
    let backend = DockerBackend::new(config).unwrap();
    let mut op = apart.plan(&backend, "api:late").await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    backend.switch(&cx(), &op).await.unwrap();
    let health = apart.show("{{json .State.Health.Status}}");
    assert_eq!(health, "healthy", "it is waited for");
}

#[tokio::test]
async fn a_switch_failed_since_the_former_could_not_be_in_a_network_without_its_names() {
    let Some(apart) = apart() else { return };
    let at = ["--ip", "10.77.0.99", "--network-alias", "service"];
    let run = ["--network", "web", "-e", "ADDRESS=0.0.0.0"];
    apart.by_hand(&[&run[..], &at].concat());
    let config = listening(apart.config().join(&joined()));
    let backend = DockerBackend::new(config.successor(Successor::Beside)).unwrap();
    let mut op = apart.plan(&backend, "api:v2").await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    backend.start(&cx(), &op).await.unwrap();
    // The address that it had is one that it cannot have again.
    let instance = serde_json::to_string(op.from.instance().unwrap()).unwrap();
    assert!(instance.contains("10.77.0.99"), "{instance}");
    let instance = instance.replace("10.77.0.99", "10.78.0.99");
    op.from = End::Placed(serde_json::from_str(&instance).unwrap());
    let (hears, said) = hearing();
    backend.switch(&hears, &op).await.unwrap();
    let said = said();
    assert!(
        said.contains("is no longer live") && said.contains("10.78.0.99"),
        "{said}"
    );
    for name in ["service", "api"] {
        assert_eq!(apart.found(name), ["v2"], "{name}");
    }
    backend.switch(&cx(), &op).await.unwrap();
    backend.retire(&cx(), &op).await.unwrap();
    let format = ["ps", "--format", "{{.Names}}"];
    let up = apart.fixture.must(&format);
    assert_eq!(
        up.lines().filter(|name| name.starts_with("api")).count(),
        1,
        "{up}"
    );
}

#[tokio::test]
async fn connections_were_cut_with_the_aliases_before_they_were_drained_and_nobody_said_so() {
    let Some(apart) = apart() else { return };
    let drain = || Drain::signal("USR1".parse().unwrap(), Duration::from_millis(1));
    for (attachment, cut) in [(joined(), true), (NetworkAttachment::to("web"), false)] {
        let config = listening(apart.config().join(&attachment)).drain(drain());
        let backend = DockerBackend::new(config.successor(Successor::Beside)).unwrap();
        let _ = apart.fixture.docker(&["rm", "-f", "api"]);
        apart.deploy(&backend, "api:v1").await;
        let mut op = apart.plan(&backend, "api:v2").await;
        let seen = backend.preflight(&cx(), &op.from, &op.to).await.unwrap();
        let told = seen.remarks.join("; ");
        op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
        let (hears, said) = hearing();
        backend.switch(&hears, &op).await.unwrap();
        for told in [told, said()] {
            assert_eq!(told.contains("is not drained before"), cut, "{told}");
        }
        backend.retire(&cx(), &op).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_was_started_beside_had_no_names_after_a_switch_that_replaces() {
    let Some(apart) = apart() else { return };
    let config = || listening(apart.config().join(&joined()));
    let beside = DockerBackend::new(config().successor(Successor::Beside)).unwrap();
    let replaces = DockerBackend::new(config()).unwrap();
    apart.deploy(&beside, "api:v1").await;
    let mut op = apart.plan(&beside, "api:v2").await;
    op.to = End::Placed(beside.prepare(&cx(), &op).await.unwrap().to);
    beside.start(&cx(), &op).await.unwrap();
    // It was configured otherwise, and recovers.
    replaces.switch(&cx(), &op).await.unwrap();
    replaces.retire(&cx(), &op).await.unwrap();
    for name in ["service", "api"] {
        assert_eq!(apart.found(name), ["v2"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_to_replace_ran_beside_what_it_shares_data_with() {
    let Some(apart) = apart() else { return };
    let config = || listening(apart.config().join(&joined()).bind("data", "/data"));
    let replaces = DockerBackend::new(config()).unwrap();
    let beside = DockerBackend::new(config().successor(Successor::Beside)).unwrap();
    apart.deploy(&replaces, "api:v1").await;
    let mut op = apart.plan(&replaces, "api:v2").await;
    op.to = End::Placed(replaces.prepare(&cx(), &op).await.unwrap().to);
    beside.switch(&cx(), &op).await.unwrap();
    let up = apart.fixture.must(&["ps", "--format", "{{.Names}}"]);
    let up: Vec<&str> = up.lines().filter(|name| *name != "probe").collect();
    assert_eq!(up, ["api"], "one writes there");
    beside.retire(&cx(), &op).await.unwrap();
    assert_eq!(apart.found("service"), ["v2"]);
}
