//! [`Container`]: one container as dockerd shows it, with what our labels say of it.

use std::cmp::Reverse;
use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum,
    HealthcheckResult, RestartPolicy, RestartPolicyNameEnum,
};
use rollback_core::backend::{Evidence, Handle, Running};
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::history::Fence;
use rollback_core::id::DeploymentId;
use rollback_core::release::Release;

use crate::settings;

pub(crate) const WORKLOAD: &str = "rollback.workload";
pub(crate) const DEPLOYMENT: &str = "rollback.deployment";
pub(crate) const RELEASE: &str = "rollback.release";
pub(crate) const SPEC: &str = "rollback.spec";
pub(crate) const IMAGE: &str = "rollback.image";
pub(crate) const PARK: &str = "rollback.park";
/// On a container that was made anew in place of another: the handle that it takes over.
pub(crate) const HANDLE: &str = "rollback.handle";
/// The fencing token under which it was made.
pub(crate) const FENCE: &str = "rollback.fence";

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
    /// Whether another container has this one's handle with a better claim: what is left of a
    /// recreation. Only told of containers that were listed together.
    pub(crate) leftover: bool,
    /// Whether its hardware addresses tell if somebody has chosen them.
    pub(crate) macs_tell: bool,
    pub(crate) inspect: ContainerInspectResponse,
}

/// This crate's labels.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub(crate) deployment: String,
    pub(crate) release: Release,
    pub(crate) park: String,
    /// The id of the first container of this handle, if this is not it.
    pub(crate) stands_for: Option<String>,
    /// By what right it was made.
    pub(crate) fence: Option<Fence>,
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
            leftover: false,
            macs_tell: false,
            inspect,
        })
    }

    /// The id of the container that was made first. dockerd gives each a new one and takes none
    /// that is asked for, so one that was made anew says on a label whose place it takes.
    pub(crate) fn handle(&self) -> Handle {
        let marks = self.ours.as_ref();
        Handle::new(
            marks
                .and_then(|m| m.stands_for.as_ref())
                .unwrap_or(&self.id),
        )
    }

    /// Of containers with one handle, the one with the least claim is it. Labels cannot be changed
    /// and names can: a recreation goes on by renaming, and this is how far it is read from them.
    pub(crate) fn claim(&self, live_name: &str) -> impl Ord + use<> {
        let is = |name: Option<String>| name.as_ref() == Some(&self.name);
        let place = match () {
            () if self.name == live_name => 0,
            () if self.is_up() => 1,
            () if is(self.anew_name()) => 3,
            () if is(self.broken_name()) => 4,
            () => 2,
        };
        let newest = Reverse(self.inspect.created.clone());
        (!self.is_sound(), place, newest, self.id.clone())
    }

    /// Whether it was made anew in place of another.
    pub(crate) fn stands_in(&self) -> bool {
        self.handle().as_str() != self.id
    }

    /// The name of what shall take this one's place, until it does.
    pub(crate) fn anew_name(&self) -> Option<String> {
        let marks = self.ours.as_ref()?;
        Some(format!("{}-anew", marks.park))
    }

    /// Its name once another one takes its place.
    pub(crate) fn broken_name(&self) -> Option<String> {
        let marks = self.ours.as_ref()?;
        let id = self.id.get(..12).unwrap_or(&self.id);
        Some(format!("{}-broken-{id}", marks.park))
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

    /// Whether this deployment made it.
    pub(crate) fn is_made_by(&self, deployment: &DeploymentId) -> bool {
        let marks = self.ours.as_ref();
        marks.is_some_and(|m| m.deployment == deployment.as_str())
    }

    pub(crate) fn fence(&self) -> Option<&Fence> {
        self.ours.as_ref()?.fence.as_ref()
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
            stands_for: labels.get(HANDLE).filter(|id| is_id(id)).cloned(),
            fence: labels
                .get(FENCE)
                .and_then(|text| serde_json::from_str(text).ok()),
        })
    }

    /// Labels a container that is to be made of this image with them.
    pub(crate) fn write(
        self,
        workload: &str,
        image: &str,
        body: &mut ContainerCreateBody,
    ) -> Result<(), BackendError> {
        let fail = |e| {
            BackendError::new(BackendErrorKind::Failed, "a release cannot be written").because(e)
        };
        let spec = serde_json::to_string(&self.release).map_err(fail)?;
        let fence = self.fence.as_ref().map(serde_json::to_string);
        let fence = fence.transpose().map_err(fail)?;
        let marks = [
            (WORKLOAD, workload.to_owned()),
            (DEPLOYMENT, self.deployment),
            (RELEASE, self.release.digest().to_string()),
            (IMAGE, image.to_owned()),
            (PARK, self.park),
            (SPEC, spec),
        ];
        let labels = body.labels.get_or_insert_default();
        labels.extend(marks.map(|(name, value)| (name.to_owned(), value)));
        labels.extend(self.stands_for.map(|id| (HANDLE.to_owned(), id)));
        labels.extend(fence.map(|fence| (FENCE.to_owned(), fence)));
        Ok(())
    }
}

/// Whether this is a container's id as dockerd gives it.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
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
    let row = settings::plain(release, settings::RESTART);
    let (name, count) = match row.as_deref() {
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
