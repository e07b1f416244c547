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
/// It is made in `prepare` of a release that is new here, and then of what is live as well if that has
/// none: where a new release cannot be copied the deployment fails, and what is live was not touched.
/// Going back to what is known here waits for no copy. A file is used as soon as the image is
/// here no more; what a registry has, once the image is not to be had where it came from, either. What leaves the window of retention loses its file; what a
/// registry has is left to the registry, which alone can free it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture(To);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum To {
    #[default]
    Nowhere,
    Archive,
    Registry {
        prefix: String,
        access: Access,
    },
}

/// Whether a registry has to be given credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Guarded,
    Open,
}

impl Capture {
    /// No copy.
    pub fn off() -> Self {
        Self(To::Nowhere)
    }

    /// In the state directory, a file for each image as `docker save` writes it. Takes as much of the
    /// disk as the whole image, layers that others have included.
    pub fn archive() -> Self {
        Self(To::Archive)
    }

    /// Pushed below this name, `registry.example:5000/rollback`, to a registry that wants credentials:
    /// configured ones, or a provider's.
    pub fn registry(prefix: impl Into<String>) -> Self {
        Self::at(prefix.into(), Access::Guarded)
    }

    /// The same at a registry that wants none.
    pub fn open_registry(prefix: impl Into<String>) -> Self {
        Self::at(prefix.into(), Access::Open)
    }

    fn at(prefix: String, access: Access) -> Self {
        Self(To::Registry { prefix, access })
    }

    pub(super) fn is_off(&self) -> bool {
        self.0 == To::Nowhere
    }

    /// Refuses what could keep nothing.
    pub(crate) fn validate(&self, logins: &Logins) -> Result<(), BackendError> {
        let To::Registry { prefix, access } = &self.0 else {
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
        if *access == Access::Guarded && !logins.may_have(&host) {
            let what =
                "there are no credentials for the registry that copies of images are kept in";
            return Err(BackendError::new(BackendErrorKind::Unauthorized, what)
                .on(host)
                .advice("configure them, or say that it wants none: Capture::open_registry")
                .untouched());
        }
        Ok(())
    }

    /// The repository of a workload's copies.
    pub(super) fn repository(&self, name: &str) -> Option<String> {
        match &self.0 {
            To::Registry { prefix, .. } => Some(format!("{prefix}/{name}")),
            To::Nowhere | To::Archive => None,
        }
    }

    /// Whether a copy is where they are wanted.
    pub(super) fn is_of(&self, kept: &Kept) -> bool {
        match (&self.0, kept) {
            (To::Archive, Kept::Archive { .. }) => true,
            (To::Registry { prefix, .. }, Kept::At(name)) => {
                let below = name.strip_prefix(prefix.as_str());
                below.is_some_and(|below| below.starts_with('/'))
            }
            _ => false,
        }
    }
}
