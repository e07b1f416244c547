//! [`DockerConfig`]: which daemon, which container, and what it is run with.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rollback_core::error::BackendError;
use rollback_core::id::WorkloadId;

use crate::body::Blueprint;
use crate::choices::{Healthcheck, PullPolicy};
use crate::config_swap::{Successor, Swap};
use crate::copies::Capture;
use crate::credentials::{CredentialsProvider, Logins};
use crate::endpoint::Endpoint;
use crate::live_labels::LiveLabels;
use crate::platform::Platform;
use crate::port::ContainerPort;
use crate::restart::RestartPolicy;
use crate::settings::{self, BY_HAND, CONTAINER, ENV};
use crate::wanted::{Wanted, bad};

/// A value that no record, log or error may show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What one workload's [`DockerBackend`](crate::DockerBackend) works with. `Debug` hides values.
///
/// What a configuration says about a kind of setting (ports, labels, variables, …) it says wholly:
/// a label that is no longer configured is gone with the next deployment. Of a container that was
/// made by hand the kinds that the configuration says nothing about are taken over, networks,
/// limits and capabilities included, until it does ([`without`](Self::without),
/// [`complete`](Self::complete)).
#[derive(Clone)]
pub struct DockerConfig {
    pub(crate) workload: WorkloadId,
    pub(crate) container: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) endpoint: Endpoint,
    pub(crate) daemon: Option<String>,
    pub(crate) wanted: Wanted,
    pub(crate) soak: Duration,
    pub(crate) pull: PullPolicy,
    pub(crate) capture: Capture,
    pub(crate) credentials: Logins,
    pub(crate) live_labels: Option<Arc<dyn LiveLabels>>,
    pub(crate) swap: Swap,
    /// What has been said that cannot be, and of what.
    refused: Vec<(&'static str, String)>,
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig")
            .field("workload", &self.workload)
            .field("container", &self.container)
            .field("state_dir", &self.state_dir)
            .field("endpoint", &self.endpoint)
            .field("daemon", &self.daemon)
            .field("wanted", &self.wanted)
            .field("soak", &self.soak)
            .field("pull", &self.pull)
            .field("capture", &self.capture)
            .field("credentials", &self.credentials)
            .field("live_labels", &self.live_labels)
            .field("swap", &self.swap)
            .finish_non_exhaustive()
    }
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
            endpoint: Endpoint::default(),
            daemon: None,
            wanted: Wanted::default(),
            soak: Duration::from_secs(10),
            pull: PullPolicy::default(),
            capture: Capture::default(),
            credentials: Logins::default(),
            live_labels: None,
            swap: Swap::default(),
            refused: Vec::new(),
        }
    }

    /// The daemon's Unix socket; `/var/run/docker.sock` unless said otherwise.
    #[must_use]
    pub fn socket(self, path: impl Into<PathBuf>) -> Self {
        self.endpoint(Endpoint::unix(path))
    }

    /// Where the daemon is, and how it is reached, in place of a socket of this machine.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// What the daemon is called, by all programs that deploy to it. Unless it is said, the place of a
    /// container is named after the way to its daemon: two ways are two places, and two daemons of one
    /// host that both are reached by its ssh (rootless ones, each its user's) would be one.
    #[must_use]
    pub fn daemon(mut self, name: impl Into<String>) -> Self {
        self.daemon = Some(name.into());
        self
    }

    /// A variable. Its value goes to the container and nowhere else.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wanted.env(name.into(), value.into());
        self
    }

    /// A TCP port of the container, published at an address of the host; of IPv4 and of IPv6, say,
    /// if it is called for each.
    #[must_use]
    pub fn publish(self, host: SocketAddr, port: u16) -> Self {
        self.published(host, ContainerPort::tcp(port))
    }

    pub(crate) fn published(self, host: SocketAddr, port: ContainerPort) -> Self {
        self.bound(host.to_string(), port)
    }

    pub(crate) fn bound(self, host: String, port: ContainerPort) -> Self {
        let row = format!("port:{port}");
        let before = self.wanted.rows.get(&row).map(|all| all.split(','));
        let mut all: BTreeSet<String> = before.into_iter().flatten().map(str::to_owned).collect();
        all.insert(host);
        self.row(row, Vec::from_iter(all).join(","))
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
    pub fn restart(self, policy: RestartPolicy) -> Self {
        match policy.row() {
            Some(row) => self.row(settings::RESTART, row),
            None => self.without(settings::RESTART),
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
        self.row("command", settings::argv(&argv))
    }

    /// The program in place of the image's own, to which the command is given.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(self, argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        self.row("entrypoint", settings::argv(&argv))
    }

    /// The directory in which it is run, in place of the image's own.
    #[must_use]
    pub fn working_dir(self, dir: impl Into<String>) -> Self {
        self.row("working_dir", dir.into())
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

    /// What images have to be built for, and what is pulled of one that is built for several;
    /// whatever the engine runs by itself unless said otherwise. An image for anything else is refused
    /// before anything moves, and so is a platform that the engine only emulates.
    #[must_use]
    pub fn platform(self, platform: &Platform) -> Self {
        self.row(settings::PLATFORM, platform.to_string())
    }

    /// How long a container without a health check must run, without a restart, to pass; 10 s
    /// unless said otherwise.
    #[must_use]
    pub fn soak(mut self, soak: Duration) -> Self {
        self.soak = soak;
        self
    }

    /// A name by which other containers of its network find it.
    #[must_use]
    pub fn alias(self, name: &str) -> Self {
        self.row(format!("alias:{name}"), "")
    }

    /// What the container calls its host; its id unless said otherwise.
    #[must_use]
    pub fn hostname(self, name: &str) -> Self {
        self.row("config:Hostname", serde_json::Value::from(name).to_string())
    }

    /// Leaves settings of this kind out that a container made by hand has: `port`, `bind`, `label`,
    /// `env`, or as a release and an error name them, such as `host:Devices`.
    #[must_use]
    pub fn without(mut self, setting: &str) -> Self {
        self.wanted.without(setting);
        self
    }

    /// This configuration is complete: nothing is taken over from a container that was made by
    /// hand.
    #[must_use]
    pub fn complete(mut self) -> Self {
        self.wanted.complete();
        self
    }

    /// Where a copy of each release's image is kept; nowhere unless said otherwise.
    #[must_use]
    pub fn capture(mut self, capture: Capture) -> Self {
        self.capture = capture;
        self
    }

    /// Whether a registry is asked what a tag means; each time unless said otherwise.
    #[must_use]
    pub fn pull(mut self, policy: PullPolicy) -> Self {
        self.pull = policy;
        self
    }

    /// What one registry is asked with: its host, and its port where it has one, as in the names of
    /// its images; `docker.io` for Docker's own. Sent to no other.
    #[must_use]
    pub fn credentials(
        mut self,
        host: &str,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        match host.parse() {
            Ok(host) => self.credentials.insert(host, user.into(), password.into()),
            Err(_) => return self.refused("this is not a registry's host", host),
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

    /// Labels that the live container wears and no standby, so that another tool finds in it what it
    /// would have made.
    #[must_use]
    pub fn live_labels(mut self, labels: impl LiveLabels + 'static) -> Self {
        self.live_labels = Some(Arc::new(labels));
        self
    }

    /// A text that belongs to the configuration, as a facet of this name of every release: what the
    /// settings were read from, say. Its differences are in the plan. It is recorded as it is.
    #[must_use]
    pub fn text(mut self, facet: &str, text: impl Into<String>) -> Self {
        if [CONTAINER, ENV, BY_HAND].contains(&facet) || facet.is_empty() {
            return self.refused("this name is taken by the settings", facet);
        }
        self.wanted.texts.insert(facet.to_owned(), text.into());
        self
    }

    /// Keeps in mind what cannot be until it is asked whether all can.
    pub(crate) fn refused(mut self, what: &'static str, subject: &str) -> Self {
        self.refused.push((what, subject.to_owned()));
        self
    }

    pub(crate) fn row(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wanted.row(name, value);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let name = &self.container;
        if name.len() < 2
            || name.len() > 100
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name.chars().all(word)
        {
            return Err(bad("docker does not take this container name", name));
        }
        if !self.state_dir.is_absolute() {
            let path = self.state_dir.display().to_string();
            return Err(bad("the path is not absolute", &path));
        }
        self.endpoint.validate()?;
        if let Some((what, subject)) = self.refused.first() {
            return Err(bad(what, subject));
        }
        self.capture.validate(&self.credentials)?;
        self.swap.validate()?;
        if self.swap.successor == Successor::Beside && self.live_labels.is_some() {
            let what = "labels that only the live container wears take another container, which \
                        cannot be started beside it";
            return Err(bad(what, name));
        }
        self.wanted.validate()?;
        Blueprint::new(&self.wanted.rows).map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn debug_of_a_configuration_shows_no_value_that_may_be_a_secret() {
        let config = DockerConfig::new("api@web-1".parse().unwrap(), "api", "/state")
            .env("PASSWORD", "hunter2")
            .command(["serve", "--password", "hunter3"])
            .label("token", "hunter4")
            .healthcheck(&Healthcheck::new(["/check", "hunter5"]))
            .network("web")
            .credentials("registry.example", "me", "hunter6");
        let shown = format!("{config:?}");
        assert!(
            shown.contains("PASSWORD") && shown.contains("web"),
            "{shown}"
        );
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
