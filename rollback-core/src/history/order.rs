//! The numbers that a store gives: of deployments, of a workload's states, of its leases.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A deployment's place in the store's own order: given by `begin`, unique, growing. The only
/// order there is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a workload's state: grows with every `begin`, `finish`, `amend` and
/// `abandon`. 0 for a workload the store has never seen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Version(pub u64);

/// How often a workload's lease has changed hands. Every write carries it; an old one is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);
