//! The ports that are published.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rollback_core::error::BackendError;
use rollback_docker::{ContainerPort, DockerConfig};
use serde_json::Value;

use super::fields::{Fields, scalar, unsupported};

/// A port of the container, and where of the host: on which address, if on one alone, and at which
/// port; 0 is any.
#[derive(Debug, PartialEq, Eq)]
struct Published {
    container: ContainerPort,
    ip: Option<IpAddr>,
    host: u16,
}

pub(super) fn apply(
    fields: &mut Fields,
    mut config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    let mut exposed = BTreeMap::new();
    for port in fields.items("ports")? {
        let published = match port {
            Value::Object(_) => of_fields(Fields::at("ports".to_owned(), port)?)?,
            text => of_text(&scalar("ports", &text)?).ok_or_else(|| unsupported("ports"))?,
        };
        let Published {
            container,
            ip,
            host,
        } = published;
        exposed.insert(container.to_string(), serde_json::json!({}));
        config = match ip {
            Some(ip) => config.publish_port(SocketAddr::new(ip, host), container),
            None => config.publish_everywhere(host, container),
        };
    }
    let only_exposed = fields.list("expose")?;
    if !only_exposed.is_empty() {
        for port in only_exposed {
            let port: ContainerPort = port.parse().map_err(|_| unsupported("expose"))?;
            exposed.insert(port.to_string(), serde_json::json!({}));
        }
        config = config.container_config("ExposedPorts", &exposed);
    }
    Ok(config)
}

fn of_fields(mut said: Fields) -> Result<Published, BackendError> {
    let target = said.text("target")?.unwrap_or_default();
    let protocol = said.text("protocol")?.unwrap_or_else(|| "tcp".to_owned());
    let container = format!("{target}/{protocol}").parse();
    let container = container.map_err(|_| unsupported("ports.target"))?;
    let host = match said.text("published")? {
        None => 0,
        Some(text) => text.parse().map_err(|_| unsupported("ports.published"))?,
    };
    let ip = match said.text("host_ip")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| unsupported("ports.host_ip"))?),
    };
    // Which of a Swarm's nodes, and what people call it.
    said.pass_over(&["mode", "name", "app_protocol"]);
    said.finish()?;
    Ok(Published {
        container,
        ip,
        host,
    })
}

/// `[ip:][host:]container[/protocol]`, with single ports.
fn of_text(text: &str) -> Option<Published> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let (rest, target) = match ports.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, ports),
    };
    let container = format!("{target}/{protocol}").parse().ok()?;
    let (ip, host) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, host)) => (Some(ip), host),
            None => (None, rest),
        },
    };
    Some(Published {
        container,
        ip: match ip {
            None => None,
            Some(ip) => Some(ip.trim_matches(['[', ']']).parse().ok()?),
        },
        host: match host {
            "" => 0,
            host => host.parse().ok()?,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_read_in_all_their_spellings() {
        let published = |container, ip: Option<&str>, host| {
            let ip = ip.map(|ip| ip.parse().unwrap());
            Some(Published {
                container,
                ip,
                host,
            })
        };
        let tcp = ContainerPort::tcp(80);
        assert_eq!(of_text("80"), published(tcp, None, 0));
        assert_eq!(of_text("8080:80"), published(tcp, None, 8080));
        let local = Some("127.0.0.1");
        assert_eq!(
            of_text("127.0.0.1:8080:80/tcp"),
            published(tcp, local, 8080)
        );
        assert_eq!(of_text("127.0.0.1::80"), published(tcp, local, 0));
        assert_eq!(of_text("[::1]:8080:80"), published(tcp, Some("::1"), 8080));
        let udp = ContainerPort::udp(53);
        assert_eq!(of_text("53:53/udp"), published(udp, None, 53));
        for bad in ["", "x", "80:x", "8000-8010:80", "x:1:80"] {
            assert_eq!(of_text(bad), None, "{bad}");
        }
    }
}
