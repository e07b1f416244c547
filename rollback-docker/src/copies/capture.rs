//! [`Capture`]: whether, and where, a copy of each release's image is kept.

use rollback_core::error::{BackendError, BackendErrorKind};

use super::note::Kept;
use crate::credentials::Logins;
use crate::reference::Reference;
use crate::registry_host::RegistryHost;
use crate::wanted::bad;

/// Whether, and where, a copy of each release's image is kept, so that a way back survives
/// `docker system prune -a` and a clean-up of the registry that the image came from.
///
/// It is made in `prepare`, before anything moves, of what is to be live and of what is: where it
/// cannot be made the deployment fails, and what is live was not touched. It is used where the image
/// is neither here nor to be had where it came from. What leaves the window of retention loses its
/// file; what a registry has is left to the registry, which alone can free it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capture {
    /// No copy.
    #[default]
    Off,
    /// In the state directory, a file for each image as `docker save` writes it. Takes as much of the
    /// disk as the whole image, layers that others have included.
    Archive,
    /// Pushed below this name, `registry.example:5000/rollback`, to a registry that wants credentials:
    /// configured ones, or a provider's.
    Registry(String),
    /// The same at a registry that wants none.
    OpenRegistry(String),
}

impl Capture {
    /// Refuses what could keep nothing.
    pub(crate) fn validate(&self, logins: &Logins) -> Result<(), BackendError> {
        let (Self::Registry(prefix) | Self::OpenRegistry(prefix)) = self else {
            return Ok(());
        };
        let tag = Reference::parse(&format!("{prefix}/x:x"));
        let has_host = prefix
            .split_once('/')
            .is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
        if !has_host || !matches!(tag, Ok(Reference::Tag { .. })) {
            let what = "copies of images are kept below a registry's host and a path in it";
            return Err(bad(what, prefix));
        }
        let host = RegistryHost::of(prefix);
        if matches!(self, Self::Registry(_)) && !logins.may_have(&host) {
            let what =
                "there are no credentials for the registry that copies of images are kept in";
            return Err(BackendError::new(BackendErrorKind::Unauthorized, what)
                .on(host)
                .advice("configure them, or say that it wants none: Capture::OpenRegistry")
                .untouched());
        }
        Ok(())
    }

    /// The repository of a workload's copies.
    pub(super) fn repository(&self, name: &str) -> Option<String> {
        match self {
            Self::Off | Self::Archive => None,
            Self::Registry(prefix) | Self::OpenRegistry(prefix) => Some(format!("{prefix}/{name}")),
        }
    }

    /// Whether a copy is where they are wanted.
    pub(super) fn is_of(&self, kept: &Kept) -> bool {
        match (self, kept) {
            (Self::Archive, Kept::Archive) => true,
            (Self::Registry(prefix) | Self::OpenRegistry(prefix), Kept::At(name)) => {
                let below = name.strip_prefix(prefix.as_str());
                below.is_some_and(|below| below.starts_with('/'))
            }
            _ => false,
        }
    }
}
