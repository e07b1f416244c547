//! What `prepare` made ready, and what bringing it up gave proof of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::address::{Address, Addresses};
use super::operation::Instance;

/// How a backend brings `to` up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rollout {
    /// Stop one, start the other, inside `switch`.
    Replace,
    /// Both can run; `start` brings `to` up without traffic, `switch` moves the traffic.
    Beside,
    /// The platform rolls it out by itself within `switch`, which may take as long as
    /// [`Deadlines::rollout`](crate::policy::Deadlines::rollout) says and can be cancelled.
    Managed,
}

/// How faithfully what is live now can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WayBack {
    /// Exactly as it is.
    Exact,
    /// With these losses.
    Lossy(Vec<String>),
    /// Not at all, and why.
    None(String),
}

/// What `prepare` made ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prepared {
    /// How it will be brought up.
    pub rollout: Rollout,
    /// The operation's `to`, now placed.
    pub to: Instance,
    /// How the operation's `from` can be brought back; proven, not hoped.
    pub way_back: WayBack,
}

impl Prepared {
    /// `to` is placed, will be brought up like this, and what it replaces can be brought back
    /// exactly.
    pub fn new(rollout: Rollout, to: Instance) -> Self {
        Self {
            rollout,
            to,
            way_back: WayBack::Exact,
        }
    }

    /// The same with this way back.
    #[must_use]
    pub fn way_back(mut self, way_back: WayBack) -> Self {
        self.way_back = way_back;
        self
    }
}

/// Proof of what a switch did: names to values such as `invocation_id`, `container`, `pid`,
/// `started_at`. Recorded; no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(pub BTreeMap<String, String>);

impl Evidence {
    /// Adds one piece.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }
}

/// What `start` has brought up beside what is live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Started {
    /// Proof, as [`Evidence`] of a switch.
    pub evidence: Evidence,
    /// Where the instance answers, before it has the traffic. Empty: nowhere that can be named, and
    /// no check that needs an address can judge it there.
    #[serde(default, skip_serializing_if = "Addresses::is_empty")]
    pub addresses: Addresses,
}

impl Started {
    /// It runs, by this proof, and answers nowhere that can be named.
    pub fn new(evidence: Evidence) -> Self {
        Self {
            evidence,
            addresses: Addresses::default(),
        }
    }

    /// Adds where one of its ports answers.
    #[must_use]
    pub fn at(mut self, port: &str, address: Address) -> Self {
        self.addresses = self.addresses.with(port, address);
        self
    }
}
