//! The switch: what was live is stopped, keeps its settings and gives up its name; what shall be
//! live takes the name and runs. Every step is told from what dockerd shows, by id and label, so
//! that a switch cut off anywhere goes on where it stopped.

use std::time::Duration;

use bollard::models::{RestartPolicy, RestartPolicyNameEnum};
use rollback_core::backend::{End, Evidence, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::{self, Container};
use crate::{error, settings};

/// How long the rest may take once the old container has been stopped.
const TO_THE_END: Duration = Duration::from_secs(120);

impl DockerBackend {
    pub(crate) async fn swap(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Evidence, BackendError> {
        let untouched = BackendError::untouched;
        cx.check().map_err(untouched)?;
        let client = self.client().await.map_err(untouched)?;
        let to = self.target(client, op).await.map_err(untouched)?;
        let others = self.others(cx, client, op, to.as_ref()).await;
        let others = others.map_err(untouched)?;
        let image = to.iter().chain(&others).map(|c| c.image.as_str()).next();
        self.claim(cx, client, image).await.map_err(untouched)?;
        cx.check().map_err(untouched)?;
        let cx = &self.while_stopping(cx, &others);
        for other in &others {
            self.put_aside(cx, client, other).await?;
        }
        let (Some(to), Some(release)) = (to, op.to.release()) else {
            return Ok(Evidence::default().with("container", "none"));
        };
        if to.name != self.config.container {
            client.rename(&to.id, &self.config.container).await?;
            cx.check()?;
        }
        let policy = container::restart_policy(release);
        if to.restart_row() != settings::plain(release, settings::RESTART) && !to.removes_itself() {
            client.set_restart(&to.id, policy).await?;
            cx.check()?;
        }
        if !to.is_up() {
            cx.say("starting the container");
            client.start(&to.id).await?;
        }
        // What exits at once is for the health gate to tell: it has the log to show.
        let now = client.inspect(&to.id).await?.ok_or_else(|| {
            BackendError::new(
                BackendErrorKind::Conflict,
                "the container vanished as it was started",
            )
            .on(&to.id)
        })?;
        tracing::debug!(workload = %op.workload, container = %now.id, "switched");
        Ok(now.evidence())
    }

    /// From when the first of these is told to stop until something runs again, no deadline is to
    /// pass, or nothing would run: the time that a container has for stopping is its own, and comes
    /// on top of the caller's.
    pub(crate) fn while_stopping(&self, cx: &Context, containers: &[Container]) -> Context {
        let up = containers.iter().filter(|c| c.is_up());
        let seconds = up.map(Container::stop_timeout).sum();
        cx.detached(Duration::from_secs(seconds) + TO_THE_END)
    }

    async fn target(
        &self,
        client: &Client,
        op: &Operation,
    ) -> Result<Option<Container>, BackendError> {
        match &op.to {
            End::Nothing => Ok(None),
            End::Planned(release) => Err(BackendError::new(
                BackendErrorKind::Failed,
                "the release was not prepared",
            )
            .on(release)),
            End::Placed(instance) => match client.of(&instance.handle).await? {
                Some(container) if container.is_sound() => Ok(Some(container)),
                _ => Err(error::gone("the container is gone", &instance.handle)),
            },
        }
    }

    /// What must not run or have the live name any longer: what the operation names, what its
    /// deployment made, and what earlier ones of the same history have left. Refuses if anything
    /// else is in the way: somebody has put it there.
    async fn others(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        to: Option<&Container>,
    ) -> Result<Vec<Container>, BackendError> {
        let from = self.place_of(client, &op.from).await?;
        let mut all = client.ours().await?;
        for other in [from, client.inspect(&self.config.container).await?] {
            all.extend(other.filter(|o| all.iter().all(|c| c.id != o.id)));
        }
        all.retain(|c| to.is_none_or(|to| to.id != c.id));
        all.retain(|c| c.is_up() || c.name == self.config.container);
        for container in &all {
            if !knows(cx, op, container)? {
                return Err(stranger(container));
            }
            self.myself.spare(container)?;
        }
        Ok(all)
    }

    /// Stops a container and keeps it: it must not come back when dockerd restarts, and the live
    /// name is free afterwards.
    pub(crate) async fn put_aside(
        &self,
        cx: &Context,
        client: &Client,
        container: &Container,
    ) -> Result<(), BackendError> {
        // Docker takes no other policy for a container that removes itself.
        if container.restart_row().is_some() && !container.removes_itself() {
            let never = RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            };
            client.set_restart(&container.id, never).await?;
            cx.check()?;
        }
        // It is gone as soon as it has stopped, and its name some time after.
        if container.removes_itself() && container.name == self.config.container {
            let parked = container.parked(&self.config.container);
            client.rename(&container.id, &parked).await?;
            cx.check()?;
        }
        if container.is_up() {
            cx.say("stopping the former container");
            client.stop(container).await?;
            cx.check()?;
        }
        if container.name == self.config.container && !container.removes_itself() {
            let parked = container.parked(&self.config.container);
            client.rename(&container.id, &parked).await?;
            cx.check()?;
        }
        Ok(())
    }
}

/// Whether a container that is in the way may be put aside.
fn knows(cx: &Context, op: &Operation, container: &Container) -> Result<bool, BackendError> {
    let handle = container.handle();
    let named = [&op.from, &op.to]
        .iter()
        .any(|end| end.instance().is_some_and(|i| i.handle == handle));
    if named || container.is_made_by(&op.deployment) {
        return Ok(true);
    }
    if container.ours.is_none() {
        return Ok(false);
    }
    cx.may_publish(container.fence())?;
    Ok(match (cx.fence(), container.fence()) {
        (Some(own), Some(its)) => own.history == its.history,
        (own, its) => own.is_none() && its.is_none(),
    })
}

/// What somebody else has put in the way.
pub(crate) fn stranger(container: &Container) -> BackendError {
    let what = match &container.ours {
        Some(marks) => format!(
            "a container runs that this deployment does not know: {} made it",
            marks.deployment
        ),
        None => "another container has taken the live name since".to_owned(),
    };
    BackendError::new(BackendErrorKind::Conflict, what)
        .on(format!("{} ({})", container.name, container.id))
        .advice("adopt it, stop it, or rename it")
        .transient(false)
}
