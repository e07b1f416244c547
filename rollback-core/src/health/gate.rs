//! [`Gate`]: how patient the health gate is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How patient the health gate is. Recorded with every deployment, so that recovery judges by
/// the same measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
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

pub(crate) mod maybe_millis {
    //! The same of what need not be there.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => super::millis::serialize(d, s),
            None => s.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Duration::from_millis))
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
