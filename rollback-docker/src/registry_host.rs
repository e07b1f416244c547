//! [`RegistryHost`]: which registry, however its name is written.

use std::fmt;
use std::str::FromStr;

use rollback_core::error::BackendError;

use crate::reference::{HUB, host_of, parse_host};
use crate::wanted::bad;

/// A registry's host, and its port where it has one, as in the names of its images; `docker.io` for
/// Docker's own. Read as people and `docker login` write it: with a scheme, a path, in capitals.
///
/// ```
/// use rollback_docker::RegistryHost;
/// let hub: RegistryHost = "https://index.docker.io/v1/".parse()?;
/// assert_eq!(hub.as_str(), "docker.io");
/// # Ok::<(), rollback_core::error::BackendError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// The registry that an image comes from.
    pub(crate) fn of(image: &str) -> Self {
        Self(host_of(image))
    }

    /// As in the names of its images.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As docker's configuration and its helpers call it: Docker's own has an old name there.
    pub fn server(&self) -> &str {
        match self.0.as_str() {
            HUB => "https://index.docker.io/v1/",
            host => host,
        }
    }
}

impl FromStr for RegistryHost {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what is no
    /// host.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        parse_host(text)
            .map(Self)
            .ok_or_else(|| bad("this is not a registry's host", text))
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
