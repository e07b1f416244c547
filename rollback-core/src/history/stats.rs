//! [`Stats`]: counts over a span of history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deployment::{Deployment, Outcome, TriggerKind};
use crate::id::DeploymentId;

/// So many of the newest failures are named.
const FAILURES: usize = 5;

/// Counts over a span of history. Deployments in flight are not counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Settled deployments, adoptions left out.
    pub total: u64,
    /// How many ended how.
    pub by_outcome: BTreeMap<Outcome, u64>,
    /// Rollbacks, by hand and automatic.
    pub rollbacks: u64,
    /// Mean duration in milliseconds.
    pub mean_ms: Option<f64>,
    /// The duration in milliseconds that 95 % did not exceed (nearest rank).
    pub p95_ms: Option<u64>,
    /// The newest failures, at most 5, newest first.
    pub recent_failures: Vec<DeploymentId>,
}

impl Stats {
    /// Succeeded of total, 0 to 1; `None` when there is nothing to count.
    #[allow(clippy::cast_precision_loss)]
    pub fn success_rate(&self) -> Option<f64> {
        let succeeded = self
            .by_outcome
            .get(&Outcome::Succeeded)
            .copied()
            .unwrap_or(0);
        (self.total > 0).then(|| succeeded as f64 / self.total as f64)
    }

    /// The counts over these records.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Deployment>) -> Self {
        let settled = records.into_iter().filter_map(|d| {
            Some(Settled {
                key: (d.sequence(), d.id()),
                trigger: d.trigger().kind(),
                outcome: d.outcome()?,
                took: d.duration()?,
            })
        });
        let (mut stats, failures) = Self::count(settled);
        stats.recent_failures = failures.into_iter().map(|(_, id)| id.clone()).collect();
        stats
    }

    /// For stores: the counts over these facts, but for the names of the recent failures, whose keys
    /// are given beside it, newest first.
    #[allow(clippy::cast_precision_loss)]
    pub fn count<K: Ord>(settled: impl IntoIterator<Item = Settled<K>>) -> (Self, Vec<K>) {
        let mut stats = Self::default();
        let mut durations = Vec::new();
        let mut failures = BTreeSet::new();
        for d in settled {
            if d.trigger == TriggerKind::Adopt {
                continue;
            }
            stats.total += 1;
            *stats.by_outcome.entry(d.outcome).or_default() += 1;
            if matches!(
                d.trigger,
                TriggerKind::Rollback | TriggerKind::AutomaticRollback
            ) {
                stats.rollbacks += 1;
            }
            if d.outcome != Outcome::Succeeded {
                failures.insert(d.key);
                if failures.len() > FAILURES {
                    failures.pop_first();
                }
            }
            durations.push(u64::try_from(d.took.as_millis()).unwrap_or(u64::MAX));
        }
        if !durations.is_empty() {
            let sum: u128 = durations.iter().map(|d| u128::from(*d)).sum();
            stats.mean_ms = Some(sum as f64 / durations.len() as f64);
            let rank = (durations.len() * 95).div_ceil(100).max(1);
            let (_, p95, _) = durations.select_nth_unstable(rank - 1);
            stats.p95_ms = Some(*p95);
        }
        (stats, failures.into_iter().rev().collect())
    }
}

/// What [`Stats`] counts of a settled deployment.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Settled<K> {
    /// Which: of two, the newer has the greater key.
    pub key: K,
    /// What set it off.
    pub trigger: TriggerKind,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

impl<K> Settled<K> {
    /// One that was set off so, ended so, and took so long. Of two, the newer has the greater `key`.
    pub fn new(key: K, trigger: TriggerKind, outcome: Outcome, took: Duration) -> Self {
        Self {
            key,
            trigger,
            outcome,
            took,
        }
    }
}
