//! [`Container`]: one container, inspected.

use bollard::models::{
    ContainerInspectResponse, ContainerState, HealthStatusEnum, HealthcheckResult,
};
use rollback_core::backend::{Evidence, Running};

use crate::restart::RestartPolicy;
use crate::summary::{Phase, Summary};

/// A container, inspected.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) summary: Summary,
    /// The hardware address that somebody has chosen for its first network, if the daemon tells.
    pub(crate) chosen_mac: Option<String>,
    pub(crate) inspect: ContainerInspectResponse,
}

impl Container {
    /// `None` if dockerd left out what every container has.
    pub(crate) fn new(workload: &str, inspect: ContainerInspectResponse) -> Option<Self> {
        Some(Self {
            summary: Summary::inspected(workload, &inspect)?,
            chosen_mac: None,
            inspect,
        })
    }

    fn state(&self) -> ContainerState {
        self.inspect.state.clone().unwrap_or_default()
    }

    pub(crate) fn running(&self) -> Running {
        match self.summary.phase {
            Phase::Running => Running::Yes,
            Phase::Restarting => Running::No("it crashes and is restarted".into()),
            Phase::Paused => Running::No("it is paused".into()),
            Phase::Created => Running::No("it was never started".into()),
            Phase::Exited | Phase::Ending => Running::No(self.exit()),
        }
    }

    /// How it ended, in a few words.
    pub(crate) fn exit(&self) -> String {
        let state = self.state();
        let mut text = format!("it exited with code {}", state.exit_code.unwrap_or(-1));
        if state.oom_killed == Some(true) {
            text.push_str(", killed for want of memory");
        }
        if let Some(e) = state.error.filter(|e| !e.is_empty()) {
            text.push_str(&format!(" ({e})"));
        }
        text
    }

    pub(crate) fn started_at(&self) -> String {
        self.state().started_at.unwrap_or_default()
    }

    pub(crate) fn restarts(&self) -> i64 {
        self.inspect.restart_count.unwrap_or(0)
    }

    /// The health status of a container that has a health check.
    pub(crate) fn health(&self) -> Option<(HealthStatusEnum, Vec<HealthcheckResult>)> {
        let health = self.state().health?;
        match health.status? {
            HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
            status => Some((status, health.log.unwrap_or_default())),
        }
    }

    pub(crate) fn removes_itself(&self) -> bool {
        let host = self.inspect.host_config.as_ref();
        host.and_then(|h| h.auto_remove).unwrap_or(false)
    }

    /// How long it may take to stop, in seconds.
    pub(crate) fn stop_timeout(&self) -> u64 {
        let config = self.inspect.config.as_ref();
        let own = config.and_then(|c| c.stop_timeout).unwrap_or(10);
        u64::try_from(own).unwrap_or(10)
    }

    pub(crate) fn restart(&self) -> RestartPolicy {
        let host = self.inspect.host_config.as_ref();
        let policy = host.and_then(|h| h.restart_policy.as_ref());
        policy.map(RestartPolicy::seen).unwrap_or_default()
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::default()
            .with("container", &self.summary.id)
            .with("image", &self.summary.image)
            .with("pid", self.state().pid.unwrap_or(0).to_string())
            .with("started_at", self.started_at())
    }
}
