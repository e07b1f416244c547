//! [`ContainerPort`]: a port of a container, and its protocol.

use std::fmt;
use std::str::FromStr;

use rollback_core::error::BackendError;

use crate::wanted::bad;

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of a container as docker writes it: `80/tcp`, `53/udp`; TCP where only a number is written.
///
/// ```
/// use rollback_docker::ContainerPort;
/// assert_eq!("53/udp".parse::<ContainerPort>()?, ContainerPort::udp(53));
/// # Ok::<(), rollback_core::error::BackendError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    number: u16,
    protocol: Protocol,
}

impl ContainerPort {
    /// A port of this protocol.
    pub fn new(number: u16, protocol: Protocol) -> Self {
        Self { number, protocol }
    }

    /// A TCP port.
    pub fn tcp(number: u16) -> Self {
        Self::new(number, Protocol::Tcp)
    }

    /// A UDP port.
    pub fn udp(number: u16) -> Self {
        Self::new(number, Protocol::Udp)
    }

    pub(crate) fn number(self) -> u16 {
        self.number
    }

    pub(crate) fn protocol(self) -> Protocol {
        self.protocol
    }

    /// The one that is so many further on; `None` beyond the last.
    pub(crate) fn further(self, by: u16) -> Option<Self> {
        let number = self.number.checked_add(by)?;
        Some(Self { number, ..self })
    }
}

impl FromStr for ContainerPort {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what is no
    /// port from 1 to 65535 of a protocol that docker has.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        };
        let number = number.parse().ok().filter(|number| *number != 0);
        let port = number.zip(protocol).map(|(n, p)| Self::new(n, p));
        port.ok_or_else(|| bad("this is no port such as 80/tcp", text))
    }
}

impl fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}
