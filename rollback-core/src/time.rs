//! Time: one instant type, and the seam through which the engine reads the clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant in UTC, written as RFC 3339.
///
/// For people and for `AsOf`; nothing is ever ordered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// 1970-01-01T00:00:00Z, from which [`as_microsecond`](Self::as_microsecond) counts.
    pub const UNIX_EPOCH: Self = Self(jiff::Timestamp::UNIX_EPOCH);

    /// From microseconds since the epoch, `None` outside the years -9999 to 9999.
    pub fn from_microsecond(us: i64) -> Option<Self> {
        jiff::Timestamp::from_microsecond(us).ok().map(Self)
    }

    /// Microseconds since the epoch, as stores keep it.
    pub fn as_microsecond(self) -> i64 {
        self.0.as_microsecond()
    }

    pub(crate) fn as_nanosecond(self) -> i128 {
        self.0.as_nanosecond()
    }

    /// How long it has been since `earlier`; zero when the clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or_default()
    }

    /// This instant plus `d`, saturating at the end of time.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        self.0
            .checked_add(d)
            .map_or(Self(jiff::Timestamp::MAX), Self)
    }

    /// So long before; the earliest instant there is, if that is earlier.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        jiff::SignedDuration::try_from(d)
            .ok()
            .and_then(|d| self.0.checked_sub(d).ok())
            .map_or(Self(jiff::Timestamp::MIN), Self)
    }

    pub(crate) fn compact(self) -> String {
        self.0.strftime("%Y%m%d-%H%M%S").to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.0)
    }
}

/// Not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time; write it as 2026-03-15T14:30:22Z")]
pub struct InvalidTimestamp(String);

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse()
            .map(Self)
            .map_err(|_| InvalidTimestamp(s.chars().take(40).collect()))
    }
}

/// Where the engine reads the time for its records.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now())
    }
}
