//! [`Container`]: one container as dockerd shows it, with what our labels say of it.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, HealthcheckResult,
    RestartPolicy, RestartPolicyNameEnum,
};
use rollback_core::backend::{Evidence, Handle, Running};
use rollback_core::release::Release;

use crate::release;

pub(crate) const WORKLOAD: &str = "rollback.workload";
pub(crate) const DEPLOYMENT: &str = "rollback.deployment";
pub(crate) const RELEASE: &str = "rollback.release";
pub(crate) const SPEC: &str = "rollback.spec";
pub(crate) const IMAGE: &str = "rollback.image";
pub(crate) const PARK: &str = "rollback.park";

/// What Docker says of a container that was never started.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container, inspected.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The image's id.
    pub(crate) image: String,
    /// What this crate wrote on it, if it made it.
    pub(crate) ours: Option<Marks>,
    pub(crate) inspect: ContainerInspectResponse,
}

/// This crate's labels.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub(crate) deployment: String,
    pub(crate) release: Release,
    pub(crate) park: String,
}

impl Container {
    /// `None` if dockerd left out what every container has.
    pub(crate) fn new(workload: &str, inspect: ContainerInspectResponse) -> Option<Self> {
        let id = inspect.id.clone()?;
        let image = inspect.image.clone()?;
        let name = inspect.name.clone()?.trim_start_matches('/').to_owned();
        let ours = inspect
            .config
            .as_ref()
            .and_then(|c| c.labels.as_ref())
            .and_then(|labels| Marks::read(workload, &image, labels));
        Some(Self {
            id,
            name,
            image,
            ours,
            inspect,
        })
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::new(&self.id)
    }

    fn state(&self) -> bollard::models::ContainerState {
        self.inspect.state.clone().unwrap_or_default()
    }

    /// Whether it runs, waits to be restarted, or is paused: it has not been stopped.
    pub(crate) fn is_up(&self) -> bool {
        let state = self.state();
        [state.running, state.restarting, state.paused]
            .into_iter()
            .any(|s| s == Some(true))
    }

    pub(crate) fn running(&self) -> Running {
        let state = self.state();
        if state.restarting == Some(true) {
            return Running::No("it crashes and is restarted".into());
        }
        if state.paused == Some(true) {
            return Running::No("it is paused".into());
        }
        if state.running == Some(true) {
            return Running::Yes;
        }
        if self.was_never_started() {
            return Running::No("it was never started".into());
        }
        Running::No(self.exit())
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

    pub(crate) fn was_never_started(&self) -> bool {
        self.state().started_at.is_none_or(|at| at == NEVER)
    }

    /// Whether it could be started as it stands.
    pub(crate) fn is_sound(&self) -> bool {
        !matches!(
            self.state().status,
            Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING)
        )
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

    /// Its restart policy as a release's row; `None` for no restarts.
    pub(crate) fn restart_row(&self) -> Option<String> {
        let policy = self.inspect.host_config.as_ref()?.restart_policy.as_ref()?;
        restart_row(policy)
    }

    /// Its name while it is not live.
    pub(crate) fn parked(&self, live_name: &str) -> String {
        match &self.ours {
            Some(marks) => marks.park.clone(),
            None => format!("{live_name}-{}", self.id.get(..12).unwrap_or(&self.id)),
        }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::default()
            .with("container", &self.id)
            .with("image", &self.image)
            .with("pid", self.state().pid.unwrap_or(0).to_string())
            .with("started_at", self.started_at())
    }
}

impl Marks {
    /// Labels can be copied by hand: those of another image or workload are none of ours.
    fn read(workload: &str, image: &str, labels: &HashMap<String, String>) -> Option<Self> {
        if labels.get(WORKLOAD)? != workload || labels.get(IMAGE)? != image {
            return None;
        }
        let release: Release = serde_json::from_str(labels.get(SPEC)?).ok()?;
        if labels.get(RELEASE)? != release.digest().as_str() {
            return None;
        }
        Some(Self {
            deployment: labels.get(DEPLOYMENT)?.clone(),
            park: labels.get(PARK)?.clone(),
            release,
        })
    }
}

fn restart_row(policy: &RestartPolicy) -> Option<String> {
    match policy.name? {
        RestartPolicyNameEnum::ALWAYS => Some("always".into()),
        RestartPolicyNameEnum::UNLESS_STOPPED => Some("unless-stopped".into()),
        RestartPolicyNameEnum::ON_FAILURE => Some(format!(
            "on-failure:{}",
            policy.maximum_retry_count.unwrap_or(0)
        )),
        _ => None,
    }
}

/// The restart policy that a release asks for.
pub(crate) fn restart_policy(release: &Release) -> RestartPolicy {
    let rows = release::rows(release);
    let row = rows.get(release::RESTART).map(String::as_str);
    let (name, count) = match row {
        Some("always") => (RestartPolicyNameEnum::ALWAYS, None),
        Some("unless-stopped") => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Some(other) => match other.strip_prefix("on-failure:") {
            Some(n) => (RestartPolicyNameEnum::ON_FAILURE, n.parse().ok()),
            None => (RestartPolicyNameEnum::NO, None),
        },
        None => (RestartPolicyNameEnum::NO, None),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: count,
    }
}
