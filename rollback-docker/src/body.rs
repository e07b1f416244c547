//! [`Blueprint`]: what a container is made of, from its rows.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkingConfig, PortBinding,
};
use rollback_core::error::{BackendError, BackendErrorKind};
use serde_json::Value;

use crate::attachment::MacAddress;
use crate::restart::RestartPolicy;
use crate::settings::{PLATFORM, RESTART, Rows};

/// A container to be made, without image, variables and our own labels. It never restarts by
/// itself: that comes when it goes live.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blueprint {
    pub(crate) body: ContainerCreateBody,
    /// The networks that it joins besides its first. Before API 1.44 dockerd takes only one when
    /// a container is made.
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// Which of an image's platforms it is made of, where the configuration says so.
    pub(crate) platform: Option<String>,
}

impl Blueprint {
    /// Fails, naming the row, if no container can be made with it.
    pub(crate) fn new(rows: &Rows) -> Result<Self, BackendError> {
        let mut host = HostConfig {
            restart_policy: Some(RestartPolicy::No.docker()),
            ..Default::default()
        };
        let mut body = ContainerCreateBody::default();
        let (mut labels, mut ports, mut binds) = (HashMap::new(), HashMap::new(), Vec::new());
        // What is passed on as dockerd has shown it.
        let (mut of_host, mut of_config) = (Vec::new(), Vec::new());
        let (mut platform, mut macs) = (None, Vec::new());
        let (mut aliases, mut endpoints) = (Vec::new(), BTreeMap::new());
        for (name, value) in rows {
            let bad = || unsupported(name);
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
                    let bindings = value.split(',').map(|at| binding(at).ok_or_else(bad));
                    let bindings = bindings.collect::<Result<Vec<_>, _>>()?;
                    ports.insert(port.to_owned(), Some(bindings));
                }
                Some(("alias", alias)) => aliases.push(alias.to_owned()),
                Some(("endpoint", network)) => {
                    let endpoint: EndpointSettings =
                        serde_json::from_str(value).map_err(|_| bad())?;
                    endpoints.insert(network.to_owned(), endpoint);
                }
                Some(("mac", network)) => {
                    let mac: MacAddress = value.parse().map_err(|_| bad())?;
                    macs.push((network.to_owned(), mac.to_string()));
                }
                Some(("host", field)) => of_host.push((name, field, value)),
                Some(("config", field)) => of_config.push((name, field, value)),
                _ => match name.as_str() {
                    RESTART => {}
                    PLATFORM => platform = Some(value.clone()),
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
        let main = first_network(host.network_mode.as_deref());
        for (network, mac) in macs {
            let endpoint: &mut EndpointSettings = endpoints.entry(network).or_default();
            endpoint.mac_address = Some(mac);
        }
        if !aliases.is_empty() {
            let endpoint: &mut EndpointSettings = endpoints.entry(main.clone()).or_default();
            endpoint.aliases.get_or_insert_default().extend(aliases);
        }
        if let Some(first) = endpoints.remove(&main) {
            body.networking_config = Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(main, first)])),
            });
        }
        body.exposed_ports = Some(ports.keys().cloned().collect());
        host.port_bindings = Some(ports);
        host.binds = Some(binds);
        body.labels = Some(labels);
        body.host_config = Some(passed_on(host, of_host)?);
        Ok(Self {
            body: passed_on(body, of_config)?,
            networks: endpoints,
            platform,
        })
    }
}

/// The network that a container is made in, by the name under which dockerd lists it.
pub(crate) fn first_network(mode: Option<&str>) -> String {
    match mode {
        None | Some("" | "default") => "bridge".to_owned(),
        Some(mode) => mode.to_owned(),
    }
}

/// Puts fields in as dockerd has shown them, one by one, so that one it does not fit is named.
fn passed_on<T>(into: T, fields: Vec<(&String, &str, &String)>) -> Result<T, BackendError>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let mut into = into;
    for (row, field, text) in fields {
        let put = || -> Option<T> {
            let mut whole = serde_json::to_value(&into).ok()?;
            let shown: Value = serde_json::from_str(text).ok()?;
            whole
                .as_object_mut()?
                .insert(field.to_owned(), shown.clone());
            let made: T = serde_json::from_value(whole).ok()?;
            // A field that this version does not know would be left out without a word.
            let kept = serde_json::to_value(&made).ok()?;
            (kept.get(field) == Some(&shown)).then_some(made)
        };
        into = put().ok_or_else(|| unsupported(row))?;
    }
    Ok(into)
}

fn binding(at: &str) -> Option<PortBinding> {
    let (ip, port) = at.rsplit_once(':')?;
    Some(PortBinding {
        host_ip: Some(ip.trim_matches(['[', ']']).to_owned()),
        host_port: Some(port.to_owned()),
    })
}

pub(crate) fn unsupported(row: &str) -> BackendError {
    BackendError::new(
        BackendErrorKind::Unsupported,
        "a container with this setting cannot be made here; only the one that has it can be \
         started again",
    )
    .on(row.chars().take(80).collect::<String>())
    .advice(
        "keep that container, or say in the configuration what is to be in its place, or that it \
         is left out (`without`)",
    )
    .untouched()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::choices::Healthcheck;
    use crate::config::DockerConfig;
    use std::time::Duration;

    #[test]
    fn a_configuration_becomes_the_container_it_says() {
        let config = DockerConfig::new("api@web-1".parse().unwrap(), "api", "/state")
            .publish("127.0.0.1:8080".parse().unwrap(), 80)
            .publish("[::1]:8080".parse().unwrap(), 80)
            .publish("[::1]:8081".parse().unwrap(), 81)
            .bind_read_only("/srv", "/data")
            .label("team", "a")
            .network("web")
            .alias("api")
            .user("1000")
            .command(["a", "b c"])
            .memory(1 << 26)
            .stop_timeout(Duration::from_secs(3))
            .healthcheck(&Healthcheck::new(["/check"]).retries(2));
        config.validate().unwrap();
        let body = Blueprint::new(&config.wanted.rows).unwrap().body;
        let host = body.host_config.unwrap();
        assert_eq!(body.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(body.stop_timeout, Some(3));
        assert_eq!(body.healthcheck.unwrap().test.unwrap(), ["CMD", "/check"]);
        assert_eq!(host.binds.unwrap(), ["/srv:/data:ro"]);
        assert_eq!(host.memory, Some(1 << 26));
        let endpoints = body.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(endpoints["web"].aliases, Some(vec!["api".to_owned()]));
        let ports = host.port_bindings.unwrap();
        let bound = |p: &str| -> Vec<(String, String)> {
            let all = ports[p].clone().unwrap().into_iter();
            all.map(|b| (b.host_ip.unwrap(), b.host_port.unwrap()))
                .collect()
        };
        let at = |ip: &str, port: &str| (ip.to_owned(), port.to_owned());
        assert_eq!(
            bound("80/tcp"),
            [at("127.0.0.1", "8080"), at("::1", "8080")]
        );
        assert_eq!(bound("81/tcp"), [at("::1", "8081")]);
        assert_eq!(
            RestartPolicy::seen(&host.restart_policy.unwrap()),
            RestartPolicy::No
        );
    }

    #[test]
    fn a_setting_that_cannot_be_made_is_named() {
        for row in ["volume:/data", "mac:web", "host:NoSuchField", "nonsense"] {
            let rows = Rows::from([(row.to_owned(), "true".to_owned())]);
            let e = Blueprint::new(&rows).unwrap_err();
            assert_eq!(e.kind(), BackendErrorKind::Unsupported);
            assert!(e.to_string().contains(row), "{e}");
        }
    }
}
