//! [`NetworkAttachment`]: a network that a container is in, and what it is there.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bollard::models::{EndpointIpamConfig, EndpointSettings};
use rollback_core::error::BackendError;

use crate::wanted::bad;

/// A network, the names by which others find the container there, and the addresses that it has there
/// whenever it is made. Fixed addresses need a network with a subnet of its own; two containers cannot
/// have the same at once, which a replacement minds: the former has stopped before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAttachment {
    pub(crate) network: String,
    pub(crate) aliases: Vec<String>,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    pub(crate) mac: Option<MacAddress>,
}

impl NetworkAttachment {
    /// To this network, with what docker gives there.
    pub fn to(network: impl Into<String>) -> Self {
        Self {
            network: network.into(),
            aliases: Vec::new(),
            ipv4: None,
            ipv6: None,
            mac: None,
        }
    }

    /// A name by which other containers of the network find it.
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.aliases.push(name.into());
        self.aliases.sort_unstable();
        self.aliases.dedup();
        self
    }

    /// Its IPv4 address there.
    #[must_use]
    pub fn ipv4(mut self, address: Ipv4Addr) -> Self {
        self.ipv4 = Some(address);
        self
    }

    /// Its IPv6 address there.
    #[must_use]
    pub fn ipv6(mut self, address: Ipv6Addr) -> Self {
        self.ipv6 = Some(address);
        self
    }

    /// Its hardware address there. Before API 1.44 only that in a container's first network can be
    /// chosen; that of another is refused.
    #[must_use]
    pub fn mac(mut self, address: MacAddress) -> Self {
        self.mac = Some(address);
        self
    }

    /// As a row keeps it, the hardware address aside; `None` where nothing is asked for but to be in
    /// it.
    pub(crate) fn endpoint(&self, aliases: &[String]) -> Option<EndpointSettings> {
        let addresses = EndpointIpamConfig {
            ipv4_address: self.ipv4.map(|address| address.to_string()),
            ipv6_address: self.ipv6.map(|address| address.to_string()),
            link_local_ips: None,
        };
        let endpoint = EndpointSettings {
            ipam_config: Some(addresses).filter(|a| *a != EndpointIpamConfig::default()),
            aliases: Some(aliases.to_vec()).filter(|aliases| !aliases.is_empty()),
            ..Default::default()
        };
        Some(endpoint).filter(|endpoint| *endpoint != EndpointSettings::default())
    }
}

/// A hardware address of one interface, `02:42:ac:11:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress([u8; 6]);

impl FromStr for MacAddress {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what is not
    /// six pairs of hex digits with colons between them, or is no single interface's.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        let all = octets.iter_mut().all(|octet| {
            let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
            let hex = parts.next().filter(|part| part.len() == 2 && is_hex(part));
            let parsed = hex.and_then(|part| u8::from_str_radix(part, 16).ok());
            parsed.map(|parsed| *octet = parsed).is_some()
        });
        // The lowest bit of the first one says that it is a group's.
        match all && parts.next().is_none() && octets[0] & 1 == 0 {
            true => Ok(Self(octets)),
            false => Err(bad("this is no interface's hardware address", text)),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
