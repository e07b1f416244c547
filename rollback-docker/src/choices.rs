//! What a configuration chooses from: pull policies, health checks.

use std::time::Duration;

use bollard::models::HealthConfig;

use crate::capture;

/// A health check that dockerd runs inside the container, in place of the image's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    test: Vec<String>,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    start_period: Duration,
    start_interval: Duration,
}

impl Healthcheck {
    /// A program and its arguments, run in the container without a shell: every 5 s, 5 s at most,
    /// 3 failures in a row are unhealthy, no start period.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let test = std::iter::once("CMD".to_owned());
        Self {
            test: test.chain(argv.into_iter().map(Into::into)).collect(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::ZERO,
            start_interval: Duration::ZERO,
        }
    }

    /// A line for the image's shell, run in the container as often and as long.
    pub fn shell(line: impl Into<String>) -> Self {
        Self {
            test: vec!["CMD-SHELL".to_owned(), line.into()],
            ..Self::new::<String>([])
        }
    }

    /// None, not even the image's own.
    pub fn none() -> Self {
        Self {
            test: vec!["NONE".to_owned()],
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            retries: 0,
            start_period: Duration::ZERO,
            start_interval: Duration::ZERO,
        }
    }

    /// The pause between two checks; of this and the others zero is the daemon's own choice.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Longest time for one check.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Failures in a row that make it unhealthy.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// For this long after the start, failures do not count.
    #[must_use]
    pub fn start_period(mut self, period: Duration) -> Self {
        self.start_period = period;
        self
    }

    /// The pause between two checks until the first that passes, from API 1.44 on.
    #[must_use]
    pub fn start_interval(mut self, interval: Duration) -> Self {
        self.start_interval = interval;
        self
    }

    pub(crate) fn row(&self) -> String {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        let check = HealthConfig {
            test: Some(self.test.clone()),
            interval: Some(nanos(self.interval)),
            timeout: Some(nanos(self.timeout)),
            retries: Some(i64::from(self.retries)),
            start_period: Some(nanos(self.start_period)),
            start_interval: Some(nanos(self.start_interval)),
        };
        capture::health(&Some(check)).unwrap_or_default()
    }
}

/// Whether a registry is asked what a tag means. What is deployed is a digest, whichever it is; an
/// image that is here by its digest is never pulled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PullPolicy {
    /// Each time. A registry that does not answer, or refuses, is an error: what this daemon has by
    /// that name may be something older.
    #[default]
    Always,
    /// Only if this daemon has nothing by that name. What it has may be older than what the
    /// registry has: the release says that it was taken.
    IfMissing,
    /// Never: images are built or loaded here.
    Never,
}
