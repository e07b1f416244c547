//! What is kept and what may go: the end of a deployment, and the window.

use std::collections::BTreeMap;

use rollback_core::backend::{End, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::BackendError;

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::pins::{KEPT, Pins, artifact_of, is_elsewhere, owner, pin_name, pin_tag};

impl DockerBackend {
    /// Touches only what the operation names and what its deployment made. Whatever else runs,
    /// somebody has put it there.
    pub(crate) async fn retire_leftovers(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<(), BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let client = self.client().await.map_err(BackendError::untouched)?;
        let ours = client.ours().await.map_err(BackendError::untouched)?;
        let at = |end: &End| end.instance().map(|i| i.handle.clone());
        let (from, to) = (at(&op.from), at(&op.to));
        // With `to` still a plan nobody knows which one is to run.
        let decided = !matches!(op.to, End::Planned(_));
        let (mut kept, mut running) = (Vec::new(), Vec::new());
        for container in &ours {
            let handle = Some(container.handle());
            let of_this = container.is_made_by(&op.deployment);
            if !of_this && handle != from && handle != to {
                continue;
            }
            if container.leftover && !container.is_up() {
                client.drop_leftover(container).await;
                cx.check()?;
            } else if handle == to && !container.leftover {
                kept.push(container);
            } else if of_this && container.was_never_started() && !container.stands_in() {
                client.remove_unused(&container.id).await?;
                cx.check()?;
            } else {
                kept.push(container);
                if container.is_up() && decided {
                    running.push(container.clone());
                }
            }
        }
        if decided
            && from != to
            && let Some(from) = self.place_of(client, &op.from).await?
            && from.ours.is_none()
            && from.is_up()
        {
            running.push(from);
        }
        if !running.is_empty() {
            for container in &running {
                self.myself.spare(container)?;
            }
            self.claim(cx, client, Some(&running[0].image)).await?;
            let cx = &self.while_stopping(cx, &running);
            for container in &running {
                self.put_aside(cx, client, container).await?;
            }
        }
        self.unpin_undone(cx, client, op, &kept).await
    }

    /// Removes what this deployment has pinned and does not keep, and tokens that it supersedes.
    async fn unpin_undone(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        kept: &[&Container],
    ) -> Result<(), BackendError> {
        let pins = Pins::read(client, &self.pins).await?;
        let own = owner(cx, &pin_name(op));
        let needed = |artifact: &str| {
            let to = op.to.release().map(artifact_of) == Some(artifact);
            let made = kept.iter().filter(|c| c.is_made_by(&op.deployment));
            let mut made = made.filter_map(|c| c.ours.as_ref());
            to || made.any(|m| artifact_of(&m.release) == artifact)
        };
        for pin in pins.iter() {
            if pin.owner == own && !needed(&pin.artifact) {
                cx.check()?;
                client.untag(&pins.name(pin)).await?;
                client.free(&pin.image).await?;
            }
        }
        self.supersede(cx, client, &pins).await
    }

    pub(crate) async fn retain_window(
        &self,
        cx: &Context,
        window: &[Instance],
    ) -> Result<(), BackendError> {
        cx.check()?;
        let client = self.client().await?;
        // What is kept: each artifact and, where it is here, its image.
        let mut images: BTreeMap<String, Option<String>> = BTreeMap::new();
        for instance in window {
            let image = self.located(client, &instance.release).await?;
            let artifact = artifact_of(&instance.release).to_owned();
            images.insert(artifact, image.and_then(|i| i.id));
        }
        let wanted = |c: &Container| {
            window.iter().any(|i| i.handle == c.handle())
                || c.ours.as_ref().is_some_and(|m| {
                    let digest = m.release.digest();
                    window.iter().any(|i| i.release.digest() == digest)
                })
        };
        for container in client.ours().await? {
            let Some(marks) = &container.ours else {
                continue;
            };
            let elsewhere = match (cx.fence(), &marks.fence) {
                (Some(own), Some(its)) => own.history != its.history,
                _ => false,
            };
            if container.leftover && !container.is_up() && !elsewhere {
                cx.check()?;
                client.drop_leftover(&container).await;
                continue;
            }
            let live = container.is_up() || container.name == self.config.container;
            if live || elsewhere || wanted(&container) {
                let image = client.image(&container.image).await?.and_then(|i| i.id);
                let artifact = artifact_of(&marks.release).to_owned();
                images
                    .entry(artifact)
                    .or_default()
                    .get_or_insert_with(|| image.unwrap_or_default());
                continue;
            }
            cx.check()?;
            client.remove(&container.id).await?;
        }
        self.pin(cx, client, &images).await
    }

    /// One pin for each artifact, whoever has taken it away meanwhile (`docker image prune -a`
    /// takes the names even of images that are in use), and none for any other.
    async fn pin(
        &self,
        cx: &Context,
        client: &Client,
        images: &BTreeMap<String, Option<String>>,
    ) -> Result<(), BackendError> {
        let pins = Pins::read(client, &self.pins).await?;
        let mut pinned: Vec<&str> = Vec::new();
        let mut surplus = Vec::new();
        for pin in pins.iter() {
            if pin.fence.is_some() || is_elsewhere(cx, &pin.owner) {
                continue;
            }
            if images.contains_key(&pin.artifact) && !pinned.contains(&pin.artifact.as_str()) {
                pinned.push(&pin.artifact);
            } else {
                surplus.push(pin);
            }
        }
        for (artifact, image) in images {
            let image = image.as_ref().filter(|id| !id.is_empty());
            if let Some(image) = image.filter(|_| !pinned.contains(&artifact.as_str())) {
                cx.check()?;
                let tag = pin_tag(artifact, &owner(cx, KEPT));
                client.tag(image, &self.pins, &tag).await?;
            }
        }
        for pin in surplus {
            cx.check()?;
            client.untag(&pins.name(pin)).await?;
            client.free(&pin.image).await?;
        }
        Ok(())
    }
}
