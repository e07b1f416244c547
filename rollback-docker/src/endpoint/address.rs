//! [`Address`]: a host and a port.

use std::fmt;
use std::net::IpAddr;

use rollback_core::error::BackendError;

use crate::wanted::bad;

/// A host by its name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Result<Self, BackendError> {
        let host = bare(host);
        match is_host(host) {
            true => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            false => Err(no_host()),
        }
    }

    /// `host:port`, or only a host where there is a usual port.
    pub(super) fn parse(text: &str, usual: Option<u16>) -> Result<Self, BackendError> {
        let (host, port) = split(text)?;
        match port.or(usual) {
            Some(port) => Self::new(host, port),
            None => Err(bad("there is no port", host)),
        }
    }

    pub(super) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A host, in brackets or without, and the port if there is one. No text that has anything else in it
/// is repeated: it may be a password.
pub(super) fn split(text: &str) -> Result<(&str, Option<u16>), BackendError> {
    let is_bare_v6 = !text.starts_with('[') && text.matches(':').count() > 1;
    let (host, port) = match text.rfind([':', ']']) {
        Some(at) if !is_bare_v6 && text[at..].starts_with(':') => {
            let port = text[at + 1..].parse().map_err(|_| no_host())?;
            (&text[..at], Some(port))
        }
        _ => (text, None),
    };
    let host = bare(host);
    if is_host(host) {
        Ok((host, port))
    } else {
        Err(no_host())
    }
}

fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn is_host(host: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.chars().all(word);
    host.len() <= 255 && (is_name || host.parse::<IpAddr>().is_ok())
}

fn no_host() -> BackendError {
    bad("this is no host with a port", "a daemon's address")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, host, port) in [
            ("a.example:2376", "a.example", Some(2376)),
            ("a", "a", None),
            ("[::1]:22", "::1", Some(22)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
        ] {
            assert_eq!(split(text).unwrap(), (host, port), "{text}");
        }
        for text in [
            "",
            "-oProxyCommand=x",
            "a:b",
            "me:hunter2@host:1",
            "a:99999",
            "a/b",
        ] {
            let e = split(text).unwrap_err().to_string();
            assert!(!e.contains("hunter2"), "{e}");
        }
    }
}
