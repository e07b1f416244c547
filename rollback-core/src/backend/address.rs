//! [`Address`] and [`Addresses`]: where an instance answers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A host, by name or number, and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Address {
    /// The host: a name, or an IP address without brackets.
    pub host: String,
    /// The TCP port, on that host.
    pub port: u16,
}

impl Address {
    /// A port of a host.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

/// As in a URL: an IPv6 address has its brackets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where an instance answers, by the names of its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Addresses(BTreeMap<String, Address>);

impl Addresses {
    /// Adds the address of a port.
    #[must_use]
    pub fn with(mut self, port: impl Into<String>, address: Address) -> Self {
        self.0.insert(port.into(), address);
        self
    }

    /// The address of the port of this name; without a name, that of the only one. `None` where
    /// there is none, or where one of several would be a guess.
    pub fn of(&self, port: Option<&str>) -> Option<&Address> {
        match (port, self.0.len()) {
            (Some(port), _) => self.0.get(port),
            (None, 1) => self.0.values().next(),
            (None, _) => None,
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Address)> {
        self.0
            .iter()
            .map(|(port, address)| (port.as_str(), address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_ports_none_is_guessed() {
        let one = Addresses::default().with("http", Address::new("10.0.0.2", 80));
        assert_eq!(
            one.of(None).map(ToString::to_string).as_deref(),
            Some("10.0.0.2:80")
        );
        assert_eq!(one.of(Some("admin")), None);
        let two = one.with("admin", Address::new("::1", 81));
        assert_eq!(two.of(None), None);
        assert_eq!(
            two.of(Some("admin")).map(ToString::to_string).as_deref(),
            Some("[::1]:81")
        );
    }
}
