//! Health: the verdict, the checks that reach it, and the gate they form.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::Instance;
use crate::context::Context;
use crate::id::WorkloadId;

/// How a health gate ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Nobody looked, or nobody could tell. Not healthy.
    #[default]
    Unknown,
    /// Healthy.
    Passed,
    /// Unhealthy at first, healthy after this remediation.
    Healed {
        /// The remediation's name.
        by: String,
    },
    /// Unhealthy.
    Failed {
        /// What a person should read first. Redacted, at most [`MAX_DIAGNOSTIC`] bytes.
        diagnostic: String,
    },
}

/// Longest diagnostic that is stored, in bytes: 64 KiB.
pub const MAX_DIAGNOSTIC: usize = 64 * 1024;

/// The last [`MAX_DIAGNOSTIC`] bytes.
pub(crate) fn tail(text: String) -> String {
    if text.len() <= MAX_DIAGNOSTIC {
        return text;
    }
    let mut cut = text.len() - MAX_DIAGNOSTIC + '…'.len_utf8();
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    format!("…{}", &text[cut..])
}

impl Verdict {
    /// A failure, its diagnostic cut to [`MAX_DIAGNOSTIC`] bytes (the end is kept: that is where
    /// logs say what killed them).
    pub fn failed(diagnostic: impl Into<String>) -> Self {
        Self::Failed {
            diagnostic: tail(diagnostic.into()),
        }
    }

    /// Passed or healed.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Passed | Self::Healed { .. })
    }

    /// Failed.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// The kind alone, for columns and filters.
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Unknown => VerdictKind::Unknown,
            Self::Passed => VerdictKind::Passed,
            Self::Healed { .. } => VerdictKind::Healed,
            Self::Failed { .. } => VerdictKind::Failed,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not checked"),
            Self::Passed => f.write_str("healthy"),
            Self::Healed { by } => write!(f, "healthy after {by}"),
            Self::Failed { diagnostic } => {
                write!(f, "unhealthy: {}", diagnostic.lines().next().unwrap_or(""))
            }
        }
    }
}

/// A [`Verdict`] without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerdictKind {
    /// See [`Verdict::Unknown`].
    Unknown,
    /// See [`Verdict::Passed`].
    Passed,
    /// See [`Verdict::Healed`].
    Healed,
    /// See [`Verdict::Failed`].
    Failed,
}

/// The platform's own view of an instance, looked at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "view", content = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum View {
    /// It has none: no process, no health check.
    NoOpinion,
    /// It cannot tell yet, and why: it starts, or has not run for long enough. Waited for until the
    /// gate's deadline.
    NotYet(String),
    /// Healthy.
    Healthy,
    /// It has failed for good, and how: nothing to wait for. Redacted.
    Failed(String),
}

impl View {
    /// A failure for good, its diagnostic cut to [`MAX_DIAGNOSTIC`] bytes.
    pub fn failed(diagnostic: impl Into<String>) -> Self {
        Self::Failed(tail(diagnostic.into()))
    }

    /// Whether it has failed for good.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The verdict that this view alone comes to.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::NoOpinion | Self::NotYet(_) => Verdict::Unknown,
            Self::Healthy => Verdict::Passed,
            Self::Failed(diagnostic) => Verdict::failed(diagnostic.clone()),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOpinion => f.write_str("no opinion"),
            Self::NotYet(why) => write!(f, "not yet: {why}"),
            Self::Healthy => f.write_str("healthy"),
            Self::Failed(how) => write!(f, "unhealthy: {}", how.lines().next().unwrap_or("")),
        }
    }
}

/// Where a gate looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// At the successor, before it has the traffic.
    Beside,
    /// At what is live.
    Live,
}

/// What a check is asked to look at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Probe {
    /// The workload.
    pub workload: WorkloadId,
    /// The instance that should answer.
    pub instance: Instance,
    /// Where.
    pub site: Site,
}

impl Probe {
    /// This instance of the workload, there.
    pub fn new(workload: WorkloadId, instance: Instance, site: Site) -> Self {
        Self {
            workload,
            instance,
            site,
        }
    }
}

/// A check's yes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Healthy {
    /// What a person should know all the same: by what lesser proof it was decided, say. It is
    /// recorded beside the verdict.
    pub note: Option<String>,
}

impl Healthy {
    /// A plain yes.
    pub fn yes() -> Self {
        Self::default()
    }

    /// A yes with a remark.
    pub fn noting(note: impl Into<String>) -> Self {
        Self {
            note: Some(note.into()),
        }
    }
}

/// Why a check says no: one or a few lines for a person, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{diagnostic}")]
pub struct Unhealthy {
    /// What was seen, and what was expected.
    pub diagnostic: String,
}

impl Unhealthy {
    /// A no with its reason.
    pub fn new(diagnostic: impl Into<String>) -> Self {
        Self {
            diagnostic: diagnostic.into(),
        }
    }
}

/// One question about health, asked once. The [`Gate`] repeats it.
///
/// An implementor answers within the context's deadline, says `Ok` only on proof ("starting" and
/// "nothing configured" are not proof), and keeps secrets out of the diagnostic.
#[async_trait]
pub trait HealthCheck: fmt::Debug + Send + Sync {
    /// A name for people, such as `GET http://127.0.0.1:8080/healthz`.
    fn name(&self) -> String;

    /// Looks once.
    async fn check(&self, cx: &Context, probe: &Probe) -> Result<Healthy, Unhealthy>;
}

/// How patient the health gate is. Recorded with every deployment, so that recovery judges by
/// the same measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// Failed attempts in a row, after the start period, that make it unhealthy. At least 1.
    pub retries: u32,
    /// Good attempts in a row that make it healthy. At least 1.
    pub successes: u32,
    /// Pause between attempts.
    #[serde(with = "millis")]
    pub interval: Duration,
    /// For this long after the switch, failed attempts do not count.
    #[serde(with = "millis")]
    pub start_period: Duration,
    /// Longest time for one check.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// For this long after the first good verdict it has to stay healthy: no `retries` failed
    /// attempts in a row.
    #[serde(with = "millis")]
    pub soak: Duration,
}

impl Default for Gate {
    /// 3 retries, 1 success, 1 s apart, 5 s to start, 5 s a check, no soak.
    fn default() -> Self {
        Self {
            retries: 3,
            successes: 1,
            interval: Duration::from_secs(1),
            start_period: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            soak: Duration::ZERO,
        }
    }
}

impl Gate {
    /// Unhealthy after so many failed attempts in a row (at least 1).
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Healthy after so many good attempts in a row (at least 1).
    #[must_use]
    pub fn successes(mut self, successes: u32) -> Self {
        self.successes = successes;
        self
    }

    /// Pause between attempts.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// For this long after the switch, failed attempts do not count.
    #[must_use]
    pub fn start_period(mut self, start_period: Duration) -> Self {
        self.start_period = start_period;
        self
    }

    /// Longest time for one check.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For this long it has to stay healthy.
    #[must_use]
    pub fn soak(mut self, soak: Duration) -> Self {
        self.soak = soak;
        self
    }
}

pub(crate) mod millis {
    //! Durations as whole milliseconds.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_diagnostic_keeps_its_end() {
        let Verdict::Failed { diagnostic } = Verdict::failed(format!("{}end", "é".repeat(60_000)))
        else {
            panic!("failed() makes a failure")
        };
        assert!(diagnostic.len() <= MAX_DIAGNOSTIC);
        assert!(diagnostic.ends_with("end"));
    }
}
