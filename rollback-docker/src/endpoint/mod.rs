//! [`Endpoint`]: where a daemon is, and how it is reached.

mod address;
mod certificates;
mod context;
mod dial;
mod environment;
mod refusal;
mod ssh;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::path::{Path, PathBuf};

use rollback_core::error::BackendError;

pub use certificates::Certificates;
pub(crate) use dial::Dialer;
pub(crate) use refusal::{Refusal, causes};

use crate::wanted::bad;
use address::Address;
use ssh::Destination;

/// Where a daemon is, and how it is reached.
///
/// Whoever reaches a daemon is root of its machine. So what goes over a network is encrypted, and both
/// ends prove who they are: TCP with certificates ([`tls`](Self::tls)), or ssh ([`ssh`](Self::ssh)).
/// TCP without them is for the loopback address, unless a program says the word
/// ([`unprotected_tcp`](Self::unprotected_tcp)).
///
/// `Debug` and `Display` show no key, no password and no user.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Way);

#[derive(Clone, PartialEq, Eq)]
enum Way {
    Unix(PathBuf),
    Tcp(Address),
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    Tls(Address, Certificates),
    Ssh(Destination),
}

impl Endpoint {
    /// A Unix socket of this machine: dockerd's, or Podman's.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self(Way::Unix(path.into()))
    }

    /// TCP to this machine, without encryption: whoever may connect to the port is root here.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for a host that is
    /// not the loopback address or `localhost`.
    pub fn tcp(host: &str, port: u16) -> Result<Self, BackendError> {
        let address = Address::new(host, port)?;
        if address.is_loopback() {
            return Ok(Self(Way::Tcp(address)));
        }
        Err(
            bad("TCP without certificates goes to this machine alone", host)
                .advice("use certificates (DOCKER_TLS_VERIFY) or ssh"),
        )
    }

    /// TCP to any machine, without encryption and without any proof of who is at either end: for a
    /// network that is itself both private and encrypted.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for no host.
    pub fn unprotected_tcp(host: &str, port: u16) -> Result<Self, BackendError> {
        Ok(Self(Way::Tcp(Address::new(host, port)?)))
    }

    /// TCP with TLS: the daemon has a certificate of the CA for this very host, and this program shows
    /// its own.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for no host. What is
    /// wrong with a certificate is told once it is used:
    /// [`Unauthorized`](rollback_core::error::BackendErrorKind::Unauthorized).
    #[cfg(feature = "tls")]
    pub fn tls(host: &str, port: u16, certificates: Certificates) -> Result<Self, BackendError> {
        Ok(Self(Way::Tls(Address::new(host, port)?, certificates)))
    }

    /// Through the `ssh` program, and docker's own client at the other end (`docker system dial-stdio`):
    /// `host`, `user@host`, `user@host:port`, with or without `ssh://`.
    ///
    /// Who the host is, and with which key it is logged in to, is ssh's to know: it is never asked for
    /// a password, and refuses a host whose key it does not know, whatever its configuration says. Each request is a connection; let ssh
    /// share one (`ControlMaster` with `ControlPersist`) if that takes too long.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what is no
    /// destination, or has a password in it.
    pub fn ssh(destination: &str) -> Result<Self, BackendError> {
        Ok(Self(Way::Ssh(Destination::parse(destination)?)))
    }

    /// The same, by this configuration of ssh (`-F`) in place of the user's.
    ///
    /// # Errors
    ///
    /// As [`ssh`](Self::ssh).
    pub fn ssh_configured(
        destination: &str,
        config: impl Into<PathBuf>,
    ) -> Result<Self, BackendError> {
        let destination = Destination::parse(destination)?;
        Ok(Self(Way::Ssh(destination.configured(config.into()))))
    }

    /// The daemon that docker's own client would talk to: `DOCKER_HOST` (with `DOCKER_TLS_VERIFY` and
    /// `DOCKER_CERT_PATH`), else the context that `DOCKER_CONTEXT` or docker's configuration names,
    /// else `/var/run/docker.sock`. Reads files.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what cannot be
    /// understood, or is TCP without certificates to another machine;
    /// [`NotFound`](rollback_core::error::BackendErrorKind::NotFound) for a context that is none;
    /// [`Unsupported`](rollback_core::error::BackendErrorKind::Unsupported) for a context whose
    /// certificates are not to be verified, or TLS where this crate was built without `tls`.
    pub fn from_env() -> Result<Self, BackendError> {
        environment::of(&|name| std::env::var(name).ok())
    }

    /// The daemon of one of docker's contexts, by its name. Reads files.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn context(name: &str) -> Result<Self, BackendError> {
        let vars = |name: &str| std::env::var(name).ok();
        context::named(&environment::config_dir(&vars)?, name)
    }

    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let is_absolute = |path: &Path| match path.is_absolute() {
            true => Ok(()),
            false => Err(bad("the path is not absolute", &path.display().to_string())),
        };
        match &self.0 {
            Way::Unix(path) => is_absolute(path),
            Way::Tcp(_) => Ok(()),
            Way::Tls(_, certificates) => certificates.paths().try_for_each(is_absolute),
            Way::Ssh(destination) => destination.config().map_or(Ok(()), is_absolute),
        }
    }
}

/// Docker's usual socket on this machine.
impl Default for Endpoint {
    fn default() -> Self {
        Self::unix(environment::SOCKET)
    }
}

/// Without users and keys: a place is named after it, unless its daemon has a name. Two users of one host
/// whose docker is not the same, or one alias of two configurations of ssh, read alike.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Way::Unix(path) => write!(f, "unix://{}", path.display()),
            Way::Tcp(address) | Way::Tls(address, _) => write!(f, "tcp://{address}"),
            Way::Ssh(destination) => write!(f, "ssh://{destination}"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tcp_without_certificates_needs_a_word_but_for_this_machine() {
        for host in ["127.0.0.1", "::1", "localhost", "127.8.9.1"] {
            Endpoint::tcp(host, 2375).unwrap();
        }
        for host in ["10.0.0.1", "localhost.example", "0.0.0.0", "2001:db8::1"] {
            Endpoint::tcp(host, 2375).unwrap_err();
            Endpoint::unprotected_tcp(host, 2375).unwrap();
        }
        Endpoint::unprotected_tcp("a b", 1).unwrap_err();
    }

    #[test]
    fn a_place_is_the_same_whoever_reaches_it() {
        let shown = |endpoint: Result<Endpoint, BackendError>| endpoint.unwrap().to_string();
        assert_eq!(shown(Endpoint::tcp("::1", 2375)), "tcp://[::1]:2375");
        assert_eq!(shown(Endpoint::ssh("me@host:22")), "ssh://host:22");
        assert_eq!(shown(Endpoint::ssh("ssh://host")), "ssh://host");
        assert_eq!(
            Endpoint::unix("/run/d.sock").to_string(),
            "unix:///run/d.sock"
        );
    }
}
