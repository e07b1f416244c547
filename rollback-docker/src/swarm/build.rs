//! A service's specification from its rows and variables.

use bollard::models::ServiceSpec;
use rollback_core::error::{BackendError, BackendErrorKind};
use serde_json::{Map, Value, json};

use super::attached;
use super::rows::{self, FIELDS, LEVELS, REPLICAS, is_default};
use crate::settings::{Env, Rows, kind};

/// The specification that has these rows and variables. Fails, naming the row, if there is none.
pub(super) fn spec(rows: &Rows, env: &Env) -> Result<ServiceSpec, BackendError> {
    let mut spec = json!({"TaskTemplate": {"ContainerSpec": {}}});
    let (mut all_ports, mut all_mounts, mut all_networks) = (Vec::new(), Vec::new(), Vec::new());
    // Whole fields first: what has a row of its own is put into them.
    let is_whole = |row: &str| {
        LEVELS
            .iter()
            .any(|(level, _)| kind(row).starts_with(&format!("{level}:")))
    };
    let (whole, parts): (Vec<_>, Vec<_>) = rows.iter().partition(|(row, _)| is_whole(row));
    for (row, value) in whole.into_iter().chain(parts) {
        let bad = || unsupported(row);
        let parsed = || serde_json::from_str::<Value>(value).map_err(|_| bad());
        let of_field = FIELDS.iter().find(|(name, ..)| name == row);
        if let Some((_, level, field, is_text)) = of_field {
            let value = if *is_text {
                Value::from(value.as_str())
            } else {
                parsed()?
            };
            put(&mut spec, level, field, value);
            continue;
        }
        match row.split_once(':') {
            Some(("label", name)) => put(&mut spec, "/Labels", name, value.as_str().into()),
            Some(("container_label", name)) => {
                let labels = "/TaskTemplate/ContainerSpec/Labels";
                put(&mut spec, labels, name, value.as_str().into());
            }
            Some(("bind", target)) => all_mounts.push(bind(target, value).ok_or_else(bad)?),
            Some(("mount", _)) => all_mounts.push(parsed()?),
            Some(("port", port)) => {
                for published in value.split(',') {
                    all_ports.push(binding(port, published).ok_or_else(bad)?);
                }
            }
            Some(("network", name)) => {
                let mut network = match value.is_empty() {
                    true => Map::new(),
                    false => parsed()?.as_object().cloned().ok_or_else(bad)?,
                };
                network.insert("Target".into(), name.into());
                all_networks.push(Value::Object(network));
            }
            Some((kind, field)) => {
                let level = LEVELS.iter().find(|(of, _)| *of == kind).ok_or_else(bad)?;
                put(&mut spec, level.1, field, parsed()?);
            }
            None if row == REPLICAS => put(&mut spec, "/Mode/Replicated", "Replicas", parsed()?),
            None if row == "mode" && value == "global" => {
                put(&mut spec, "/Mode", "Global", json!({}))
            }
            None => return Err(bad()),
        }
    }
    let env = env
        .iter()
        .map(|(name, value)| format!("{name}={}", value.0));
    let lists = [
        (
            "/TaskTemplate/ContainerSpec",
            "Env",
            env.map(Value::from).collect(),
        ),
        ("/TaskTemplate/ContainerSpec", "Mounts", all_mounts),
        ("/TaskTemplate", "Networks", all_networks),
        ("/EndpointSpec", "Ports", all_ports),
    ];
    for (level, field, list) in lists {
        if !list.is_empty() {
            put(&mut spec, level, field, Value::Array(list));
        }
    }
    let Ok(made) = serde_json::from_value::<ServiceSpec>(spec) else {
        return Err(misfit(rows));
    };
    // A field that this version does not know would be left out without a word.
    let kept = rows::rows(&made);
    let lost = rows.iter().find(|(row, value)| {
        let default = *row == REPLICAS || kept.get(*row) == Some(&named(row, value));
        !default && !is_unsaid(row, value)
    });
    match lost {
        Some((row, _)) => Err(unsupported(row)),
        None => Ok(made),
    }
}

/// A row as it is read off a specification: what older versions recorded has ids in it.
fn named(row: &str, value: &str) -> String {
    let parsed = serde_json::from_str::<Value>(value);
    match parsed {
        Ok(mut parsed) if attached::has_ids(row) => {
            attached::without_ids(row, &mut parsed);
            parsed.to_string()
        }
        _ => value.to_owned(),
    }
}

/// Which of these rows no specification takes.
fn misfit(rows: &Rows) -> BackendError {
    let alone = |(row, value): (&String, &String)| Rows::from([(row.clone(), value.clone())]);
    let mut misfits = rows.iter().map(alone).filter(|one| one.len() < rows.len());
    let misfit = misfits.find_map(|one| spec(&one, &Env::new()).err());
    let row = || rows.keys().next().map_or("", String::as_str);
    misfit.unwrap_or_else(|| unsupported(row()))
}

/// Whether a row says what is so anyway.
fn is_unsaid(row: &str, value: &str) -> bool {
    let field = FIELDS.iter().find(|(name, ..)| *name == row);
    let parsed = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    field.is_some_and(|(_, _, field, _)| is_default(field, &parsed))
}

pub(super) fn bind(target: &str, value: &str) -> Option<Value> {
    let (source, read_only) = match value.rsplit_once(':') {
        Some((source, "ro")) => (source, true),
        Some(_) => return None,
        None => (value, false),
    };
    if !target.starts_with('/') || source.is_empty() {
        return None;
    }
    let kind = if source.starts_with('/') {
        "bind"
    } else {
        "volume"
    };
    let mut mount = json!({"Type": kind, "Source": source, "Target": target});
    if read_only {
        mount["ReadOnly"] = true.into();
    }
    Some(mount)
}

fn binding(port: &str, published: &str) -> Option<Value> {
    let (target, protocol) = port.split_once('/')?;
    let (mode, published) = published.split_once(':')?;
    Some(json!({
        "Protocol": protocol,
        "TargetPort": target.parse::<u16>().ok()?,
        "PublishedPort": published.parse::<u16>().ok()?,
        "PublishMode": mode,
    }))
}

/// Puts a field in, and the levels above it.
fn put(spec: &mut Value, level: &str, field: &str, value: Value) {
    let mut at = spec;
    for part in level.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    if !at.is_object() {
        *at = json!({});
    }
    at[field] = value;
}

fn unsupported(row: &str) -> BackendError {
    BackendError::new(
        BackendErrorKind::Unsupported,
        "a service with this setting cannot be made here",
    )
    .on(row.chars().take(80).collect::<String>())
    .advice("say in the configuration what is to be in its place, or leave it out (`without`)")
    .untouched()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::choices::Healthcheck;
    use crate::swarm::SwarmConfig;
    use crate::swarm::service::container;

    #[test]
    fn a_configuration_becomes_the_service_it_says_and_is_read_off_it_again() {
        let config = SwarmConfig::new("api@web-1".parse().unwrap(), "api", "/state")
            .publish_on_host(8080, 80)
            .publish_everywhere(8081, 80)
            .bind_read_only("/srv", "/srv")
            .bind("data", "/data")
            .label("team", "a")
            .container_label("a.b/c", "d")
            .network("back")
            .user("1000")
            .command(["a", "b c"])
            .memory(1 << 26)
            .env("A", "b=c")
            .replicas(3)
            .stop_grace_period(Duration::from_secs(3))
            .healthcheck(&Healthcheck::new(["/check"]).retries(2));
        config.validate().unwrap();
        let wanted = &config.wanted;
        let made = spec(&wanted.rows, &wanted.env).unwrap();
        let mut rows = rows::rows(&made);
        rows.insert(REPLICAS.into(), "3".into());
        assert_eq!(rows, wanted.rows);
        assert_eq!(rows::env(&made), wanted.env);
        let ports = made.endpoint_spec.unwrap().ports.unwrap();
        let published: Vec<_> = ports.iter().filter_map(|p| p.published_port).collect();
        assert_eq!(published, [8080, 8081]);
        let template = made.task_template.unwrap();
        let container = template.container_spec.unwrap();
        assert_eq!(container.args.unwrap(), ["a", "b c"]);
        assert_eq!(container.stop_grace_period, Some(3_000_000_000));
    }

    #[test]
    fn what_is_taken_over_whole_does_not_hide_what_is_configured() {
        let rows = Rows::from([
            ("memory".to_owned(), "67108864".to_owned()),
            (
                "task:Resources".to_owned(),
                r#"{"Reservations":{"MemoryBytes":1024}}"#.to_owned(),
            ),
        ]);
        let made = spec(&rows, &Env::new()).unwrap();
        assert_eq!(rows::rows(&made), rows);
        let resources = made.task_template.unwrap().resources.unwrap();
        assert_eq!(resources.limits.unwrap().memory_bytes, Some(1 << 26));
        assert_eq!(resources.reservations.unwrap().memory_bytes, Some(1024));
    }

    #[test]
    fn a_setting_that_cannot_be_made_is_named() {
        for (row, value) in [
            ("nonsense", "x"),
            ("container:NoSuchField", "true"),
            ("memory", "much"),
            ("port:80/tcp", "nowhere:1"),
            ("bind:data", "/srv"),
        ] {
            let rows = Rows::from([(row.to_owned(), value.to_owned())]);
            let e = spec(&rows, &Env::new()).unwrap_err();
            assert_eq!(e.kind(), BackendErrorKind::Unsupported);
            assert!(e.to_string().contains(row), "{e}");
        }
    }

    #[test]
    fn what_is_so_anyway_may_be_said() {
        let rows = Rows::from([
            ("stop_grace_period".to_owned(), "10000000000".to_owned()),
            ("endpoint_mode".to_owned(), "vip".to_owned()),
        ]);
        let made = spec(&rows, &Env::new()).unwrap();
        assert!(rows::rows(&made).is_empty());
        assert_eq!(
            container(&made).unwrap().stop_grace_period,
            Some(10_000_000_000)
        );
    }
}
