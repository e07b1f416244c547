//! What is kept and what may go: the end of a deployment, and the window.

use rollback_core::backend::{End, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use sha2::{Digest, Sha256};

use crate::backend::DockerBackend;
use crate::container::Container;
use crate::fingerprint;

impl DockerBackend {
    pub(crate) async fn retire_leftovers(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<(), BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let client = self.client().await.map_err(BackendError::untouched)?;
        let ours = client.ours().await.map_err(BackendError::untouched)?;
        let keep = op.to.instance().map(|i| i.handle.clone());
        let mut pinned = false;
        for container in &ours {
            if container.leftover && !container.is_up() {
                client.drop_leftover(container).await;
                cx.check()?;
                continue;
            }
            let of_this = container
                .ours
                .as_ref()
                .is_some_and(|m| m.deployment == op.deployment.as_str());
            let is_to = !container.leftover && keep.as_ref() == Some(&container.handle());
            if is_to {
                pinned |= of_this;
            } else if of_this && container.was_never_started() && !container.stands_in() {
                client.remove(&container.id).await?;
                cx.check()?;
            } else {
                pinned |= of_this;
                // With `to` still a plan nobody knows which one is to run.
                if container.is_up() && !matches!(op.to, End::Planned(_)) {
                    self.put_aside(cx, &client, container).await?;
                }
            }
        }
        if !matches!(op.to, End::Planned(_))
            && let Some(from) = op.from.instance()
            && keep.as_ref() != Some(&from.handle)
            && let Some(from) = client.of(&from.handle).await?
            && from.is_up()
        {
            self.put_aside(cx, &client, &from).await?;
        }
        if !pinned {
            client
                .untag(&format!("{}:{}", self.pins, pin_name(op)))
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn retain_window(
        &self,
        cx: &Context,
        window: &[Instance],
    ) -> Result<(), BackendError> {
        cx.check()?;
        let client = self.client().await?;
        let mut images = Vec::new();
        for instance in window {
            images.extend(
                client
                    .image(&instance.release.artifact().digest)
                    .await?
                    .and_then(|i| i.id),
            );
        }
        let wanted = |c: &Container| {
            window.iter().any(|i| i.handle == c.handle())
                || c.ours.as_ref().is_some_and(|m| {
                    window
                        .iter()
                        .any(|i| i.release.digest() == m.release.digest())
                })
        };
        for container in client.ours().await? {
            if container.leftover && !container.is_up() {
                cx.check()?;
                client.drop_leftover(&container).await;
                continue;
            }
            if container.is_up() || container.name == self.config.container || wanted(&container) {
                // `docker image prune -a` takes the names even of images that are in use.
                if client.image(&container.image).await?.is_some() {
                    cx.check()?;
                    let tag = pin_tag(&container);
                    client.tag(&container.image, &self.pins, &tag).await?;
                }
                images.push(container.image);
                continue;
            }
            cx.check()?;
            client.remove(&container.id).await?;
        }
        for (tag, image) in client.tags(&self.pins).await? {
            if !images.contains(&image) {
                cx.check()?;
                client.untag(&tag).await?;
            }
        }
        Ok(())
    }
}

/// What a deployment calls its container and its pin: the place in the order for people, the
/// end of the id because another history may count from 1 again.
pub(crate) fn pin_name(op: &Operation) -> String {
    let id = op.deployment.as_str();
    format!("{}-{}", op.sequence, id.rsplit('-').next().unwrap_or(id))
}

/// The pin of a container that stands.
pub(crate) fn pin_tag(container: &Container) -> String {
    match &container.ours {
        // The container's resting name ends in what its deployment called the pin.
        Some(marks) => {
            let mut parts = marks.park.rsplitn(3, '-');
            let (id, sequence) = (parts.next(), parts.next());
            format!("{}-{}", sequence.unwrap_or("0"), id.unwrap_or("0"))
        }
        None => format!("adopted-{}", container.id.get(..12).unwrap_or("0")),
    }
}

/// Image names are lowercase and workloads need not be: readable, then unmistakable.
pub(crate) fn pin_repository(workload: &str) -> String {
    let readable: String = workload
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let hash = fingerprint::hex(&Sha256::digest(workload)[..6]);
    let parts = readable.split('-').filter(|p| !p.is_empty());
    let parts: Vec<&str> = parts.chain([hash.as_str()]).collect();
    format!("rollback.local/{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn pins_are_valid_image_names_and_differ_between_workloads() {
        let a = pin_repository("Api_X@web-1");
        let b = pin_repository("api-x@web-1");
        assert_ne!(a, b);
        for name in [a, b, pin_repository(&"Ä@".repeat(300))] {
            let parsed = Reference::parse(&format!("{name}:12-abcd"));
            assert!(matches!(parsed, Ok(Reference::Tag { .. })), "{name}");
        }
    }
}
