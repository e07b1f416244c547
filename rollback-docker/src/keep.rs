//! What is kept and what may go: the end of a deployment, and the window.

use std::collections::BTreeMap;

use futures_util::try_join;
use rollback_core::backend::{End, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::id::DeploymentId;

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::pins::Pins;
use crate::restart::RestartPolicy;
use crate::summary::Summary;
use crate::tag::artifact_of;

impl DockerBackend {
    /// Touches only what the operation names and what its deployment made. Whatever else runs,
    /// somebody has put it there.
    pub(crate) async fn retire_leftovers(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<(), BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let client = &self.client().await.map_err(BackendError::untouched)?;
        let inventory = match self.is_beside() {
            true => Inventory::with_others(client).await,
            false => Inventory::take(client).await,
        };
        let inventory = inventory.map_err(BackendError::untouched)?;
        let at = |end: &End| end.instance().map(|i| i.handle.clone());
        let (from, to) = (at(&op.from), at(&op.to));
        // With `to` still a plan nobody knows which one is to run.
        let decided = !matches!(op.to, End::Planned(_));
        let (mut kept, mut running, mut never) = (Vec::new(), Vec::new(), Vec::new());
        for container in inventory.ours() {
            let handle = Some(container.handle());
            let of_this = container.is_made_by(&op.deployment);
            if !of_this && handle != from && handle != to {
                continue;
            }
            let leftover = inventory.is_leftover(container);
            if leftover && !container.is_up() {
                client.drop_leftover(container).await;
                cx.check()?;
            } else if handle == to && !leftover {
                kept.push(container);
            } else if of_this && container.was_never_started() && !container.stands_in() {
                client.remove_unused(&container.id).await?;
                cx.check()?;
            } else if of_this && container.was_never_live() && decided {
                never.extend(inventory.container(&container.id).await?);
            } else {
                kept.push(container);
                // The former runs until now, unless it has ended by itself.
                let former = self.is_beside() && handle == from;
                if decided && (container.is_up() || former) {
                    let container = inventory.container(&container.id).await?;
                    running.extend(container.filter(|c| is_active(c)));
                }
            }
        }
        // What people made by hand is in no list of ours.
        if decided
            && from != to
            && let Some(from) = from.filter(|from| inventory.holder(from).is_none())
            && let Some(from) = inventory.of(&from).await?
            && from.summary.ours.is_none()
            && from.summary.is_up()
        {
            running.push(from);
        }
        if let Some(first) = running.iter().chain(&never).next() {
            for container in &running {
                self.myself.spare(&container.summary)?;
            }
            let image = &first.summary.image;
            self.claim(cx, client, Some(image)).await?;
            let stopped = [&running[..], &never].concat();
            let cx = &self.while_stopping(cx, &stopped);
            for never in &never {
                self.undo_beside(cx, client, never).await?;
            }
            let mut told = Vec::new();
            for container in &running {
                told.extend(self.put_aside(cx, client, op, container).await?);
            }
            self.tell(cx, told);
        }
        // Also where nothing ran any more, or a retirement before this one was cut off.
        if self.is_beside()
            && decided
            && let Some(to) = inventory.at(&op.to).await?
            && to.summary.is_up()
        {
            let told = self
                .see_to_dependents(cx, client, &inventory, &to, &running)
                .await;
            self.tell(cx, told);
        }
        if decided {
            self.revive(cx, client, &inventory, op).await?;
        }
        self.undress_all(cx, client, op).await?;
        self.unpin_undone(cx, client, op, &kept).await
    }

    /// Starts what is live, where dockerd has stopped it in the course of this deployment. One of 20.10
    /// that was killed ends on its next start what runs still, and then takes it for stopped by hand:
    /// `unless-stopped` does not bring it back. What was down before stays so.
    async fn revive(
        &self,
        cx: &Context,
        client: &Client,
        inventory: &Inventory<'_>,
        op: &Operation,
    ) -> Result<(), BackendError> {
        let handle = op.to.instance().map(|i| &i.handle);
        let listed = handle.and_then(|handle| inventory.holder(handle));
        if listed.is_some_and(Summary::is_up) {
            return Ok(());
        }
        let Some(live) = inventory.at(&op.to).await? else {
            return Ok(());
        };
        let is_down = !live.summary.is_up() && live.summary.is_sound();
        let is_live = live.summary.name == self.config.container;
        if is_down
            && is_live
            && live.restart() == RestartPolicy::UnlessStopped
            && has_ended_since(&live, &op.deployment)
        {
            self.myself.spare(&live.summary)?;
            self.claim(cx, client, Some(&live.summary.image)).await?;
            cx.check()?;
            cx.say("starting what is live: it was stopped meanwhile");
            client.start(&live).await?;
        }
        Ok(())
    }

    /// Removes what this deployment has pinned and does not keep, and tokens that it supersedes.
    async fn unpin_undone(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        kept: &[&Summary],
    ) -> Result<(), BackendError> {
        let needed = |artifact: &str| {
            let to = op.to.release().map(artifact_of) == Some(artifact);
            let made = kept.iter().filter(|c| c.is_made_by(&op.deployment));
            let mut made = made.filter_map(|c| c.ours.as_ref());
            to || made.any(|m| artifact_of(&m.release) == artifact)
        };
        let pins = self.source.unpin_undone(cx, client, op, needed).await?;
        self.supersede(cx, client, &pins).await
    }

    pub(crate) async fn retain_window(
        &self,
        cx: &Context,
        window: &[Instance],
    ) -> Result<(), BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let pins = Pins::read(client, &self.source.pins);
        let (inventory, pins) = try_join!(Inventory::take(client), pins)?;
        // What is kept: each artifact and, where a container is made of it, its image.
        let mut kept: BTreeMap<String, Option<String>> = BTreeMap::new();
        for instance in window {
            kept.insert(artifact_of(&instance.release).to_owned(), None);
        }
        let wanted = |c: &Summary| {
            window.iter().any(|i| i.handle == c.handle())
                || c.ours.as_ref().is_some_and(|m| {
                    let digest = m.release.digest();
                    window.iter().any(|i| i.release.digest() == digest)
                })
        };
        for container in inventory.ours() {
            let Some(marks) = &container.ours else {
                continue;
            };
            let elsewhere = match (cx.fence(), &marks.fence) {
                (Some(own), Some(its)) => own.history != its.history,
                _ => false,
            };
            if inventory.is_leftover(container) && !container.is_up() && !elsewhere {
                cx.check()?;
                client.drop_leftover(container).await;
                continue;
            }
            let live = container.is_up() || container.name == self.config.container;
            if live || elsewhere || wanted(container) {
                let artifact = artifact_of(&marks.release).to_owned();
                let image = kept.entry(artifact).or_default();
                image.get_or_insert_with(|| container.image.clone());
                continue;
            }
            cx.check()?;
            let stays = |c: &Summary| c.is_up() || c.name == self.config.container || wanted(c);
            self.unname(cx, client, &inventory, container, stays)
                .await?;
            match container.was_never_live() {
                // Nobody's data are in what was made for it alone.
                true => client.remove_unused(&container.id).await?,
                false => client.remove(&container.id).await?,
            }
        }
        self.source.pin(cx, client, &pins, window, &kept).await
    }
}

/// Whether a container has ended since a deployment was begun, by the second that its id tells.
fn has_ended_since(container: &Container, deployment: &DeploymentId) -> bool {
    let second = |text: &str| -> String {
        let digits = text.chars().filter(char::is_ascii_digit);
        digits.take("20260315143022".len()).collect()
    };
    let state = container.inspect.state.as_ref();
    let ended = state.and_then(|state| state.finished_at.as_deref());
    ended.is_some_and(|ended| second(ended) >= second(deployment.as_str()))
}

/// Whether a container runs, or would again when dockerd restarts.
fn is_active(container: &Container) -> bool {
    container.summary.is_up() || container.restart() != RestartPolicy::No
}
