//! What a [`DockerConfig`] says of how one container takes another's place.

use std::collections::BTreeSet;

use rollback_core::error::BackendError;

use crate::claims::place;
use crate::config::DockerConfig;
use crate::dependents::Dependents;
use crate::drain::Drain;

/// When a successor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Successor {
    /// Once what is live has stopped.
    #[default]
    Replaces,
    /// Beside what is live; it is judged there, and gets the traffic before the former is stopped.
    ///
    /// Its traffic is what finds it by name in a network that somebody has made: its own name and its
    /// aliases. So it has to be in such a network, and may share no host port, fixed address or data that
    /// is written to with what is live (but see [`share_volume`](DockerConfig::share_volume)): what does
    /// is refused before anything moves. On a network where it has aliases a successor has another address
    /// once it is live, and connections that the former still has are cut when it loses its own, before
    /// it is [drained](DockerConfig::drain); where it is found by its name alone they go on until it is
    /// stopped.
    Beside,
}

/// How one container takes another's place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Swap {
    pub(crate) dependents: Dependents,
    pub(crate) drain: Option<Drain>,
    pub(crate) successor: Successor,
    /// Volumes and directories that both may use at once.
    pub(crate) shared_volumes: BTreeSet<String>,
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
    /// the same. [Beside](Successor::Beside) what is live the former is drained once it has lost the traffic,
    /// and where it had aliases the connections that it had are cut by then.
    #[must_use]
    pub fn drain(mut self, drain: Drain) -> Self {
        self.swap.drain = Some(drain);
        self
    }

    /// When a successor starts: once what is live has stopped, unless said otherwise.
    #[must_use]
    pub fn successor(mut self, successor: Successor) -> Self {
        self.swap.successor = successor;
        self
    }

    /// Data that the live container and a successor [beside](Successor::Beside) it may both use, though one
    /// of them writes to it: a volume's name, or a directory of the host with all that is below it.
    #[must_use]
    pub fn share_volume(mut self, source: impl Into<String>) -> Self {
        self.swap.shared_volumes.insert(place(&source.into()));
        self
    }
}
