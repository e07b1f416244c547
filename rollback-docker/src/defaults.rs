//! What dockerd fills in by itself, or what has a row of its own: nobody has asked for it.

use std::path::Path;

use bollard::models::HostConfig;
use serde_json::{Value, json};

use crate::body::first_network;
use crate::container::Container;

/// Fields of a container's host configuration that have rows of their own, or that say nothing of
/// the container.
const HOST: [&str; 11] = [
    "Binds",
    "ConsoleSize",
    "ContainerIDFile",
    "CpuQuota",
    "CpuShares",
    "Memory",
    "NanoCpus",
    "NetworkMode",
    "PidsLimit",
    "PortBindings",
    "RestartPolicy",
];

/// Fields of a container's own configuration that a container made anew must be given.
const CONFIG: [&str; 8] = [
    "Domainname",
    "ExposedPorts",
    "Hostname",
    "NetworkDisabled",
    "OpenStdin",
    "StdinOnce",
    "StopSignal",
    "Tty",
];

/// Whether a field of the host configuration is set by a row of its own.
pub(crate) fn has_own_row(field: &str) -> bool {
    HOST.contains(&field)
}

/// Whether a field of a container's own configuration is one that it is given as it is.
pub(crate) fn is_passed_on(field: &str) -> bool {
    CONFIG.contains(&field)
}

/// Whether a field of the host configuration says nothing that somebody has asked for.
pub(crate) fn of_host(field: &str, value: &Value, host: &HostConfig) -> bool {
    let has = |path: &str| {
        value
            .as_array()
            .is_some_and(|all| all.contains(&json!(path)))
    };
    let hides = matches!(field, "MaskedPaths" | "ReadonlyPaths");
    match field {
        "CgroupnsMode" => {
            let own = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
                "private"
            } else {
                "host"
            };
            host.privileged == Some(true) || value.as_str().is_none_or(|m| m.is_empty() || m == own)
        }
        // Not at all is the daemon's choice, not to is somebody's.
        "Init" => value.is_null(),
        "ShmSize" => *value == json!(64 << 20),
        "Runtime" => matches!(value.as_str(), Some("" | "runc")),
        "IpcMode" => matches!(value.as_str(), Some("" | "private" | "shareable")),
        "LogConfig" => *value == json!({"Type": "json-file", "Config": {}}),
        "MemorySwappiness" => matches!(value.as_i64(), Some(-1)),
        "MemorySwap" => {
            let twice = host.memory.map(|memory| memory * 2);
            value.as_i64() == twice || says_nothing(value)
        }
        // Nothing hidden is something asked for, unless the container may do everything anyway.
        _ if hides && (value.is_null() || host.privileged == Some(true)) => true,
        "MaskedPaths" => has("/proc/kcore"),
        "ReadonlyPaths" => has("/proc/sysrq-trigger"),
        _ => HOST.contains(&field) || says_nothing(value),
    }
}

/// The same of its own configuration.
pub(crate) fn of_config(
    field: &str,
    value: &Value,
    container: &Container,
    host: &HostConfig,
) -> bool {
    let mode = first_network(host.network_mode.as_deref());
    match field {
        // After its id; with another's network, after that one's host.
        "Hostname" => {
            let name = value.as_str().unwrap_or_default();
            let given = name.len() == 12 && container.summary.id.starts_with(name);
            let shared = mode == "host" || mode.starts_with("container:");
            given || shared || name.is_empty()
        }
        // Published ports are exposed by that, and the image's by the image.
        "ExposedPorts" => true,
        _ => !CONFIG.contains(&field) || says_nothing(value),
    }
}

pub(crate) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
    }
}
