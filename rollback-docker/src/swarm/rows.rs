//! A service's specification as rows.
//!
//! What a container has as well has the row that it has there. A few fields have names of their own;
//! every other is a row of its level (`service:`, `task:`, `container:`) with the JSON that Swarm
//! shows and takes again. Not among them: the name, the image, the variables, the number of replicas
//! and how updates are made, which are no settings of what runs.

use std::collections::{BTreeMap, HashMap};

use bollard::models::ServiceSpec;
use serde_json::{Value, json};

use super::attached;
use super::build::bind;
use super::service::container;
use crate::capture;
use crate::config::Secret;
use crate::defaults::says_nothing;
use crate::settings::{Env, Rows};

/// The row that says how many tasks there are, where that is not left to others.
pub(super) const REPLICAS: &str = "replicas";

/// The levels of a specification whose fields are rows.
pub(super) const LEVELS: [(&str, &str); 3] = [
    ("service", ""),
    ("task", "/TaskTemplate"),
    ("container", "/TaskTemplate/ContainerSpec"),
];

/// Rows of one field each: name, place, and whether the value is a text and no other JSON.
pub(super) const FIELDS: [(&str, &str, &str, bool); 11] = [
    ("user", "/TaskTemplate/ContainerSpec", "User", true),
    ("working_dir", "/TaskTemplate/ContainerSpec", "Dir", true),
    ("hostname", "/TaskTemplate/ContainerSpec", "Hostname", true),
    // Swarm calls the entrypoint a command, and the command arguments.
    (
        "entrypoint",
        "/TaskTemplate/ContainerSpec",
        "Command",
        false,
    ),
    ("command", "/TaskTemplate/ContainerSpec", "Args", false),
    (
        "healthcheck",
        "/TaskTemplate/ContainerSpec",
        "HealthCheck",
        false,
    ),
    (
        "stop_grace_period",
        "/TaskTemplate/ContainerSpec",
        "StopGracePeriod",
        false,
    ),
    (
        "memory",
        "/TaskTemplate/Resources/Limits",
        "MemoryBytes",
        false,
    ),
    (
        "nano_cpus",
        "/TaskTemplate/Resources/Limits",
        "NanoCPUs",
        false,
    ),
    (
        "pids_limit",
        "/TaskTemplate/Resources/Limits",
        "Pids",
        false,
    ),
    ("endpoint_mode", "/EndpointSpec", "Mode", true),
];

/// Fields that are no settings of what runs.
const LEFT_OUT: [(&str, &str); 7] = [
    ("", "Name"),
    ("", "UpdateConfig"),
    ("", "RollbackConfig"),
    ("/TaskTemplate", "ForceUpdate"),
    ("/TaskTemplate/ContainerSpec", "Image"),
    ("/TaskTemplate/ContainerSpec", "Env"),
    // The client reads it off the image.
    ("/TaskTemplate/Placement", "Platforms"),
];

/// The variables of a service.
pub(super) fn env(spec: &ServiceSpec) -> Env {
    let container = spec.task_template.as_ref();
    let container = container.and_then(|t| t.container_spec.as_ref());
    let pairs = container.and_then(|c| c.env.as_ref()).into_iter().flatten();
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), Secret(value.to_owned())))
        .collect()
}

/// The settings of a service, Swarm's own defaults left out.
pub(super) fn rows(spec: &ServiceSpec) -> Rows {
    let check = container(spec).and_then(|c| capture::health(&c.health_check));
    let mut spec = serde_json::to_value(spec).unwrap_or_default();
    let mut rows = Rows::new();
    for (level, field) in LEFT_OUT {
        take(&mut spec, level, field);
    }
    for (kind, level) in [("label", ""), ("container_label", LEVELS[2].1)] {
        let labels = take(&mut spec, level, "Labels");
        for (name, value) in labels.as_object().into_iter().flatten() {
            rows.insert(format!("{kind}:{name}"), text(value));
        }
    }
    mode(&mut spec, &mut rows);
    mounts(&mut spec, &mut rows);
    ports(&mut spec, &mut rows);
    for level in ["", "/TaskTemplate"] {
        networks(&take(&mut spec, level, "Networks"), &mut rows);
    }
    for (row, level, field, _) in FIELDS {
        let value = take(&mut spec, level, field);
        if !is_default(field, &value) {
            rows.insert(row.to_owned(), text(&value));
        }
    }
    // In the one spelling that it has everywhere.
    rows.remove("healthcheck");
    rows.extend(check.map(|check| ("healthcheck".to_owned(), check)));
    for (kind, level) in LEVELS.into_iter().rev() {
        let Some(Value::Object(fields)) = spec.pointer_mut(level).map(Value::take) else {
            continue;
        };
        for (field, mut value) in fields {
            if !is_default(&field, &value) {
                let row = format!("{kind}:{field}");
                attached::without_ids(&row, &mut value);
                rows.insert(row, said(value).to_string());
            }
        }
    }
    rows
}

fn mode(spec: &mut Value, rows: &mut Rows) {
    let mode = take(spec, "", "Mode");
    let Some(fields) = mode.as_object() else {
        return;
    };
    match fields.keys().next().map(String::as_str) {
        Some("Replicated") | None => {}
        Some("Global") => drop(rows.insert("mode".into(), "global".into())),
        Some(_) => drop(rows.insert("service:Mode".into(), mode.to_string())),
    }
}

/// A mount that says no more than what, where and whether it may be written has the row that a
/// container's has.
fn mounts(spec: &mut Value, rows: &mut Rows) {
    let mounts = take(spec, LEVELS[2].1, "Mounts");
    for mount in mounts.as_array().into_iter().flatten() {
        let target = mount["Target"].as_str().unwrap_or_default();
        let plain = mount["Source"].as_str().and_then(|source| {
            let mode = if mount["ReadOnly"] == json!(true) {
                ":ro"
            } else {
                ""
            };
            let value = format!("{source}{mode}");
            (bind(target, &value).as_ref().map(bare) == Some(bare(mount))).then_some(value)
        });
        match plain {
            Some(plain) => rows.insert(format!("bind:{target}"), plain),
            None => rows.insert(format!("mount:{target}"), mount.to_string()),
        };
    }
}

/// Without what says nothing.
fn bare(mount: &Value) -> BTreeMap<String, Value> {
    let fields = mount.as_object().into_iter().flatten();
    let said = fields.filter(|(_, value)| !says_nothing(value));
    said.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// `port:80/tcp`: where it is published, `host:8080` or `ingress:8080`, several with commas.
fn ports(spec: &mut Value, rows: &mut Rows) {
    let ports = take(spec, "/EndpointSpec", "Ports");
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for port in ports.as_array().into_iter().flatten() {
        let protocol = port["Protocol"].as_str().unwrap_or("tcp");
        let mode = port["PublishMode"].as_str().filter(|m| !m.is_empty());
        let published = port["PublishedPort"].as_u64().unwrap_or(0);
        let row = format!("port:{}/{protocol}", port["TargetPort"]);
        let at = format!("{}:{published}", mode.unwrap_or("ingress"));
        all.entry(row).or_default().push(at);
    }
    for (row, mut published) in all {
        published.sort_unstable();
        rows.insert(row, published.join(","));
    }
}

fn networks(networks: &Value, rows: &mut Rows) {
    for network in networks.as_array().into_iter().flatten() {
        let mut said = bare(network);
        let Some(Value::String(target)) = said.remove("Target") else {
            continue;
        };
        let said = match said.is_empty() {
            true => String::new(),
            false => Value::from_iter(said).to_string(),
        };
        rows.insert(format!("network:{target}"), said);
    }
}

/// What Swarm, or its client, says where nobody has asked for anything else.
pub(super) fn is_default(field: &str, value: &Value) -> bool {
    match field {
        "Isolation" => *value == json!("default") || says_nothing(value),
        "Runtime" => *value == json!("container") || says_nothing(value),
        "Mode" => *value == json!("vip") || says_nothing(value),
        "StopGracePeriod" => *value == json!(10_000_000_000_u64) || says_nothing(value),
        "RestartPolicy" => {
            let usual = json!({"Condition": "any", "Delay": 5_000_000_000_u64});
            bare(value) == bare(&usual) || bare(value).is_empty()
        }
        // Levels whose fields have been taken.
        "TaskTemplate" | "ContainerSpec" => true,
        _ => is_hollow(value),
    }
}

/// Without the parts in which nothing is.
fn said(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.into_iter().filter(|(_, value)| !is_hollow(value));
            Value::from_iter(said.map(|(name, value)| (name, self::said(value))))
        }
        other => other,
    }
}

/// Whether nothing is in it, however deep.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(is_hollow),
        // Not to is somebody's choice where not at all is the daemon's.
        Value::Bool(_) => false,
        other => says_nothing(other),
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn take(spec: &mut Value, level: &str, field: &str) -> Value {
    let fields = spec.pointer_mut(level).and_then(Value::as_object_mut);
    fields.and_then(|f| f.remove(field)).unwrap_or_default()
}
