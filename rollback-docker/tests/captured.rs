//! Containers that were made by hand: brought over wholly, or refused by name; and no secret.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::backend::{Backend, End};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::id::DeploymentId;
use rollback_core::time::{Clock, SystemClock};
use rollback_docker::{DockerBackend, Healthcheck};
use support::apart::Apart;
use support::cx;

#[tokio::test]
async fn networks_and_other_settings_of_a_container_made_by_hand_are_lost_silently() {
    let Some(w) = Apart::new() else { return };
    let net = ["network", "create", "--subnet"];
    w.fixture
        .must(&[&net[..], &["10.99.1.0/24", "front"]].concat());
    w.fixture
        .must(&[&net[..], &["10.99.2.0/24", "back"]].concat());
    w.by_hand(&[
        "--network",
        "front",
        "--ip",
        "10.99.1.10",
        "--network-alias",
        "api.internal",
        "--network-alias",
        "web",
        "--hostname",
        "web-1",
        "--domainname",
        "example",
        "--shm-size",
        "128m",
        "--log-opt",
        "max-size=1m",
        "--sysctl",
        "net.core.somaxconn=200",
        "--ulimit",
        "nofile=1000:2000",
        "--cap-add",
        "NET_ADMIN",
        "--cap-drop",
        "CHOWN",
        "--device",
        "/dev/null:/dev/xnull",
        "--add-host",
        "db:10.99.2.9",
        "--dns",
        "10.99.1.1",
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--pids-limit",
        "100",
        "--tmpfs",
        "/t",
        "--security-opt",
        "no-new-privileges",
        "--oom-score-adj",
        "100",
        "--group-add",
        "7",
        "--label",
        "team=a",
        "--env",
        "PORT=8080",
        "--publish",
        "127.0.0.1:8080:8080",
        "--volume",
        "data:/data",
        "--mount",
        "type=volume,source=more,target=/more,readonly",
        "--tty",
        "--read-only",
        "--stop-signal",
        "SIGTERM",
        "--stop-timeout",
        "1",
        "--restart",
        "always",
        "--expose",
        "9/udp",
        "--init=false",
        "--cpuset-cpus",
        "0",
    ]);
    w.fixture.must(&[
        "network",
        "connect",
        "--alias",
        "b2",
        "--ip",
        "10.99.2.20",
        "back",
        "api",
    ]);
    let before = w.asked();
    let backend = DockerBackend::new(w.config()).unwrap();
    let op = w.deploy(&backend, "api:v2").await;
    let version = w.show("{{json .Config.Env}}").to_string();
    assert!(version.contains("VERSION=v2"), "{version}");
    let after = w.asked();
    for (before, after) in before
        .as_array()
        .unwrap()
        .iter()
        .zip(after.as_array().unwrap())
    {
        let fields = |v: &serde_json::Value| v.as_object().cloned();
        if let (Some(before), Some(after)) = (fields(before), fields(after)) {
            for (name, value) in &before {
                let now = after.get(name).unwrap_or(&serde_json::Value::Null);
                let empty =
                    |v: &serde_json::Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
                let exposed = name == "ExposedPorts";
                assert!(
                    now == value || exposed || (empty(now) && empty(value)),
                    "{name}: {value} {now}"
                );
            }
        } else {
            assert_eq!(before, after);
        }
    }
    // And again, from one that this crate has made.
    w.deploy(&backend, "api:v1").await;
    assert_eq!(w.asked()[4], before[4]);
    let seen = backend.observe(&cx()).await;
    assert!(seen.unwrap().live_instance().is_some());
    // One that lost a network by hand while it stood by has it again.
    let standby = op.to.instance().unwrap();
    w.fixture.must(&[
        "network",
        "disconnect",
        "-f",
        "back",
        standby.handle.as_str(),
    ]);
    w.deploy(&backend, "api:v2").await;
    assert_eq!(w.asked()[4], before[4]);
}

#[tokio::test]
async fn what_cannot_be_made_again_is_dropped_silently() {
    let Some(w) = Apart::new() else { return };
    w.by_hand(&["--volume", "/data"]);
    let state = || w.show("[{{json .Id}}, {{json .State.StartedAt}}, {{json .Name}}]");
    let before = state();
    let backend = DockerBackend::new(w.config()).unwrap();
    let op = w.plan(&backend, "api:v2").await;
    let e = backend.prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    assert!(e.to_string().contains("volume:/data"), "{e}");
    assert_eq!(state(), before);
    // Said in so many words, it is.
    let without = DockerBackend::new(w.config().without("volume")).unwrap();
    w.deploy(&without, "api:v2").await;
    assert_ne!(state(), before);
    // What Swarm runs is not for us to stop.
    w.by_hand(&["--label", "com.docker.swarm.task.id=x"]);
    let backend = DockerBackend::new(w.config()).unwrap();
    let op = w.plan(&backend, "api:v2").await;
    let e = backend.prepare(&cx(), &op).await.unwrap_err();
    assert!(e.to_string().contains("Swarm"), "{e}");
    // Replicas are what compose counts: ours are none.
    let label = "com.docker.compose.service=api";
    w.by_hand(&["--label", label, "--label", "team=a"]);
    w.deploy(&backend, "api:v2").await;
    let labels = w.show("{{json .Config.Labels}}");
    assert_eq!(labels["team"], "a");
    assert!(!labels.to_string().contains("compose"), "{labels}");
}

const CANARY: &str = "canary-that-sings-to-nobody";

#[tokio::test]
async fn secrets_in_commands_labels_and_health_checks_are_recorded_in_clear() {
    let Some(w) = Apart::new() else { return };
    let option = format!("env={CANARY}5");
    let (label, check) = (format!("key={CANARY}1"), format!("/server check {CANARY}2"));
    w.fixture.must(&[
        "run",
        "-d",
        "--name",
        "api",
        "--label",
        &label,
        "--health-cmd",
        &check,
        "--log-opt",
        &option,
        "--env",
        &format!("TOKEN={CANARY}3"),
        "api:v1",
        "serve",
        &format!("--pw={CANARY}4"),
    ]);
    let mut shown = Vec::new();
    let by_hand = DockerBackend::new(w.config()).unwrap();
    let op = w.deploy(&by_hand, "api:v2").await;
    let first = w.show("{{json .Config}}").to_string();
    for n in 1..5 {
        assert!(
            first.contains(&format!("{CANARY}{n}")),
            "{n} is passed on: {first}"
        );
    }
    shown.push(serde_json::to_string(&op).unwrap());
    let config = w
        .config()
        .command(["serve", &format!("--pw={CANARY}6")])
        .label("key", format!("{CANARY}7"))
        .healthcheck(&Healthcheck::new([
            "/server",
            "check",
            &format!("{CANARY}8"),
        ]))
        .env("TOKEN", format!("{CANARY}9"));
    shown.push(format!("{config:?}"));
    let backend = DockerBackend::new(config.clone()).unwrap();
    shown.push(format!("{backend:?}"));
    let second = w.deploy(&backend, "api:v1").await;
    shown.push(serde_json::to_string(&second).unwrap());
    shown.push(format!("{second:?}"));
    let placed = second.to.instance().unwrap();
    shown.push(format!("{:?}", backend.health(&cx(), placed).await));
    let observed = backend.observe(&cx()).await;
    shown.push(serde_json::to_string(&observed.unwrap()).unwrap());
    let labels = w.show("{{json .Config.Labels}}");
    let labels = labels.as_object().unwrap().iter();
    shown.extend(
        labels
            .filter(|(k, _)| k.starts_with("rollback."))
            .map(|(_, v)| v.to_string()),
    );
    // Older ones come from a container that is kept; where nobody has them, they are named.
    let mut back = second.clone().reuse(rollback_core::backend::Reuse::Never);
    back.deployment = DeploymentId::generate(SystemClock.now());
    back.from = second.to.clone();
    back.to = End::Planned(op.to.release().unwrap().clone());
    back.to = End::Placed(backend.prepare(&cx(), &back).await.unwrap().to);
    backend.retire(&cx(), &back.reversed()).await.unwrap();
    for (id, name) in w
        .fixture
        .must(&["ps", "-a", "--format", "{{.ID}} {{.Names}}"])
        .lines()
        .filter_map(|l| l.split_once(' '))
    {
        if name != "api" {
            w.fixture.must(&["rm", "-f", id]);
        }
    }
    back.to = End::Planned(op.to.release().unwrap().clone());
    let e = backend.prepare(&cx(), &back).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Gone, "{e}");
    for name in ["command", "healthcheck", "label:key", "TOKEN"] {
        assert!(e.to_string().contains(name), "{name}: {e}");
    }
    shown.push(format!("{e} {e:?}"));
    for text in shown {
        assert!(!text.contains(CANARY), "{text}");
    }
}
