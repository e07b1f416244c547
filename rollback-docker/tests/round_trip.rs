//! Forward and back: what docker shows of a container is as it was, field by field.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use rollback_core::backend::{Backend, End, Reuse};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_docker::{
    ContainerPort, DockerBackend, DockerConfig, Healthcheck, LogDriver, NetworkAttachment,
    RestartPolicy, Tmpfs,
};
use serde_json::{Value, json};
use support::apart::Apart;
use support::{cx, operation};

const MAC: &str = "02:42:0a:63:01:99";

/// What docker shows of the container called `api`, by the path of each field. A list is one field.
fn fields(w: &Apart) -> BTreeMap<String, Value> {
    fn flatten(path: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    flatten(&format!("{path}.{name}"), value, into);
                }
            }
            Value::Array(mut all) => {
                all.sort_by_key(Value::to_string);
                into.insert(path.to_owned(), Value::Array(all));
            }
            value => drop(into.insert(path.to_owned(), value)),
        }
    }
    let mut fields = BTreeMap::new();
    flatten("", w.show("{{json .}}"), &mut fields);
    fields
}

/// Fails for a difference that nothing here explains, and for an explanation of none.
fn explained(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
    why: &[(&str, &str)],
) {
    // Docker shows nothing in several ways; but what is in a set it shows as `{}`, too.
    let shown = |all: &BTreeMap<String, Value>, path: &str| match all.get(path) {
        Some(Value::Null) => None,
        Some(value) if *value == json!([]) => None,
        Some(value) if *value == json!({}) && path.ends_with(".DriverOpts") => None,
        value => value.cloned(),
    };
    let paths = before.keys().chain(after.keys());
    let mut different: Vec<&String> = paths
        .filter(|path| shown(before, path) != shown(after, path))
        .collect();
    different.sort_unstable();
    different.dedup();
    let of = |prefix: &str, path: &str| path.starts_with(prefix);
    for path in &different {
        let known = why.iter().any(|(prefix, _)| of(prefix, path));
        assert!(
            known,
            "{path}: {:?} -> {:?}",
            before.get(*path),
            after.get(*path)
        );
    }
    let unused = |(prefix, _): &&(&str, &str)| !different.iter().any(|path| of(prefix, path));
    let unused: Vec<_> = why.iter().filter(unused).collect();
    assert_eq!(unused, Vec::<&(&str, &str)>::new(), "nothing differs there");
    let same = before.keys().filter(|path| {
        let value = shown(before, path);
        value.is_some() && value == shown(after, path)
    });
    let same = same.count();
    assert!(same >= 40, "only {same} fields are as before");
}

fn networks(w: &Apart) {
    for (name, subnet) in [("front", "10.99.1.0/24"), ("back", "10.99.2.0/24")] {
        w.fixture
            .must(&["network", "create", "--subnet", subnet, name]);
    }
}

/// Made by hand with all that docker takes.
fn by_hand(w: &Apart) {
    networks(w);
    let second = 1_000_000_000_i64;
    let at = |port: &str| json!([{"HostIp": "127.0.0.1", "HostPort": port}]);
    w.create(&json!({
        "Image": "api:v1", "Hostname": "web-1", "Domainname": "example", "User": "0",
        "MacAddress": MAC, "Env": ["PORT=8080", "GREETING=hello"], "Labels": {"team": "a"},
        "StopSignal": "SIGTERM", "StopTimeout": 1, "WorkingDir": "/", "Tty": true,
        "Healthcheck": {"Test": ["CMD", "/server", "check"], "Interval": 30 * second,
                        "Timeout": 3 * second, "Retries": 4, "StartPeriod": 60 * second},
        "Volumes": {"/anonymous": {}}, "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
        "HostConfig": {
            "NetworkMode": "front", "Binds": ["data:/data"],
            "Mounts": [{"Type": "volume", "Source": "more", "Target": "/more", "ReadOnly": true}],
            "PortBindings": {"8080/tcp": at("8080"), "53/udp": at("5353")},
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["CHOWN"],
            "Ulimits": [{"Name": "nofile", "Soft": 1000, "Hard": 2000}],
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/xnull",
                         "CgroupPermissions": "rw"}],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
            "ShmSize": 134_217_728, "Sysctls": {"net.core.somaxconn": "200"},
            "Memory": 67_108_864, "MemoryReservation": 33_554_432, "PidsLimit": 100,
            "CpusetCpus": "0", "CpuShares": 512, "Tmpfs": {"/t": "size=1048576"},
            "RestartPolicy": {"Name": "always"}, "Dns": ["10.99.1.1"],
            "ExtraHosts": ["db:10.99.2.9"], "SecurityOpt": ["no-new-privileges"],
            "OomScoreAdj": 100, "GroupAdd": ["7"], "ReadonlyRootfs": true
        },
        "NetworkingConfig": {"EndpointsConfig": {"front": {
            "IPAMConfig": {"IPv4Address": "10.99.1.10"}, "Aliases": ["web", "api.internal"]
        }}}
    }));
    let join = ["network", "connect", "--alias", "b2", "--ip", "10.99.2.20"];
    w.fixture.must(&[&join[..], &["back", "api"]].concat());
}

/// Differences between two runs of one container.
const ANEW: [(&str, &str); 4] = [
    (
        ".NetworkSettings.Networks.back.EndpointID",
        "an endpoint is made at each start",
    ),
    (
        ".NetworkSettings.Networks.front.EndpointID",
        "an endpoint is made at each start",
    ),
    (
        ".NetworkSettings.Sandbox",
        "and so is the network namespace",
    ),
    (
        ".State.",
        "it was started at another time, as another process",
    ),
];

/// Differences between two containers that are made of the same.
const OTHER: [(&str, &str); 9] = [
    (".Created", "it was made at another time"),
    (".GraphDriver.Data", "its own layer lies elsewhere"),
    (".Id", "docker chooses it"),
    (".HostnamePath", "it has its id in it"),
    (".HostsPath", "it has its id in it"),
    (".LogPath", "it has its id in it"),
    (".ResolvConfPath", "it has its id in it"),
    (
        ".NetworkSettings.Networks.back.Aliases",
        "docker puts its id among them",
    ),
    (
        ".NetworkSettings.Networks.front.Aliases",
        "docker puts its id among them",
    ),
];

#[tokio::test]
async fn a_hardware_address_and_other_fields_of_a_container_were_not_as_before_after_a_way_back() {
    let Some(w) = Apart::new() else { return };
    by_hand(&w);
    let first = fields(&w);
    assert_eq!(first[".NetworkSettings.Networks.front.MacAddress"], MAC);
    // The volume without a name is the one thing that no other container can be given.
    let backend = DockerBackend::new(w.config().without("volume")).unwrap();
    let forward = w.deploy(&backend, "api:v2").await;
    let second = fields(&w);
    let mut why = [&ANEW[..], &OTHER[..]].concat();
    why.extend([
        (".Image", "that is what was deployed"),
        (".Config.Image", "that is what was deployed"),
        (".Config.Env", "the image's own version"),
        (".Config.Labels.rollback.", "ours, by which it is known"),
        (".Config.Volumes", "the configuration leaves it out"),
        (".Mounts", "the configuration leaves one out"),
    ]);
    explained(&first, &second, &why);
    // Back to the very container, with the volume that has no name.
    let mut back = operation("api", forward.to.clone(), forward.from.clone());
    back.to = End::Placed(backend.prepare(&cx(), &back).await.unwrap().to);
    backend.switch(&cx(), &back).await.unwrap();
    backend.retire(&cx(), &back).await.unwrap();
    explained(&first, &fields(&w), &ANEW);
    // And forward to one that is made anew of what the release has.
    let planned = End::Planned(forward.to.release().unwrap().clone());
    let mut again = operation("api", back.to.clone(), planned).reuse(Reuse::Never);
    again.to = End::Placed(backend.prepare(&cx(), &again).await.unwrap().to);
    backend.switch(&cx(), &again).await.unwrap();
    let why = [
        &ANEW[..],
        &OTHER[..],
        &[(".Config.Labels.rollback.", "of another deployment")],
    ];
    explained(&second, &fields(&w), &why.concat());
}

#[tokio::test]
async fn one_made_by_hand_with_a_restart_policy_was_made_anew_on_the_way_back() {
    let Some(w) = Apart::new() else { return };
    w.by_hand(&["--restart", "unless-stopped"]);
    let state = || w.show("[{{json .Id}}, {{json .HostConfig.RestartPolicy}}]");
    let before = state();
    let backend = DockerBackend::new(w.config()).unwrap();
    let forward = w.deploy(&backend, "api:v2").await;
    let mut back = operation("api", forward.to.clone(), forward.from.clone());
    back.to = End::Placed(backend.prepare(&cx(), &back).await.unwrap().to);
    backend.switch(&cx(), &back).await.unwrap();
    assert_eq!(state(), before);
}

fn configured(w: &Apart) -> DockerConfig {
    let front = NetworkAttachment::to("front")
        .alias("web")
        .alias("api.internal");
    let front = front
        .ipv4("10.99.1.10".parse().unwrap())
        .mac(MAC.parse().unwrap());
    let back = NetworkAttachment::to("back").alias("b2");
    let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    w.config()
        .join(&front)
        .join(&back.ipv4("10.99.2.20".parse().unwrap()))
        .hostname("web-1")
        .env("PORT", "8080")
        .label("team", "a")
        .publish(at(8080), 8080)
        .publish_port(at(5353), ContainerPort::udp(53))
        .publish_range(at(9000), ContainerPort::udp(7000), 3)
        .bind("data", "/data")
        .restart(RestartPolicy::Always)
        .healthcheck(&Healthcheck::new(["/server", "check"]).retries(4))
        .memory(64 << 20)
        .millicpus(500)
        .pids_limit(100)
        .shm_size(128 << 20)
        .sysctl("net.core.somaxconn", "200")
        .ulimit(&"nofile=1000:2000".parse().unwrap())
        .cap_add(&"CAP_NET_ADMIN".parse().unwrap())
        .cap_drop(&"chown".parse().unwrap())
        .device(&"/dev/null:/dev/xnull:rw".parse().unwrap())
        .tmpfs(&Tmpfs::at("/t").size(1 << 20).mode(0o750))
        .log_driver(&LogDriver::new("json-file").option("max-size", "1m"))
}

#[tokio::test]
async fn networks_limits_and_devices_could_not_be_configured() {
    let Some(w) = Apart::new() else { return };
    networks(&w);
    let backend = DockerBackend::new(configured(&w)).unwrap();
    let forward = w.deploy(&backend, "api:v1").await;
    let first = fields(&w);
    let at = |port: &str| json!([{"HostIp": "127.0.0.1", "HostPort": port}]);
    for (path, value) in [
        (".NetworkSettings.Networks.front.MacAddress", json!(MAC)),
        (
            ".NetworkSettings.Networks.front.IPAddress",
            json!("10.99.1.10"),
        ),
        (
            ".NetworkSettings.Networks.back.IPAddress",
            json!("10.99.2.20"),
        ),
        (".HostConfig.NetworkMode", json!("front")),
        (".HostConfig.PortBindings.8080/tcp", at("8080")),
        (".HostConfig.PortBindings.53/udp", at("5353")),
        (".HostConfig.PortBindings.7002/udp", at("9002")),
        (".NetworkSettings.Ports.7001/udp", at("9001")),
        (".HostConfig.NanoCpus", json!(500_000_000)),
        (".HostConfig.PidsLimit", json!(100)),
        (".HostConfig.ShmSize", json!(128 << 20)),
        (".HostConfig.Sysctls.net.core.somaxconn", json!("200")),
        (
            ".HostConfig.Ulimits",
            json!([{"Name": "nofile", "Soft": 1000, "Hard": 2000}]),
        ),
        (".HostConfig.Tmpfs./t", json!("size=1048576,mode=750")),
        (".HostConfig.LogConfig.Config.max-size", json!("1m")),
    ] {
        assert_eq!(first.get(path), Some(&value), "{path}");
    }
    for (path, has) in [
        (".HostConfig.CapAdd", "NET_ADMIN"),
        (".HostConfig.CapDrop", "CHOWN"),
        (".HostConfig.Devices", "/dev/xnull"),
        (".NetworkSettings.Networks.back.Aliases", "b2"),
        (".NetworkSettings.Networks.front.Aliases", "api.internal"),
    ] {
        assert!(
            first[path].to_string().contains(has),
            "{path}: {}",
            first[path]
        );
    }
    w.deploy(&backend, "api:v2").await;
    let second = fields(&w);
    let mut why = [&ANEW[..], &OTHER[..]].concat();
    why.extend([
        (".Image", "that is what was deployed"),
        (".Config.Image", "that is what was deployed"),
        (".Config.Env", "the image's own version"),
        (".Config.Labels.rollback.", "of another deployment"),
    ]);
    explained(&first, &second, &why);
    let live = backend.observe(&cx()).await.unwrap();
    let live = live.live_instance().unwrap().clone();
    let mut back = operation("api", End::Placed(live.clone()), forward.to.clone());
    back.to = End::Placed(backend.prepare(&cx(), &back).await.unwrap().to);
    backend.switch(&cx(), &back).await.unwrap();
    backend.retire(&cx(), &back).await.unwrap();
    explained(&first, &fields(&w), &ANEW);
    // Nothing of it is drift, and a configuration that says the same changes nothing.
    let seen = backend.observe(&cx()).await.unwrap();
    let seen = seen.live_instance().unwrap().release.clone();
    let today = backend.configured(&cx(), Some(&seen)).await.unwrap();
    assert_eq!(today.unwrap().facets(), seen.facets());
    // Of a second network's hardware address this daemon has never heard.
    let other = NetworkAttachment::to("other").mac("02:42:0a:63:03:99".parse().unwrap());
    w.fixture.must(&["network", "create", "other"]);
    let refused = DockerBackend::new(configured(&w).join(&other)).unwrap();
    let op = w.plan(&refused, "api:v2").await;
    let e = refused.prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    assert!(e.to_string().contains("mac:other"), "{e}");
}

#[test]
fn what_cannot_be_configured_is_refused_at_once() {
    let config = || DockerConfig::new("api@web-1".parse().unwrap(), "api", "/state");
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], 65_534));
    for (config, named) in [
        (
            config().publish_range(at, ContainerPort::tcp(80), 3),
            "80/tcp",
        ),
        (config().tmpfs(&Tmpfs::at("t")), "t"),
    ] {
        let e = DockerBackend::new(config).unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::InvalidReference, "{e}");
        assert!(e.to_string().contains(named), "{e}");
    }
    for mac in [
        "02:42",
        "03:42:0a:63:01:99",
        "02:42:0a:63:01:99:00",
        "+2:42:0a:63:01:99",
    ] {
        mac.parse::<rollback_docker::MacAddress>().unwrap_err();
    }
}
