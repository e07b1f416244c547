//! [`Address`]: where a check connects to.

use std::fmt;
use std::net::Ipv6Addr;

/// A host and a port, both plausible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Reads `host:port` or `[v6]:port`, or without the port if there is a default. The error
    /// says why not, and repeats nothing of what was given.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Result<Self, &'static str> {
        if text.contains('@') {
            return Err("a password does not belong in an address");
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("the [ is not closed")?;
                host.parse::<Ipv6Addr>()
                    .map_err(|_| "it has no IPv6 address in its []")?;
                (host, port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                if host.is_empty() {
                    return Err("it has no host");
                }
                if !host.bytes().all(is_of_a_name) {
                    return Err("its host is no name and no IP address");
                }
                (host, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => parse_port(digits).ok_or("its port is not one of 1 to 65535")?,
            None if port.is_empty() => default_port.ok_or("it has no port")?,
            None => return Err("a : must follow the ]"),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// For the resolver: without brackets.
    pub(crate) fn target(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn parse_port(digits: &str) -> Option<u16> {
    // u16's own parser would take a sign.
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| all_digits && *port != 0)
}
