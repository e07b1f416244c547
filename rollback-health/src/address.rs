//! Where a check connects to: the address that it was given, or that of a successor.

use std::net::Ipv6Addr;

use rollback_core::backend::Address;
use rollback_core::health::{Probe, Unhealthy};

/// The address of a successor's port. The gate does not ask a check that has none.
pub(crate) fn of<'a>(probe: &'a Probe, port: &Option<String>) -> Result<&'a Address, Unhealthy> {
    let address = probe.addresses.of(port.as_deref());
    address.ok_or_else(|| Unhealthy::new("where it answers is not known"))
}

/// Reads `host:port` or `[v6]:port`, or without the port if there is a default. The error
/// says why not, and repeats nothing of what was given.
pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Result<Address, &'static str> {
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
    Ok(Address::new(host, port))
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn parse_port(digits: &str) -> Option<u16> {
    // u16's own parser would take a sign.
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| all_digits && *port != 0)
}
