//! [`Pins`]: the private tags by which a workload holds its images.
//!
//! An image that was pulled by digest has no tag, so that pruning takes it, and dockerd forgets
//! its digest together with the last tag of its repository. A pin is a tag in a repository of
//! this crate's own that says which artifact it holds and for which deployment. By it the image is
//! held, and found. What the tags say is [`Tag`]'s.

use rollback_core::context::Context;
use rollback_core::error::{BackendError, Chain};
use rollback_core::history::Fence;
use sha2::{Digest, Sha256};

use crate::client::Client;
use crate::fingerprint;
use crate::freed::{Freed, Layers};
use crate::tag::{Hold, Tag};

/// A workload's pins, as they were when they were read.
#[derive(Debug)]
pub(crate) struct Pins {
    repository: String,
    all: Vec<Pin>,
}

/// A name in the repository, and the image that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) tag: Tag,
    /// The image's id.
    pub(crate) image: String,
}

impl Pins {
    pub(crate) async fn read(client: &Client, repository: &str) -> Result<Self, BackendError> {
        let tags = client.tags(repository).await?.into_iter();
        let all = tags.map(|(tag, image)| Pin {
            tag: Tag::parse(&tag),
            image,
        });
        Ok(Self {
            repository: repository.to_owned(),
            all: all.collect(),
        })
    }

    /// The id of the image that is pinned as this artifact.
    pub(crate) fn image_of(&self, artifact: &str) -> Option<&str> {
        let mut holds = self.holds();
        let (pin, _) = holds.find(|(_, hold)| hold.artifact == artifact)?;
        Some(&pin.image)
    }

    /// Those that hold an artifact.
    pub(crate) fn holds(&self) -> impl Iterator<Item = (&Pin, &Hold)> {
        self.all.iter().filter_map(|pin| match &pin.tag {
            Tag::Hold(hold) => Some((pin, hold)),
            Tag::Token(_) | Tag::Unknown(_) => None,
        })
    }

    /// Those that are fencing tokens.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (&Pin, &Fence)> {
        self.all.iter().filter_map(|pin| match &pin.tag {
            Tag::Token(fence) => Some((pin, fence)),
            Tag::Hold(_) | Tag::Unknown(_) => None,
        })
    }

    pub(crate) fn fences(&self) -> impl Iterator<Item = &Fence> {
        self.tokens().map(|(_, fence)| fence)
    }

    /// Takes these away, and lets those images go that nothing else holds; how much of the disk that
    /// has freed.
    pub(crate) async fn remove(
        &self,
        cx: &Context,
        client: &Client,
        surplus: &[&Pin],
    ) -> Result<Freed, BackendError> {
        let mut freed = Freed::default();
        for pin in surplus {
            cx.check()?;
            let name = format!("{}:{}", self.repository, pin.tag);
            let stays = |p: &Pin| p.image == pin.image && !surplus.contains(&p);
            // Of what is still pinned nobody has to ask whether it may go.
            if self.all.iter().any(stays) {
                client.untag(&name).await?;
                continue;
            }
            // It is counted for people alone.
            let layers = client.layers(&pin.image).await.unwrap_or_else(|e| {
                tracing::debug!(image = %pin.image, error = %Chain::of(&e), "not counted");
                Layers::default()
            });
            let mut deleted = client.untag(&name).await?;
            deleted.extend(client.free(&pin.image).await?);
            freed += layers.freed(&deleted.into_iter().collect());
        }
        Ok(freed)
    }
}

/// The repository of a workload's pins.
pub(crate) fn pin_repository(workload: &str) -> String {
    format!("rollback.local/{}", readable_name(workload))
}

/// Image names are lowercase and workloads need not be: readable, then unmistakable.
pub(crate) fn readable_name(workload: &str) -> String {
    let readable: String = workload
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let hash = fingerprint::hex(&Sha256::digest(workload)[..6]);
    let parts = readable.split('-').filter(|p| !p.is_empty());
    let parts: Vec<&str> = parts.chain([hash.as_str()]).collect();
    parts.join("-")
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
            let tag = format!("{}.12-abcd.0123456789abcdef", "a".repeat(64));
            let parsed = Reference::parse(&format!("{name}:{tag}"));
            assert!(matches!(parsed, Ok(Reference::Tag { .. })), "{name}");
        }
    }
}
