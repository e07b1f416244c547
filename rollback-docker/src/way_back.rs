//! How faithfully a container can be brought back after another one replaced it.

use std::net::Ipv4Addr;

use bollard::models::EndpointSettings;
use rollback_core::backend::WayBack;

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::live_labels::has_all;
use crate::traffic::has_names;

impl DockerBackend {
    pub(crate) fn way_back(&self, client: &Client, container: &Container) -> WayBack {
        if container.removes_itself() {
            return WayBack::None(
                "it was started with --rm: it removes itself when it stops".into(),
            );
        }
        let is_ours = container.summary.ours.is_some();
        let mut losses = Vec::new();
        if let Some(live) = &self.config.live_labels
            && (container.summary.wears() || (!is_ours && has_all(container, &live.counted_by())))
        {
            // It is made anew to put its labels away.
            losses.push("what it has written outside of volumes".to_owned());
            losses.push("its log".to_owned());
            losses.push("networks that it was joined to by hand".to_owned());
        }
        // Nothing tells what of it somebody has chosen, and to lose an alias it leaves the network.
        if self.is_beside() && !is_ours && client.chooses_macs() {
            let networks = container.inspect.network_settings.as_ref();
            let networks = networks.and_then(|s| s.networks.as_ref());
            let alias = |name: &String| name != container.summary.short_id();
            let leaves = networks.into_iter().flatten().filter(|(name, endpoint)| {
                has_names(name) && endpoint.aliases.iter().flatten().any(alias)
            });
            let macs = leaves.filter_map(|(name, endpoint)| {
                let mac = may_be_chosen(endpoint)?;
                Some(format!("its hardware address {mac} in {name}"))
            });
            losses.extend(macs);
        }
        match losses.is_empty() {
            true => WayBack::Exact,
            false => WayBack::Lossy(losses),
        }
    }
}

/// The hardware address of an endpoint, but for one that dockerd makes of the IPv4 address.
fn may_be_chosen(endpoint: &EndpointSettings) -> Option<&str> {
    let mac = endpoint.mac_address.as_deref().filter(|m| !m.is_empty())?;
    let ip: Option<Ipv4Addr> = endpoint.ip_address.as_ref().and_then(|ip| ip.parse().ok());
    let made = ip.map(|ip| {
        let [a, b, c, d] = ip.octets();
        format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    });
    (made.as_deref() != Some(mac)).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_that_may_have_been_chosen_was_no_loss() {
        let endpoint = |mac: &str| EndpointSettings {
            mac_address: Some(mac.to_owned()),
            ip_address: Some("10.77.0.18".to_owned()),
            ..Default::default()
        };
        assert_eq!(may_be_chosen(&endpoint("02:42:0a:4d:00:12")), None);
        let chosen = "02:42:ac:11:00:99";
        assert_eq!(may_be_chosen(&endpoint(chosen)), Some(chosen));
        assert_eq!(may_be_chosen(&endpoint("")), None);
    }
}
