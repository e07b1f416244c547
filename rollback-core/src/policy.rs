//! Policy: what a workload wants recorded, restored and reverted.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::health::{Gate, millis};
use crate::id::{InvalidId, one_of};
use crate::release::Restore;

/// Setters for fields that a later version may add to.
macro_rules! setters {
    ($($field:ident: $type:ty),* $(,)?) => {$(
        #[doc = concat!("The same with another `", stringify!($field), "`.")]
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    )*};
}

/// What is kept of a workload's deployments, and what a failed gate sets off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RollbackMode {
    /// Deployments are logged, but none becomes a rollback point: nothing is captured or pinned
    /// for it, and nothing is rolled back automatically. Points recorded before stay.
    Off,
    /// Each deployment is a rollback point; when one goes wrong, a person decides.
    #[default]
    #[serde(alias = "disarmed")]
    Record,
    /// The same, and a release that fails its gate is rolled back to the last healthy one, once.
    #[serde(alias = "armed")]
    Auto,
}

impl RollbackMode {
    /// The mode as stores and people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Record => "record",
            Self::Auto => "auto",
        }
    }
}

/// From the word that [`RollbackMode::as_str`] gives.
impl FromStr for RollbackMode {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let all = [Self::Off, Self::Record, Self::Auto];
        one_of("rollback mode", s, all.map(|mode| (mode.as_str(), mode)))
    }
}

impl fmt::Display for RollbackMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How much is kept: the newest `newest`, or everything younger than `days`, whichever is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Keep {
    /// So many of the newest.
    pub newest: usize,
    /// Everything younger than so many days.
    pub days: u32,
}

impl Keep {
    /// The newest `newest` or `days` days, whichever is more.
    pub const fn new(newest: usize, days: u32) -> Self {
        Self { newest, days }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the newest {} or {} days, whichever is more",
            self.newest, self.days
        )
    }
}

/// How long records stay in the history, and their releases within reach. What is live, in
/// flight, last healthy or pinned always stays.
///
/// Applied as the last step of a deployment; in a history of more than 64 records not by one that deploys
/// what is live again where it is, if the one before did so in the same hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Retention {
    /// Records of settled deployments.
    pub records: Keep,
    /// Distinct releases that can be rolled back to. Those that never passed as live are
    /// counted apart, so that failures evict nothing good.
    pub artifacts: Keep,
}

impl Retention {
    /// How long records stay, and how long their releases are within reach.
    pub const fn new(records: Keep, artifacts: Keep) -> Self {
        Self { records, artifacts }
    }

    setters! {
        records: Keep,
        artifacts: Keep,
    }
}

impl Default for Retention {
    /// Records: 200 or 90 days. Releases: 30 or 90 days.
    fn default() -> Self {
        Self {
            records: Keep::new(200, 90),
            artifacts: Keep::new(30, 90),
        }
    }
}

/// How often remediations may be tried on a workload before they rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Breaker {
    /// So many attempts,
    pub attempts: u32,
    /// in any span of this length.
    #[serde(with = "millis")]
    pub per: Duration,
}

impl Breaker {
    /// At most so many attempts in any span of this length.
    pub const fn new(attempts: u32, per: Duration) -> Self {
        Self { attempts, per }
    }

    setters! {
        attempts: u32,
        per: Duration,
    }
}

impl Default for Breaker {
    /// 3 an hour.
    fn default() -> Self {
        Self {
            attempts: 3,
            per: Duration::from_secs(60 * 60),
        }
    }
}

/// What migrations since the target mean for a rollback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnMigrations {
    /// The plan warns, and names them.
    #[default]
    Warn,
    /// The guard `migrations` refuses; it can be forced by name. An automatic rollback is not
    /// attempted.
    Block,
}

/// What follows a rollback that succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AfterRollback {
    /// Nothing: the next deploy goes ahead.
    #[default]
    Nothing,
    /// Deploys are held until a person lifts the hold, so that the next automatic deploy does
    /// not bring the abandoned release back.
    Hold,
}

/// How often a rollback is to be practised, and what it means for deploys when it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrillRule {
    /// A drill that is older than so many days is overdue.
    pub days: u32,
    /// What that means.
    pub then: OnOverdue,
}

impl DrillRule {
    /// Overdue after so many days, and what that means.
    pub const fn new(days: u32, then: OnOverdue) -> Self {
        Self { days, then }
    }
}

/// What an overdue drill means for a deploy. No rollback is ever kept from going back by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnOverdue {
    /// The plan warns.
    #[default]
    Warn,
    /// The guard `drill` refuses; it can be forced by name.
    Block,
}

/// Rules for one workload. Recorded with every deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Policy {
    /// What is kept, and what a failed gate sets off.
    // The first records say `auto_rollback`: `disarmed` or `armed`.
    #[serde(alias = "auto_rollback")]
    pub rollback: RollbackMode,
    /// Whether *last healthy* may fall back to the newest earlier release when no earlier one
    /// has any verdict.
    pub fall_back_to_unjudged: bool,
    /// What rollbacks restore; `None` is the backend's default.
    pub restore: Option<Restore>,
    /// The health gate; `None` is the catalog's.
    pub gate: Option<Gate>,
    /// What is kept how long.
    pub retention: Retention,
    /// How often remediations may be tried.
    pub breaker: Breaker,
    /// What migrations since the target mean.
    pub migrations: OnMigrations,
    /// What follows a rollback.
    pub after_rollback: AfterRollback,
    /// How often a rollback is to be practised; `None`: nobody asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillRule>,
    /// Longest time for each effect.
    pub deadlines: Deadlines,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rollback: RollbackMode::Record,
            fall_back_to_unjudged: true,
            restore: None,
            gate: None,
            retention: Retention::default(),
            breaker: Breaker::default(),
            migrations: OnMigrations::Warn,
            after_rollback: AfterRollback::Nothing,
            drill: None,
            deadlines: Deadlines::default(),
        }
    }
}

/// A policy that cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy's {setting} {why}")]
#[non_exhaustive]
pub struct InvalidPolicy {
    /// The setting that is wrong, by its name in JSON.
    pub setting: &'static str,
    /// What is wrong, and what to write instead.
    pub why: &'static str,
}

/// One setting that differs between two policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PolicyChange {
    /// Its path, such as `retention.records.days`.
    pub setting: String,
    /// Before, as JSON.
    pub from: String,
    /// After, as JSON.
    pub to: String,
}

impl fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.setting, self.from, self.to)
    }
}

impl Policy {
    setters! {
        rollback: RollbackMode,
        fall_back_to_unjudged: bool,
        restore: Option<Restore>,
        gate: Option<Gate>,
        retention: Retention,
        breaker: Breaker,
        migrations: OnMigrations,
        after_rollback: AfterRollback,
        drill: Option<DrillRule>,
        deadlines: Deadlines,
    }

    /// Whether it can hold: every deadline is longer than nothing, and a gate can end.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`]: a deadline of zero, a gate that asks for no attempt or soaks past its
    /// deadline, or a rollback that is to restore no facet. It names the setting.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let bad = |setting, why| Err(InvalidPolicy { setting, why });
        let d = &self.deadlines;
        let all = [
            d.observe, d.prepare, d.task, d.switch, d.rollout, d.gate, d.retire,
        ];
        if all.iter().any(Duration::is_zero) {
            return bad(
                "deadlines",
                "are zero somewhere: nothing could ever end in time",
            );
        }
        if let Some(gate) = &self.gate {
            if gate.retries == 0 || gate.successes == 0 {
                return bad("gate", "asks for 0 attempts; use at least 1");
            }
            if gate.soak.saturating_add(gate.start_period) >= d.gate {
                return bad(
                    "gate",
                    "soaks for longer than its deadline; raise deadlines.gate",
                );
            }
        }
        if self.drill.is_some_and(|drill| drill.days == 0) {
            return bad("drill", "is overdue after 0 days: use at least 1");
        }
        if matches!(&self.restore, Some(Restore::Facets(names)) if names.is_empty()) {
            return bad("restore", "names no facet; write artifact instead");
        }
        Ok(())
    }

    /// The same for a workload whose catalog has this gate.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_with(&self, gate: &Gate) -> Result<(), InvalidPolicy> {
        let gate = self.gate.clone().unwrap_or_else(|| gate.clone());
        let whole = Self {
            gate: Some(gate),
            ..self.clone()
        };
        whole.check()
    }

    /// What differs in another policy, by setting.
    pub fn changes(&self, other: &Self) -> Vec<PolicyChange> {
        let (from, to) = (serde_json::to_value(self), serde_json::to_value(other));
        let mut changes = Vec::new();
        // A policy is plain data: it always has a JSON value.
        if let (Ok(from), Ok(to)) = (from, to) {
            collect("", &from, &to, &mut changes);
        }
        changes
    }
}

fn collect(path: &str, from: &Value, to: &Value, changes: &mut Vec<PolicyChange>) {
    if from == to {
        return;
    }
    let (Value::Object(a), Value::Object(b)) = (from, to) else {
        changes.push(PolicyChange {
            setting: path.to_owned(),
            from: from.to_string(),
            to: to.to_string(),
        });
        return;
    };
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        let below = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let none = Value::Null;
        let (from, to) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
        collect(&below, from, to, changes);
    }
}

/// Longest time for each effect. Overrunning one is `Unknown`: the engine waits for the backend
/// to stop, observes, and decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
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
    /// `switch` where the platform rolls releases out by itself, in either direction. Longer than the
    /// platform's own deadline (10 minutes at Kubernetes), so that it is the one that says why.
    #[serde(with = "millis")]
    pub rollout: Duration,
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
            rollout: Duration::from_secs(15 * 60),
            gate: Duration::from_secs(5 * 60),
            retire: Duration::from_secs(2 * 60),
        }
    }
}

impl Deadlines {
    setters! {
        observe: Duration,
        prepare: Duration,
        task: Duration,
        switch: Duration,
        rollout: Duration,
        gate: Duration,
        retire: Duration,
    }
}
