//! What a container that stands is, as a release.

use bollard::models::{HealthConfig, HostConfig, ImageConfig, PortBinding};
use rollback_core::release::Release;

use crate::container::Container;
use crate::fingerprint::Key;
use crate::release::{RESTART, Rows, argv, rows, with_facets, with_restart};

/// Rows that can change while a container stands (`docker update`).
const MUTABLE: [&str; 5] = [
    "memory",
    "nano_cpus",
    "cpu_quota",
    "cpu_shares",
    "pids_limit",
];

/// What a standing container of ours is now: what we wrote on it, with what people may have
/// changed since. `restart` is the policy to show.
pub(crate) fn seen(release: &Release, container: &Container, restart: Option<&String>) -> Release {
    let mut rows = rows(release);
    for name in MUTABLE {
        rows.remove(name);
    }
    if let Some(host) = &container.inspect.host_config {
        limits(host, &mut rows);
    }
    with_restart(&with_facets(release.clone(), rows, None), restart)
}

/// The facets of a container that was made by hand: its settings without those of its image.
pub(crate) fn captured(
    release: Release,
    container: &Container,
    image: &ImageConfig,
    key: &Key,
) -> Release {
    let config = container.inspect.config.clone().unwrap_or_default();
    let host = container.inspect.host_config.clone().unwrap_or_default();
    let mut rows = Rows::new();
    let mut own = |name: &str, value: Option<String>, of_image: Option<String>| {
        if let Some(value) = value.filter(|v| !v.is_empty())
            && Some(&value) != of_image.as_ref()
        {
            rows.insert(name.to_owned(), value);
        }
    };
    own("user", config.user, image.user.clone());
    own("working_dir", config.working_dir, image.working_dir.clone());
    let list = |v: &Option<Vec<String>>| v.as_ref().map(|v| argv(v)).filter(|v| v != "[]");
    own("command", list(&config.cmd), list(&image.cmd));
    own(
        "entrypoint",
        list(&config.entrypoint),
        list(&image.entrypoint),
    );
    let health = |h: &Option<HealthConfig>| {
        h.as_ref()
            .filter(|h| h.test.as_ref().is_some_and(|t| !t.is_empty()))
            .and_then(|h| serde_json::to_string(h).ok())
    };
    own(
        "healthcheck",
        health(&config.healthcheck),
        health(&image.healthcheck),
    );
    own(
        "stop_timeout",
        config.stop_timeout.map(|t| t.to_string()),
        None,
    );
    own(
        "network",
        host.network_mode
            .clone()
            .filter(|n| n != "default" && n != "bridge"),
        None,
    );
    let of_image = image.labels.clone().unwrap_or_default();
    for (name, value) in config.labels.unwrap_or_default() {
        if !name.starts_with("rollback.") && of_image.get(&name) != Some(&value) {
            rows.insert(format!("label:{name}"), value);
        }
    }
    for bind in host.binds.iter().flatten() {
        let mut parts = bind.splitn(3, ':');
        if let (Some(source), Some(target)) = (parts.next(), parts.next()) {
            let mode = parts.next().filter(|m| *m != "rw");
            let mode = mode.map(|m| format!(":{m}")).unwrap_or_default();
            rows.insert(format!("bind:{target}"), format!("{source}{mode}"));
        }
    }
    for (port, bindings) in host.port_bindings.iter().flatten() {
        let hosts: Vec<String> = bindings.iter().flatten().map(address).collect();
        rows.insert(format!("port:{port}"), hosts.join(","));
    }
    limits(&host, &mut rows);
    foreign(&host, &mut rows);
    if let Some(restart) = container.restart_row() {
        rows.insert(RESTART.into(), restart);
    }
    let of_image: Vec<&String> = image.env.iter().flatten().collect();
    let env = config
        .env
        .iter()
        .flatten()
        .filter(|pair| !of_image.contains(pair))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), key.of(name, value)))
        .collect();
    with_facets(release, rows, Some(env))
}

fn address(binding: &PortBinding) -> String {
    let port = binding.host_port.clone().unwrap_or_default();
    match binding.host_ip.as_deref() {
        None | Some("") => format!("0.0.0.0:{port}"),
        Some(ip) if ip.contains(':') => format!("[{ip}]:{port}"),
        Some(ip) => format!("{ip}:{port}"),
    }
}

fn limits(host: &HostConfig, rows: &mut Rows) {
    let values = [
        host.memory,
        host.nano_cpus,
        host.cpu_quota,
        host.cpu_shares,
        host.pids_limit,
    ];
    for (name, value) in MUTABLE.into_iter().zip(values) {
        // -1 and 0 are two ways of saying "no limit".
        if let Some(value) = value.filter(|v| *v > 0) {
            rows.insert(name.to_owned(), value.to_string());
        }
    }
}

/// Settings that only the container itself can bring back: shown, so that a change is seen, and
/// refused when the container has to be made anew.
fn foreign(host: &HostConfig, rows: &mut Rows) {
    let mut note = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.insert(name.to_owned(), value);
        }
    };
    fn list<T: serde::Serialize>(v: &Option<Vec<T>>) -> Option<String> {
        v.as_ref()
            .filter(|v| !v.is_empty())
            .and_then(|v| serde_json::to_string(v).ok())
    }
    note(
        "privileged",
        (host.privileged == Some(true)).then(|| "true".into()),
    );
    note(
        "read_only",
        (host.readonly_rootfs == Some(true)).then(|| "true".into()),
    );
    note("init", (host.init == Some(true)).then(|| "true".into()));
    note(
        "auto_remove",
        (host.auto_remove == Some(true)).then(|| "true".into()),
    );
    note("cap_add", list(&host.cap_add));
    note("cap_drop", list(&host.cap_drop));
    note("devices", list(&host.devices));
    note("device_requests", list(&host.device_requests));
    note("security_opt", list(&host.security_opt));
    note("mounts", list(&host.mounts));
    note("volumes_from", list(&host.volumes_from));
    note("links", list(&host.links));
    note("extra_hosts", list(&host.extra_hosts));
    note("dns", list(&host.dns));
    note("group_add", list(&host.group_add));
    note("ulimits", list(&host.ulimits));
    let tmpfs = host.tmpfs.as_ref().filter(|t| !t.is_empty());
    note(
        "tmpfs",
        tmpfs.map(|t| {
            let mut paths: Vec<&str> = t.keys().map(String::as_str).collect();
            paths.sort_unstable();
            paths.join(",")
        }),
    );
    note("pid_mode", host.pid_mode.clone().filter(|m| !m.is_empty()));
}
