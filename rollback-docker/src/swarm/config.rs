//! [`SwarmConfig`]: which manager, which service, and what it is run with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rollback_core::error::BackendError;
use rollback_core::id::WorkloadId;

use super::{build, rows};
use crate::choices::{Healthcheck, PullPolicy};
use crate::credentials::{CredentialsProvider, Logins};
use crate::endpoint::Endpoint;
use crate::settings;
use crate::wanted::{Wanted, bad};

/// What comes first when Swarm replaces a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UpdateOrder {
    /// The old task stops, then the new one starts: where both cannot run, as with a port that is
    /// published on the host.
    #[default]
    StopFirst,
    /// The new task runs, then the old one stops.
    StartFirst,
}

/// What one workload's [`SwarmBackend`](super::SwarmBackend) works with. `Debug` hides values.
///
/// As of a container ([`DockerConfig`](crate::DockerConfig)), what a configuration says about a kind
/// of setting it says wholly, and of a service that was made by hand the kinds that it says nothing
/// about are taken over.
#[derive(Debug, Clone)]
pub struct SwarmConfig {
    pub(super) workload: WorkloadId,
    pub(super) service: String,
    pub(super) state_dir: PathBuf,
    pub(super) endpoint: Endpoint,
    pub(super) cluster: Option<String>,
    pub(super) wanted: Wanted,
    pub(super) order: UpdateOrder,
    pub(super) parallelism: u32,
    pub(super) monitor: Duration,
    pub(super) soak: Duration,
    pub(super) pull: PullPolicy,
    pub(super) credentials: Logins,
    /// Hosts that are none.
    bad_hosts: Vec<String>,
}

impl SwarmConfig {
    /// The workload, the service's name, and an absolute directory (made 0700) for the key that
    /// fingerprints values. Losing that key makes every recorded variable look changed; where
    /// several machines deploy one service, each needs the same.
    pub fn new(
        workload: WorkloadId,
        service: impl Into<String>,
        state_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            workload,
            service: service.into(),
            state_dir: state_dir.into(),
            endpoint: Endpoint::default(),
            cluster: None,
            wanted: Wanted::default(),
            order: UpdateOrder::default(),
            parallelism: 1,
            monitor: Duration::from_secs(5),
            soak: Duration::from_secs(10),
            pull: PullPolicy::default(),
            credentials: Logins::default(),
            bad_hosts: Vec::new(),
        }
    }

    /// The Unix socket of a manager; `/var/run/docker.sock` unless said otherwise.
    #[must_use]
    pub fn socket(self, path: impl Into<PathBuf>) -> Self {
        self.endpoint(Endpoint::unix(path))
    }

    /// Where a manager is, and how it is reached, in place of a socket of this machine.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// What the Swarm is called, by all programs that deploy to it. A service has one place, whichever
    /// of the managers is talked to: where programs talk to several, or from several machines, each has
    /// to say the same name here. Unless it is said, the place is named after the manager.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// A variable. Its value goes to the service and its records, which the managers keep, and
    /// nowhere else.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wanted.env(name.into(), value.into());
        self
    }

    /// So many tasks. Unless it is said, a first deployment makes one, and afterwards the number is
    /// left to whoever scales the service.
    #[must_use]
    pub fn replicas(self, replicas: u32) -> Self {
        self.row(rows::REPLICAS, replicas.to_string())
    }

    /// A TCP port of each task, published on the host it runs on.
    #[must_use]
    pub fn publish_on_host(self, published: u16, port: u16) -> Self {
        self.publish("host", published, port)
    }

    /// A TCP port of the service, published on every node of the Swarm.
    #[must_use]
    pub fn publish_everywhere(self, published: u16, port: u16) -> Self {
        self.publish("ingress", published, port)
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

    /// A label of the service. Names that begin with `rollback.` are this crate's own.
    #[must_use]
    pub fn label(self, name: &str, value: impl Into<String>) -> Self {
        self.row(format!("label:{name}"), value.into())
    }

    /// A label of each container.
    #[must_use]
    pub fn container_label(self, name: &str, value: impl Into<String>) -> Self {
        self.row(format!("container_label:{name}"), value.into())
    }

    /// A network that the tasks are in, by its name; `host` for the host's own.
    #[must_use]
    pub fn network(self, name: &str) -> Self {
        self.row(format!("network:{name}"), "")
    }

    /// A health check in place of the image's own. Swarm regards a task as running only once it
    /// passes, and replaces one that fails it.
    #[must_use]
    pub fn healthcheck(self, check: &Healthcheck) -> Self {
        self.row("healthcheck", check.row())
    }

    /// The command in place of the image's own.
    #[must_use]
    pub fn command<S: Into<String>>(self, argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        self.row("command", settings::argv(&argv))
    }

    /// The user in place of the image's own.
    #[must_use]
    pub fn user(self, user: impl Into<String>) -> Self {
        self.row("user", user.into())
    }

    /// Most memory of a task, in bytes.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Self {
        self.row("memory", bytes.to_string())
    }

    /// How long a task may take to stop before it is killed; 10 s unless said otherwise.
    #[must_use]
    pub fn stop_grace_period(self, period: Duration) -> Self {
        self.row("stop_grace_period", nanos(period).to_string())
    }

    /// Leaves settings of this kind out that a service made by hand has: `port`, `bind`, `label`,
    /// `env`, or as a release and an error name them, such as `task:Placement`.
    #[must_use]
    pub fn without(mut self, setting: &str) -> Self {
        self.wanted.without(setting);
        self
    }

    /// This configuration is complete: nothing is taken over from a service that was made by hand.
    #[must_use]
    pub fn complete(mut self) -> Self {
        self.wanted.complete();
        self
    }

    /// What comes first when a task is replaced; stopping the old one, unless said otherwise.
    #[must_use]
    pub fn order(mut self, order: UpdateOrder) -> Self {
        self.order = order;
        self
    }

    /// How many tasks are replaced at a time; one, unless said otherwise, and all with 0.
    #[must_use]
    pub fn parallelism(mut self, tasks: u32) -> Self {
        self.parallelism = tasks;
        self
    }

    /// How long Swarm watches a new task before it goes on; 5 s unless said otherwise. One that fails
    /// in that time pauses the rollout, which then has failed.
    #[must_use]
    pub fn monitor(mut self, monitor: Duration) -> Self {
        self.monitor = monitor;
        self
    }

    /// How long tasks without a health check must run to pass; 10 s unless said otherwise.
    #[must_use]
    pub fn soak(mut self, soak: Duration) -> Self {
        self.soak = soak;
        self
    }

    /// Whether a registry is asked what a tag means; each time unless said otherwise.
    #[must_use]
    pub fn pull(mut self, policy: PullPolicy) -> Self {
        self.pull = policy;
        self
    }

    /// What one registry is asked with, as of a container's
    /// [`credentials`](crate::DockerConfig::credentials). The managers hand it to the nodes that pull.
    #[must_use]
    pub fn credentials(
        mut self,
        host: &str,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        match host.parse() {
            Ok(host) => self.credentials.insert(host, user.into(), password.into()),
            Err(_) => self.bad_hosts.push(host.to_owned()),
        }
        self
    }

    /// Who is asked for the credentials of registries for which there are none here, such as
    /// [`DockerConfigFile`](crate::DockerConfigFile); each in turn, as they were added.
    #[must_use]
    pub fn credentials_from(mut self, provider: impl CredentialsProvider + 'static) -> Self {
        self.credentials.ask(provider);
        self
    }

    fn publish(self, mode: &str, published: u16, port: u16) -> Self {
        let row = format!("port:{port}/tcp");
        let before = self.wanted.rows.get(&row).map(|all| all.split(','));
        let mut all: BTreeSet<String> = before.into_iter().flatten().map(str::to_owned).collect();
        all.insert(format!("{mode}:{published}"));
        self.row(row, Vec::from_iter(all).join(","))
    }

    fn row(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wanted.row(name, value);
        self
    }

    pub(super) fn validate(&self) -> Result<(), BackendError> {
        let name = &self.service;
        let word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let edge = |c: char| c.is_ascii_alphanumeric();
        let edges = name.starts_with(edge) && name.ends_with(edge);
        if name.len() > 63 || !edges || !name.chars().all(word) {
            return Err(bad("docker does not take this service name", name));
        }
        if !self.state_dir.is_absolute() {
            let path = self.state_dir.display().to_string();
            return Err(bad("the path is not absolute", &path));
        }
        self.endpoint.validate()?;
        if let Some(host) = self.bad_hosts.first() {
            return Err(bad("this is not a registry's host", host));
        }
        self.wanted.validate()?;
        build::spec(&self.wanted.rows, &self.wanted.env).map(drop)
    }
}

pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
