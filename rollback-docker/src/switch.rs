//! The switch: what was live is stopped, keeps its settings and gives up its name; what shall be
//! live takes the name and runs. Every step is told from what dockerd shows, by id and label, so
//! that a switch cut off anywhere goes on where it stopped.

use bollard::models::{RestartPolicy, RestartPolicyNameEnum};
use rollback_core::backend::{End, Evidence, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::{self, Container};
use crate::error;

impl DockerBackend {
    pub(crate) async fn swap(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Evidence, BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let client = self.client().await.map_err(BackendError::untouched)?;
        let to = self
            .target(&client, op)
            .await
            .map_err(BackendError::untouched)?;
        let others = self
            .others(&client, op, to.as_ref())
            .await
            .map_err(BackendError::untouched)?;
        cx.check().map_err(BackendError::untouched)?;
        for other in &others {
            self.put_aside(cx, &client, other).await?;
        }
        let (Some(to), Some(release)) = (to, op.to.release()) else {
            return Ok(Evidence::default().with("container", "none"));
        };
        if to.name != self.config.container {
            client.rename(&to.id, &self.config.container).await?;
            cx.check()?;
        }
        let policy = container::restart_policy(release);
        if to.restart_row()
            != crate::release::rows(release)
                .get(crate::release::RESTART)
                .cloned()
            && !to.removes_itself()
        {
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

    /// What must not run or have the live name any longer.
    async fn others(
        &self,
        client: &Client,
        op: &Operation,
        to: Option<&Container>,
    ) -> Result<Vec<Container>, BackendError> {
        let mut out: Vec<Container> = Vec::new();
        let mut add = |c: Container| {
            if to.is_none_or(|to| to.id != c.id) && !out.iter().any(|o| o.id == c.id) {
                out.push(c);
            }
        };
        if let Some(from) = op.from.instance()
            && let Some(from) = client.of(&from.handle).await?
            && (from.is_up() || from.name == self.config.container)
        {
            add(from);
        }
        for container in client.ours().await? {
            if container.is_up() || container.name == self.config.container {
                add(container);
            }
        }
        if let Some(named) = client.inspect(&self.config.container).await?
            && named.ours.is_none()
            && to.is_none_or(|to| to.id != named.id)
            && op
                .from
                .instance()
                .is_none_or(|i| i.handle != named.handle())
        {
            return Err(BackendError::new(
                BackendErrorKind::Conflict,
                "another container has taken the live name since",
            )
            .on(format!("{} ({})", named.name, named.id))
            .advice("adopt it, or rename it"));
        }
        Ok(out)
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
