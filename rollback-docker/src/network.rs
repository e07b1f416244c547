//! A container's networks, as rows and at the daemon.

use bollard::models::{EndpointIpamConfig, EndpointSettings};
use rollback_core::release::Release;

use crate::container::Container;
use crate::settings::{BY_HAND, CONTAINER, Rows, kind, table, with_table};

/// What was asked of a container's networks: `alias:<name>` for what it is called in its first
/// one, `endpoint:<network>` for what else was asked of that one and for every other.
pub(crate) fn rows(container: &Container, first: &str, rows: &mut Rows) {
    let settings = container.inspect.network_settings.as_ref();
    let networks = settings.and_then(|s| s.networks.as_ref());
    for (name, endpoint) in networks.into_iter().flatten() {
        let is_first = name == first || endpoint.network_id.as_deref() == Some(first);
        let mut asked = asked(container, endpoint);
        if is_first {
            for alias in asked.aliases.take().into_iter().flatten() {
                rows.insert(format!("alias:{alias}"), String::new());
            }
        }
        let name = if is_first { first } else { name };
        if asked != EndpointSettings::default() || !is_first {
            let text = serde_json::to_string(&asked).unwrap_or_default();
            rows.insert(format!("endpoint:{name}"), text);
        }
    }
    if let Some(mac) = &container.chosen_mac {
        rows.insert(format!("mac:{first}"), mac.clone());
    }
}

/// A release with the names and endpoints in its networks that another one has.
pub(crate) fn named_as(release: &Release, other: &Release) -> Release {
    let of = |row: &str| matches!(kind(row), "alias" | "endpoint");
    let facets = [CONTAINER, BY_HAND].into_iter();
    facets.fold(release.clone(), |made, facet| {
        let mut rows = table(release, facet);
        rows.retain(|row, _| !of(row));
        rows.extend(table(other, facet).into_iter().filter(|(row, _)| of(row)));
        with_table(&made, facet, rows)
    })
}

/// An endpoint without what dockerd has given it.
fn asked(container: &Container, endpoint: &EndpointSettings) -> EndpointSettings {
    fn own<T>(list: &Option<Vec<T>>) -> Option<Vec<T>>
    where
        T: Clone,
    {
        list.clone().filter(|list| !list.is_empty())
    }
    let text = |t: &Option<String>| t.clone().filter(|t| !t.is_empty());
    let addresses = endpoint.ipam_config.as_ref().map(|i| EndpointIpamConfig {
        ipv4_address: text(&i.ipv4_address),
        ipv6_address: text(&i.ipv6_address),
        link_local_ips: own(&i.link_local_ips),
    });
    // Until API 1.45 the short id is among them.
    let short = container.summary.short_id();
    let mut aliases: Vec<String> = endpoint.aliases.clone().unwrap_or_default();
    aliases.retain(|a| a != short);
    aliases.sort_unstable();
    EndpointSettings {
        ipam_config: addresses.filter(|a| *a != EndpointIpamConfig::default()),
        links: own(&endpoint.links),
        aliases: own(&Some(aliases)),
        driver_opts: endpoint.driver_opts.clone().filter(|o| !o.is_empty()),
        gw_priority: endpoint.gw_priority.filter(|p| *p != 0),
        ..Default::default()
    }
}
