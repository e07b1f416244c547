//! [`DockerConfig`]: which daemon, which container, and what it is run with.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::id::WorkloadId;

use crate::release::{self, Rows};

/// A value that no record, log or error may show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What dockerd does when the live container exits. A container that is kept as a way back never
/// restarts, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Starts it again, also after dockerd itself was restarted.
    Always,
    /// The same, unless somebody stopped it.
    UnlessStopped,
    /// Starts it again after a failure, at most so often.
    OnFailure(u32),
}

impl RestartPolicy {
    pub(crate) fn row(self) -> Option<String> {
        match self {
            Self::No => None,
            Self::Always => Some("always".into()),
            Self::UnlessStopped => Some("unless-stopped".into()),
            Self::OnFailure(n) => Some(format!("on-failure:{n}")),
        }
    }
}

/// A health check that dockerd runs inside the container, in place of the image's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    start_period: Duration,
}

impl Healthcheck {
    /// A program and its arguments, run in the container without a shell: every 5 s, 5 s at most,
    /// 3 failures in a row are unhealthy, no start period.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: argv.into_iter().map(Into::into).collect(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::ZERO,
        }
    }

    /// The pause between two checks.
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

    fn row(&self) -> String {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX >> 1);
        let test: Vec<&str> = std::iter::once("CMD")
            .chain(self.command.iter().map(String::as_str))
            .collect();
        serde_json::json!({
            "Test": test,
            "Interval": nanos(self.interval),
            "Timeout": nanos(self.timeout),
            "Retries": self.retries,
            "StartPeriod": nanos(self.start_period),
        })
        .to_string()
    }
}

/// What one workload's [`DockerBackend`](crate::DockerBackend) works with. `Debug` hides values.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    pub(crate) workload: WorkloadId,
    pub(crate) container: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) env: BTreeMap<String, Secret>,
    pub(crate) rows: Rows,
    pub(crate) soak: Duration,
    pub(crate) credentials: Option<(String, Secret)>,
}

impl DockerConfig {
    /// The workload, its live container's name, and an absolute directory (made 0700) for the key
    /// that fingerprints values. Losing that key makes every recorded variable look changed.
    pub fn new(
        workload: WorkloadId,
        container: impl Into<String>,
        state_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            workload,
            container: container.into(),
            state_dir: state_dir.into(),
            socket: "/var/run/docker.sock".into(),
            env: BTreeMap::new(),
            rows: Rows::new(),
            soak: Duration::from_secs(10),
            credentials: None,
        }
    }

    /// The daemon's Unix socket; `/var/run/docker.sock` unless said otherwise.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// A variable. Its value goes to the container and nowhere else.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), Secret(value.into()));
        self
    }

    /// A TCP port of the container, published at an address of the host.
    #[must_use]
    pub fn publish(self, host: SocketAddr, port: u16) -> Self {
        self.row(format!("port:{port}/tcp"), host.to_string())
    }

    /// A directory of the host, or a named volume, at a path in the container.
    #[must_use]
    pub fn bind(self, source: impl Into<String>, target: &str) -> Self {
        self.row(format!("bind:{target}"), source.into())
    }

    /// The same, read-only.
    #[must_use]
    pub fn bind_read_only(self, source: &str, target: &str) -> Self {
        self.row(format!("bind:{target}"), format!("{source}:ro"))
    }

    /// A label. Names that begin with `rollback.` are this crate's own.
    #[must_use]
    pub fn label(self, name: &str, value: impl Into<String>) -> Self {
        self.row(format!("label:{name}"), value.into())
    }

    /// The network: `host`, `none` or the name of one; the daemon's default unless said otherwise.
    #[must_use]
    pub fn network(self, name: impl Into<String>) -> Self {
        self.row("network", name.into())
    }

    /// What dockerd does when the live container exits.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        match policy.row() {
            Some(row) => self.row(release::RESTART, row),
            None => {
                self.rows.remove(release::RESTART);
                self
            }
        }
    }

    /// How long a container may take to stop before it is killed, in whole seconds; 10 s unless
    /// said otherwise.
    #[must_use]
    pub fn stop_timeout(self, timeout: Duration) -> Self {
        self.row("stop_timeout", timeout.as_secs().to_string())
    }

    /// A health check in place of the image's own.
    #[must_use]
    pub fn healthcheck(self, check: &Healthcheck) -> Self {
        self.row("healthcheck", check.row())
    }

    /// The command in place of the image's own.
    #[must_use]
    pub fn command<S: Into<String>>(self, argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        self.row("command", release::argv(&argv))
    }

    /// The user in place of the image's own.
    #[must_use]
    pub fn user(self, user: impl Into<String>) -> Self {
        self.row("user", user.into())
    }

    /// Most memory, in bytes.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Self {
        self.row("memory", bytes.to_string())
    }

    /// How long a container without a health check must run, without a restart, to pass; 10 s
    /// unless said otherwise.
    #[must_use]
    pub fn soak(mut self, soak: Duration) -> Self {
        self.soak = soak;
        self
    }

    /// What the registry is asked with.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), Secret(password.into())));
        self
    }

    fn row(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.rows.insert(name.into(), value.into());
        self
    }

    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let bad = |what: &str, subject: &str| {
            Err(
                BackendError::new(BackendErrorKind::InvalidReference, what.to_owned())
                    .on(subject.chars().take(80).collect::<String>())
                    .untouched(),
            )
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let name = &self.container;
        if name.len() < 2
            || name.len() > 100
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name.chars().all(word)
        {
            return bad("docker does not take this container name", name);
        }
        for path in [&self.state_dir, &self.socket] {
            if !path.is_absolute() {
                return bad("the path is not absolute", &path.display().to_string());
            }
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.0.contains('\0') {
                return bad("this variable cannot be passed to a container", name);
            }
        }
        for name in self.rows.keys() {
            if name.starts_with("label:rollback.") {
                return bad("labels that begin with rollback. are reserved", name);
            }
        }
        release::check(&self.rows)
    }
}
