//! The networks that a container is in.

use rollback_core::error::BackendError;
use rollback_docker::{DockerConfig, MacAddress, NetworkAttachment};
use serde_json::Value;

use super::fields::{Fields, scalar, unsupported};
use super::{Source, named};

pub(super) fn apply(
    fields: &mut Fields,
    source: Source<'_>,
    mut config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    if let Some(mode) = fields.text("network_mode")? {
        if mode.starts_with("service:") {
            return Err(unsupported("network_mode"));
        }
        return Ok(config.network(mode));
    }
    let mut mac = match fields.text("mac_address")? {
        Some(text) => Some(text.parse::<MacAddress>()?),
        None => None,
    };
    let mut joined = Vec::new();
    for (name, said) in said(fields)? {
        let path = fields.path(&format!("networks.{name}"));
        let mut said = Fields::at(path, said)?;
        let network = named(source, "networks", &name)?;
        // By the service's name the others find it, wherever it is.
        let mut attachment = NetworkAttachment::to(network).alias(source.service);
        for alias in said.list("aliases")? {
            attachment = attachment.alias(alias);
        }
        if let Some(text) = said.text("ipv4_address")? {
            let address = text.parse();
            let address = address.map_err(|_| unsupported(&said.path("ipv4_address")))?;
            attachment = attachment.ipv4(address);
        }
        if let Some(text) = said.text("ipv6_address")? {
            let address = text.parse();
            let address = address.map_err(|_| unsupported(&said.path("ipv6_address")))?;
            attachment = attachment.ipv6(address);
        }
        let own_mac = said.text("mac_address")?;
        if let Some(text) = &own_mac {
            attachment = attachment.mac(text.parse()?);
        }
        let priority = said.number("priority")?.unwrap_or(0);
        said.finish()?;
        joined.push((priority, name, attachment, own_mac.is_some()));
    }
    // The first one is the container's own.
    joined.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (_, _, mut attachment, has_mac) in joined {
        if let Some(mac) = mac.take()
            && !has_mac
        {
            attachment = attachment.mac(mac);
        }
        config = config.join(&attachment);
    }
    Ok(config)
}

/// As names alone, or with what is asked of each; the project's own where none is said.
fn said(fields: &mut Fields) -> Result<Vec<(String, Value)>, BackendError> {
    let all = match fields.take("networks") {
        None => Vec::new(),
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| scalar("networks", name));
            let names: Vec<String> = names.collect::<Result<_, _>>()?;
            names.into_iter().map(|name| (name, Value::Null)).collect()
        }
        Some(Value::Object(all)) => all.into_iter().collect(),
        Some(_) => return Err(unsupported("networks")),
    };
    Ok(match all.is_empty() {
        true => vec![("default".to_owned(), Value::Null)],
        false => all,
    })
}
