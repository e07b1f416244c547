//! Policy: what a workload wants recorded, restored and reverted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::millis;
use crate::release::Restore;

/// What happens to deploys that go wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AutoRollback {
    /// They are recorded; a person decides.
    #[default]
    Disarmed,
    /// The engine rolls back to the last healthy release, once.
    Armed,
}

/// Rules for one workload. Recorded with every deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// What a failed gate sets off.
    pub auto_rollback: AutoRollback,
    /// Whether *last healthy* may fall back to the newest earlier release when no earlier one
    /// has any verdict.
    pub fall_back_to_unjudged: bool,
    /// What rollbacks restore; `None` is the backend's default.
    pub restore: Option<Restore>,
    /// How many distinct releases stay reachable for a rollback.
    pub window: usize,
    /// Longest time for each effect.
    pub deadlines: Deadlines,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            auto_rollback: AutoRollback::Disarmed,
            fall_back_to_unjudged: true,
            restore: None,
            window: 30,
            deadlines: Deadlines::default(),
        }
    }
}

/// Longest time for each effect. Overrunning one is `Unknown`: the engine waits for the backend
/// to stop, observes, and decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlines {
    /// `resolve` and `observe`.
    #[serde(with = "millis")]
    pub observe: Duration,
    /// `prepare`: fetch, build, verify.
    #[serde(with = "millis")]
    pub prepare: Duration,
    /// Each release task.
    #[serde(with = "millis")]
    pub task: Duration,
    /// `start`, `switch`, and each on the way back.
    #[serde(with = "millis")]
    pub switch: Duration,
    /// The whole health gate.
    #[serde(with = "millis")]
    pub gate: Duration,
    /// `retire` and `retain`.
    #[serde(with = "millis")]
    pub retire: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            observe: Duration::from_secs(30),
            prepare: Duration::from_secs(15 * 60),
            task: Duration::from_secs(15 * 60),
            switch: Duration::from_secs(2 * 60),
            gate: Duration::from_secs(5 * 60),
            retire: Duration::from_secs(2 * 60),
        }
    }
}
