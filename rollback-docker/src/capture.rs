//! What a container that stands is, as a release.

use bollard::models::{ContainerConfig, HealthConfig, HostConfig, ImageConfig, PortBinding};
use rollback_core::release::{FacetValue, Release};
use serde_json::Value;

use crate::body::first_network;
use crate::config::Secret;
use crate::container::Container;
use crate::defaults;
use crate::fingerprint::Key;
use crate::live_labels::PUT_AWAY;
use crate::network;
use crate::restart::RestartPolicy;
use crate::settings::{
    BY_HAND, CONTAINER, ENV, Env, RESTART, Rows, Table, argv, env_table, rows_table, with_rows,
    with_table,
};

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
pub(crate) fn seen(release: &Release, container: &Container, restart: RestartPolicy) -> Release {
    let mut now = Rows::new();
    if let Some(host) = &container.inspect.host_config {
        limits(host, &mut now);
    }
    let rows = MUTABLE.map(|name| (name, now.remove(name)));
    let rows = rows.into_iter().chain([(RESTART, restart.row())]);
    with_rows(release, rows)
}

/// The release of a container that was made by hand: its settings without those of its image, and
/// with this policy, which is off while it stands by.
pub(crate) fn captured(
    release: &Release,
    container: &Container,
    image: &ImageConfig,
    key: &Key,
    restart: RestartPolicy,
) -> Release {
    let mut rows = rows(container);
    rows.remove(RESTART);
    put(&mut rows, RESTART, restart.row());
    for (row, of_image) in image_rows(image) {
        if rows.get(&row) == Some(&of_image) {
            rows.remove(&row);
        }
    }
    let of_image: Vec<&String> = image.env.iter().flatten().collect();
    let env = env(container);
    let env = env.iter().filter(|(name, value)| {
        let pair = format!("{name}={}", value.0);
        !of_image.contains(&&pair)
    });
    let env = env_table(
        key,
        env.map(|(name, value)| (name.as_str(), value.0.as_str())),
    );
    let names = rows.keys().filter(|row| is_taken_over(row)).cloned();
    let names = names.chain(env.keys().map(|name| format!("env:{name}")));
    let by_hand: Table = names
        .map(|row| (row, FacetValue::Plain(String::new())))
        .collect();
    let mut release = with_table(release, CONTAINER, rows_table(key, &rows));
    release = with_table(&release, ENV, env);
    with_table(&release, BY_HAND, by_hand)
}

/// Whether a successor takes over what it is not told of. It is kept and removed by this crate,
/// and it is none of the replicas that compose counts.
fn is_taken_over(row: &str) -> bool {
    row != "host:AutoRemove" && !row.starts_with("label:com.docker.compose.")
}

/// The variables of a container, those of its image included.
pub(crate) fn env(container: &Container) -> Env {
    let config = container.inspect.config.as_ref();
    let pairs = config.and_then(|c| c.env.as_ref()).into_iter().flatten();
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), Secret(value.to_owned())))
        .collect()
}

/// The settings of a container, those of its image included and dockerd's defaults left out.
pub(crate) fn rows(container: &Container) -> Rows {
    let config = container.inspect.config.clone().unwrap_or_default();
    let host = container.inspect.host_config.clone().unwrap_or_default();
    let mut rows = Rows::new();
    put(&mut rows, "user", config.user.clone());
    put(&mut rows, "working_dir", config.working_dir.clone());
    put(&mut rows, "command", list(&config.cmd));
    put(&mut rows, "entrypoint", list(&config.entrypoint));
    put(&mut rows, "healthcheck", health(&config.healthcheck));
    let stop_timeout = config.stop_timeout.map(|t| t.to_string());
    put(&mut rows, "stop_timeout", stop_timeout);
    let network = first_network(host.network_mode.as_deref());
    let named = Some(network.clone()).filter(|n| n != "bridge");
    put(&mut rows, "network", named);
    for (name, value) in config.labels.iter().flatten() {
        // What it does not wear now is as much its own.
        let name = name.strip_prefix(PUT_AWAY).unwrap_or(name);
        if !name.starts_with("rollback.") {
            rows.insert(format!("label:{name}"), value.clone());
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
        let mut hosts: Vec<String> = bindings.iter().flatten().map(address).collect();
        hosts.sort_unstable();
        rows.insert(format!("port:{port}"), hosts.join(","));
    }
    // `-v /data`, or a volume without a name: the data that is in it has no other address.
    let unnamed = host.mounts.iter().flatten().filter(|m| {
        let volume = serde_json::to_value(m.typ).is_ok_and(|t| t == "volume");
        volume && m.source.as_ref().is_none_or(String::is_empty)
    });
    let unnamed = unnamed.filter_map(|m| m.target.clone());
    for target in config.volumes.iter().flatten().cloned().chain(unnamed) {
        rows.insert(format!("volume:{target}"), "without a name".into());
    }
    limits(&host, &mut rows);
    put(&mut rows, RESTART, container.restart().row());
    network::rows(container, &network, &mut rows);
    rest(container, &config, &host, &mut rows);
    rows
}

/// Those rows that an image gives to its containers.
fn image_rows(image: &ImageConfig) -> Rows {
    let mut rows = Rows::new();
    put(&mut rows, "user", image.user.clone());
    put(&mut rows, "working_dir", image.working_dir.clone());
    put(&mut rows, "command", list(&image.cmd));
    put(&mut rows, "entrypoint", list(&image.entrypoint));
    put(&mut rows, "healthcheck", health(&image.healthcheck));
    let signal = image.stop_signal.as_ref();
    let signal = signal.map(|s| Value::from(s.clone()).to_string());
    put(&mut rows, "config:StopSignal", signal);
    for (name, value) in image.labels.iter().flatten() {
        rows.insert(format!("label:{name}"), value.clone());
    }
    for target in image.volumes.iter().flatten() {
        rows.insert(format!("volume:{target}"), "without a name".into());
    }
    rows
}

/// Everything else that dockerd shows and takes again as it is.
fn rest(container: &Container, config: &ContainerConfig, host: &HostConfig, rows: &mut Rows) {
    let fields = |whole: Result<Value, serde_json::Error>| match whole {
        Ok(Value::Object(fields)) => fields,
        _ => Default::default(),
    };
    for (field, value) in fields(serde_json::to_value(host)) {
        if !defaults::of_host(&field, &value, host) {
            rows.insert(format!("host:{field}"), value.to_string());
        }
    }
    for (field, value) in fields(serde_json::to_value(config)) {
        if !defaults::of_config(&field, &value, container, host) {
            rows.insert(format!("config:{field}"), value.to_string());
        }
    }
}

fn put(rows: &mut Rows, name: &str, value: Option<String>) {
    if let Some(value) = value.filter(|v| !v.is_empty()) {
        rows.insert(name.to_owned(), value);
    }
}

fn list(argv_of: &Option<Vec<String>>) -> Option<String> {
    let list = argv_of.as_ref().filter(|list| !list.is_empty());
    list.map(|list| argv(list))
}

/// A health check in one spelling, whoever has written it: without what says nothing.
pub(crate) fn health(check: &Option<HealthConfig>) -> Option<String> {
    let mut check = check.clone()?;
    check.test.as_ref().filter(|test| !test.is_empty())?;
    for number in [
        &mut check.interval,
        &mut check.timeout,
        &mut check.retries,
        &mut check.start_period,
        &mut check.start_interval,
    ] {
        *number = number.filter(|n| *n != 0);
    }
    serde_json::to_string(&check).ok()
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
