//! A release's facets, and the container that they describe.
//!
//! `container` is a table of rows such as `port:80/tcp`, `bind:/data`, `restart`; `env` is a table
//! of fingerprints. What a release says suffices to make its container anew; rows that this crate
//! cannot make (`privileged` on a container made by hand) say so when it is tried.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, HostConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::{Facet, FacetValue, Release};

use crate::config::Secret;
use crate::container::Container;
use crate::fingerprint::Key;

/// The rows of the `container` facet.
pub(crate) type Rows = BTreeMap<String, String>;

pub(crate) const CONTAINER: &str = "container";
pub(crate) const ENV: &str = "env";
pub(crate) const RESTART: &str = "restart";

pub(crate) fn rows(release: &Release) -> Rows {
    match release.facets().get(CONTAINER) {
        Some(Facet::Table(table)) => table
            .iter()
            .filter_map(|(k, v)| match v {
                FacetValue::Plain(v) => Some((k.clone(), v.clone())),
                _ => None,
            })
            .collect(),
        _ => Rows::new(),
    }
}

/// The release with another restart policy.
pub(crate) fn with_restart(release: &Release, row: Option<&String>) -> Release {
    let mut rows = rows(release);
    match row {
        Some(row) => rows.insert(RESTART.into(), row.clone()),
        None => rows.remove(RESTART),
    };
    with_facets(release.clone(), rows, None)
}

/// The release with these rows and, if given, these fingerprints. Empty tables are left out.
pub(crate) fn with_facets(
    release: Release,
    rows: Rows,
    env: Option<BTreeMap<String, String>>,
) -> Release {
    let kept = env.unwrap_or_else(|| fingerprints(&release));
    let mut out = Release::new(release.backend().clone(), release.artifact().clone());
    for (name, facet) in release.facets() {
        if name != CONTAINER && name != ENV {
            out = out.with_facet(name, facet.clone());
        }
    }
    if !rows.is_empty() {
        let table = rows.into_iter().map(|(k, v)| (k, FacetValue::Plain(v)));
        out = out.with_facet(CONTAINER, Facet::Table(table.collect()));
    }
    if !kept.is_empty() {
        let table = kept
            .into_iter()
            .map(|(k, v)| (k, FacetValue::Fingerprint(v)))
            .collect();
        out = out.with_facet(ENV, Facet::Table(table));
    }
    out
}

/// The fingerprints of a release's variables.
pub(crate) fn fingerprints(release: &Release) -> BTreeMap<String, String> {
    match release.facets().get(ENV) {
        Some(Facet::Table(table)) => table
            .iter()
            .map(|(k, v)| match v {
                FacetValue::Fingerprint(v) | FacetValue::Plain(v) => (k.clone(), v.clone()),
                _ => (k.clone(), String::new()),
            })
            .collect(),
        _ => BTreeMap::new(),
    }
}

/// A command line as one row.
pub(crate) fn argv(argv: &[String]) -> String {
    serde_json::Value::from(argv.to_vec()).to_string()
}

/// Fails if a container cannot be made of these rows.
pub(crate) fn check(rows: &Rows) -> Result<(), BackendError> {
    body(rows).map(drop)
}

/// The container that these rows describe, without image, variables and our own labels. It never
/// restarts by itself: that comes when it goes live.
pub(crate) fn body(rows: &Rows) -> Result<ContainerCreateBody, BackendError> {
    let mut host = HostConfig {
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..Default::default()
    };
    let mut body = ContainerCreateBody::default();
    let (mut labels, mut ports, mut binds) = (HashMap::new(), HashMap::new(), Vec::new());
    for (name, value) in rows {
        let bad = || {
            BackendError::new(
                BackendErrorKind::Unsupported,
                "a container with this setting cannot be made here; only the one that has it can \
                 be started again",
            )
            .on(name.chars().take(80).collect::<String>())
            .advice("keep that container, or deploy with a configuration without it")
            .untouched()
        };
        let number = || value.parse::<i64>().map_err(|_| bad());
        let list = || serde_json::from_str::<Vec<String>>(value).map_err(|_| bad());
        match name.split_once(':') {
            Some(("label", label)) => {
                labels.insert(label.to_owned(), value.clone());
            }
            Some(("bind", target)) => {
                let (source, mode) = match value.split_once(':') {
                    Some((source, mode)) => (source, format!(":{mode}")),
                    None => (value.as_str(), String::new()),
                };
                if !target.starts_with('/') || target.contains(':') || source.is_empty() {
                    return Err(bad());
                }
                binds.push(format!("{source}:{target}{mode}"));
            }
            Some(("port", port)) => {
                let bindings = value.split(',').map(|host| {
                    let (ip, host_port) = host.rsplit_once(':').ok_or_else(bad)?;
                    Ok(PortBinding {
                        host_ip: Some(ip.trim_matches(['[', ']']).to_owned()),
                        host_port: Some(host_port.to_owned()),
                    })
                });
                let bindings = bindings.collect::<Result<Vec<_>, BackendError>>()?;
                ports.insert(port.to_owned(), Some(bindings));
            }
            _ => match name.as_str() {
                RESTART => {}
                "user" => body.user = Some(value.clone()),
                "working_dir" => body.working_dir = Some(value.clone()),
                "command" => body.cmd = Some(list()?),
                "entrypoint" => body.entrypoint = Some(list()?),
                "network" => host.network_mode = Some(value.clone()),
                "stop_timeout" => body.stop_timeout = Some(number()?),
                "memory" => host.memory = Some(number()?),
                "nano_cpus" => host.nano_cpus = Some(number()?),
                "cpu_quota" => host.cpu_quota = Some(number()?),
                "cpu_shares" => host.cpu_shares = Some(number()?),
                "pids_limit" => host.pids_limit = Some(number()?),
                "healthcheck" => {
                    body.healthcheck = Some(serde_json::from_str(value).map_err(|_| bad())?);
                }
                _ => return Err(bad()),
            },
        }
    }
    body.exposed_ports = Some(ports.keys().cloned().collect());
    host.port_bindings = Some(ports);
    host.binds = Some(binds);
    body.labels = Some(labels);
    body.host_config = Some(host);
    Ok(body)
}

/// The values of a release's variables: today's where they have the recorded fingerprints, else
/// those of a container that still stands. Fails with the names that nobody has.
pub(crate) fn values(
    release: &Release,
    today: &BTreeMap<String, Secret>,
    kept: &[Container],
    key: &Key,
) -> Result<Vec<(String, Secret)>, Vec<String>> {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for (name, print) in fingerprints(release) {
        let own = today.get(&name).map(|s| s.0.clone());
        let others = kept.iter().flat_map(|c| {
            let env = c.inspect.config.as_ref().and_then(|c| c.env.as_ref());
            env.into_iter()
                .flatten()
                .filter_map(|pair| pair.split_once('='))
                .filter(|(n, _)| *n == name)
                .map(|(_, v)| v.to_owned())
                .collect::<Vec<_>>()
        });
        match own
            .into_iter()
            .chain(others)
            .find(|v| key.of(&name, v) == print)
        {
            Some(value) => found.push((name, Secret(value))),
            None => lost.push(name),
        }
    }
    if lost.is_empty() {
        Ok(found)
    } else {
        Err(lost)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{DockerConfig, Healthcheck};
    use std::time::Duration;

    #[test]
    fn a_configuration_becomes_the_container_it_says() {
        let config = DockerConfig::new("api@web-1".parse().unwrap(), "api", "/state")
            .publish("127.0.0.1:8080".parse().unwrap(), 80)
            .publish("[::1]:8081".parse().unwrap(), 81)
            .bind_read_only("/srv", "/data")
            .label("team", "a")
            .network("host")
            .user("1000")
            .command(["a", "b c"])
            .memory(1 << 26)
            .stop_timeout(Duration::from_secs(3))
            .healthcheck(&Healthcheck::new(["/check"]).retries(2));
        config.validate().unwrap();
        let body = body(&config.rows).unwrap();
        let host = body.host_config.unwrap();
        assert_eq!(body.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(body.stop_timeout, Some(3));
        assert_eq!(body.healthcheck.unwrap().test.unwrap(), ["CMD", "/check"]);
        assert_eq!(host.binds.unwrap(), ["/srv:/data:ro"]);
        assert_eq!(host.memory, Some(1 << 26));
        let ports = host.port_bindings.unwrap();
        let bound = |p: &str| ports[p].clone().unwrap()[0].clone();
        assert_eq!(bound("80/tcp").host_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(bound("81/tcp").host_ip.as_deref(), Some("::1"));
        assert_eq!(bound("81/tcp").host_port.as_deref(), Some("8081"));
        assert_eq!(
            host.restart_policy.unwrap().name,
            Some(RestartPolicyNameEnum::NO)
        );
    }

    #[test]
    fn a_setting_that_cannot_be_made_is_named() {
        let rows = Rows::from([("privileged".to_owned(), "true".to_owned())]);
        let e = check(&rows).unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Unsupported);
        assert!(e.to_string().contains("privileged"), "{e}");
    }

    #[test]
    fn debug_of_a_configuration_shows_no_value() {
        let config = DockerConfig::new("api@web-1".parse().unwrap(), "api", "/state")
            .env("PASSWORD", "hunter2")
            .credentials("me", "hunter3");
        let shown = format!("{config:?}");
        assert!(shown.contains("PASSWORD"));
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
