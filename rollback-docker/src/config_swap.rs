//! What a [`DockerConfig`] says of how one container takes another's place.

use rollback_core::error::BackendError;

use crate::config::DockerConfig;
use crate::dependents::Dependents;
use crate::drain::Drain;

/// How one container takes another's place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Swap {
    pub(crate) dependents: Dependents,
    pub(crate) drain: Option<Drain>,
}

impl Swap {
    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        self.drain.as_ref().map_or(Ok(()), Drain::validate)
    }
}

impl DockerConfig {
    /// What becomes of other containers that share the live one's network, processes or IPC
    /// (`container:` modes) when it is replaced; they are named unless said otherwise.
    #[must_use]
    pub fn dependents(mut self, dependents: Dependents) -> Self {
        self.swap.dependents = dependents;
        self
    }

    /// What a container that runs is told before it is stopped, in either direction. What it does is
    /// said where it fails, and the switch goes on: a container that cannot be drained is stopped all
    /// the same.
    #[must_use]
    pub fn drain(mut self, drain: Drain) -> Self {
        self.swap.drain = Some(drain);
        self
    }
}
