//! [`Claims`]: what a container has to itself on its host, so that no other one can run beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use bollard::models::{EndpointSettings, HostConfig, MountType};
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::body::first_network;
use crate::container::Container;
use crate::traffic::joined_as;

/// Host ports, addresses and data of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Address of the host, where it is a certain one, port and protocol.
    ports: BTreeSet<(Option<IpAddr>, u16, String)>,
    /// By the network and the address, of whatever kind.
    addresses: BTreeSet<(String, String)>,
    /// Whether somebody has chosen a hardware address.
    pub(crate) has_chosen_mac: bool,
    /// Volumes and directories of the host, and whether it writes there.
    data: BTreeMap<String, bool>,
}

impl Claims {
    pub(crate) fn of_container(container: &Container) -> Self {
        let host = container.inspect.host_config.clone().unwrap_or_default();
        let settings = container.inspect.network_settings.as_ref();
        let mut networks = settings
            .and_then(|s| s.networks.clone())
            .unwrap_or_default();
        let first = first_network(host.network_mode.as_deref());
        let first = joined_as(container, &first).map(|(name, _)| name);
        for (name, endpoint) in &mut networks {
            // What dockerd shows is its own.
            let chosen = container.chosen_mac.clone();
            endpoint.mac_address = chosen.filter(|_| Some(name) == first);
        }
        let mut claims = Self::of(&host, networks.iter());
        claims.mounts(container, true);
        claims
    }

    /// What a container has mounted, as dockerd has found it: what it has of other containers is among
    /// it. Who takes it over may be kept from writing.
    pub(crate) fn mounts(&mut self, container: &Container, may_write: bool) {
        for mount in container.inspect.mounts.iter().flatten() {
            let source = match mount.typ.as_deref() {
                Some("volume") => mount.name.as_deref(),
                Some("bind") => mount.source.as_deref(),
                _ => None,
            };
            if let Some(source) = source.filter(|source| !source.is_empty()) {
                self.uses(source, may_write && mount.rw != Some(false));
            }
        }
    }

    /// Of a container's host configuration and of what is asked in its networks, by their names: an id
    /// would pass for another one.
    pub(crate) fn of<'a>(
        host: &HostConfig,
        networks: impl Iterator<Item = (&'a String, &'a EndpointSettings)>,
    ) -> Self {
        let mut claims = Self::default();
        for (port, bindings) in host.port_bindings.iter().flatten() {
            let protocol = port.split_once('/').map_or("tcp", |(_, protocol)| protocol);
            for binding in bindings.iter().flatten() {
                let ip = binding.host_ip.as_ref().and_then(|ip| ip.parse().ok());
                let ip = ip.filter(|ip: &IpAddr| !ip.is_unspecified());
                let number = binding.host_port.as_ref().and_then(|n| n.parse().ok());
                // Without a number dockerd chooses one that is free.
                let number = number.filter(|n| *n != 0);
                let port = number.map(|n| (ip, n, protocol.to_owned()));
                claims.ports.extend(port);
            }
        }
        for (network, endpoint) in networks {
            let fixed = endpoint.ipam_config.as_ref();
            let fixed = fixed.map(|i| [i.ipv4_address.clone(), i.ipv6_address.clone()]);
            let fixed = fixed.into_iter().flatten().flatten();
            let fixed = fixed.filter(|address| !address.is_empty());
            claims.addresses.extend(fixed.map(|a| (network.clone(), a)));
            let mac = endpoint.mac_address.clone().filter(|mac| !mac.is_empty());
            claims.has_chosen_mac |= mac.is_some();
            claims
                .addresses
                .extend(mac.map(|mac| (network.clone(), mac)));
        }
        for bind in host.binds.iter().flatten() {
            let mut parts = bind.splitn(3, ':');
            if let (Some(source), Some(_)) = (parts.next(), parts.next()) {
                let mut modes = parts.next().into_iter().flat_map(|m| m.split(','));
                claims.uses(source, !modes.any(|mode| mode == "ro"));
            }
        }
        for mount in host.mounts.iter().flatten() {
            let is_data = matches!(mount.typ, Some(MountType::BIND | MountType::VOLUME));
            let source = mount.source.as_deref().filter(|s| is_data && !s.is_empty());
            if let Some(source) = source {
                claims.uses(source, mount.read_only != Some(true));
            }
        }
        claims
    }

    /// The same of a daemon whose directories are this machine's: however links lead to them.
    pub(crate) fn on_this_machine(mut self) -> Self {
        for (source, writes) in std::mem::take(&mut self.data) {
            *self.data.entry(real(&source)).or_default() |= writes;
        }
        self
    }

    fn uses(&mut self, source: &str, writes: bool) {
        let written = self.data.entry(place(source)).or_default();
        *written |= writes;
    }

    /// The first thing that both cannot have at once, but for data that may be shared.
    pub(crate) fn shared_with(&self, other: &Self, may_share: &BTreeSet<String>) -> Option<String> {
        for (ip, port, protocol) in &self.ports {
            let same = other.ports.iter().any(|(its, number, its_protocol)| {
                let everywhere = ip.is_none() || its.is_none() || ip == its;
                everywhere && number == port && its_protocol == protocol
            });
            if same {
                return Some(format!("the host's port {port}/{protocol}"));
            }
        }
        let mut addresses = self.addresses.intersection(&other.addresses);
        if let Some((network, address)) = addresses.next() {
            return Some(format!("the address {address} in {network}"));
        }
        for (source, writes) in &self.data {
            let same = |its: &String| within(source, its) || within(its, source);
            // What both have is the inner one of two directories.
            let is_allowed = |its: &String| {
                let inner = if within(source, its) { source } else { its };
                may_share.iter().any(|all| within(inner, all))
            };
            let mut both = other.data.iter().filter(|(its, _)| same(its));
            let refused =
                both.any(|(its, its_writes)| (*writes || *its_writes) && !is_allowed(its));
            if refused {
                return Some(format!("{source}, which one of them writes to"));
            }
        }
        None
    }
}

/// A volume by its name, and a directory of the host however it is written: as dockerd does, which
/// takes `..` for what it looks like.
pub(crate) fn place(source: &str) -> String {
    if !source.starts_with('/') {
        return source.to_owned();
    }
    let mut path = PathBuf::from("/");
    for part in Path::new(source).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// Where links lead to that are in the path of a directory, as far as it is there.
pub(crate) fn real(source: &str) -> String {
    let mut ancestors = Path::new(source).ancestors().filter(|a| a.is_absolute());
    let found = ancestors.find_map(|a| {
        let real = a.canonicalize().ok()?;
        Some(real.join(Path::new(source).strip_prefix(a).ok()?))
    });
    found.map_or(source.to_owned(), |found| place(&found.to_string_lossy()))
}

/// Whether a path is this directory, or below it; a volume is only itself.
fn within(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    path == directory
        || (directory.starts_with('/') && rest.is_some_and(|rest| rest.starts_with('/')))
}

/// Why one cannot run beside the other.
pub(crate) fn not_beside(why: &str, name: &str) -> BackendError {
    BackendError::new(
        BackendErrorKind::Unsupported,
        format!("a successor cannot run beside the live container: {why}"),
    )
    .on(name)
    .advice(
        "replace it instead (`Successor::Replaces`), publish no port and fix no address, or say that \
         both may use the same data (`share_volume`)",
    )
    .untouched()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bollard::models::{Mount, PortBinding};
    use std::collections::HashMap;

    fn published(ip: &str, port: &str) -> Claims {
        let binding = PortBinding {
            host_ip: Some(ip.to_owned()),
            host_port: Some(port.to_owned()),
        };
        let ports = HashMap::from([("80/tcp".to_owned(), Some(vec![binding]))]);
        let host = HostConfig {
            port_bindings: Some(ports),
            ..Default::default()
        };
        Claims::of(&host, std::iter::empty())
    }

    fn bound(bind: &str) -> Claims {
        let host = HostConfig {
            binds: Some(vec![bind.to_owned()]),
            ..Default::default()
        };
        Claims::of(&host, std::iter::empty())
    }

    #[test]
    fn one_directory_in_two_spellings_was_two() {
        let none = BTreeSet::new();
        let shared = |a: &Claims, b: &Claims| a.shared_with(b, &none).is_some();
        let data = bound("/srv/data:/data");
        for spelled in ["/srv/./data", "/srv/x/../data", "/../srv//data/"] {
            assert!(shared(&data, &bound(&format!("{spelled}:/d"))), "{spelled}");
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        let bound_at = |name: &str| bound(&format!("{}:/d", at(name).display()));
        // Also what dockerd is yet to make.
        for (one, other) in [
            ("real", "link"),
            ("real/new", "link/new"),
            ("real", "link/new"),
        ] {
            let both = [bound_at(one), bound_at(other)].map(Claims::on_this_machine);
            assert!(shared(&both[0], &both[1]), "{one}, {other}");
            let allowed = BTreeSet::from([real(&at("link").to_string_lossy())]);
            assert_eq!(both[0].shared_with(&both[1], &allowed), None);
        }
        assert_eq!(real("data"), "data");
    }

    #[test]
    fn what_two_containers_cannot_both_have_is_named() {
        let none = BTreeSet::new();
        let shared = |a: &Claims, b: &Claims| a.shared_with(b, &none).is_some();
        let everywhere = published("0.0.0.0", "80");
        assert!(shared(&everywhere, &published("127.0.0.1", "80")));
        assert!(!shared(&everywhere, &published("127.0.0.1", "81")));
        assert!(!shared(
            &published("127.0.0.1", "80"),
            &published("10.0.0.1", "80")
        ));
        assert!(
            !shared(&published("", ""), &published("", "")),
            "dockerd chooses"
        );
        let data = bound("data:/data");
        assert!(shared(&data, &data) && shared(&data, &bound("data:/other:ro")));
        assert!(!shared(&bound("data:/data:ro"), &bound("data:/data:ro,z")));
        assert!(!shared(&data, &bound("data2:/data")));
        assert!(shared(&bound("/srv/a:/a"), &bound("/srv/a/b:/b:ro")));
        assert!(!shared(&bound("/srv/a:/a"), &bound("/srv/ab:/b")));
        let allowed = BTreeSet::from(["data".to_owned()]);
        assert_eq!(data.shared_with(&data, &allowed), None);
        // However a directory is written, and in either direction.
        let allowed = BTreeSet::from([place("/srv//a/")]);
        let (outer, inner) = (bound("/srv/:/srv"), bound("/srv/./a:/a"));
        assert_eq!(inner.shared_with(&outer, &allowed), None);
        assert_eq!(outer.shared_with(&inner, &allowed), None);
        assert!(outer.shared_with(&outer, &allowed).is_some());
        assert!(shared(&bound("/srv/a/:/a"), &bound("/srv/a:/b")));
        let mount = Mount {
            typ: Some(MountType::VOLUME),
            source: Some("data".to_owned()),
            ..Default::default()
        };
        let host = HostConfig {
            mounts: Some(vec![mount]),
            ..Default::default()
        };
        assert!(shared(&data, &Claims::of(&host, std::iter::empty())));
    }
}
