//! [`Pins`]: the private tags by which a workload holds its images.
//!
//! An image that was pulled by digest has no tag, so that pruning takes it, and dockerd forgets
//! its digest together with the last tag of its repository. A pin is a tag in a repository of
//! this crate's own that says which artifact it holds and for which deployment:
//! `rollback.local/<workload>:<digest>.<deployment>`. By it the image is held, and found.

use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::history::Fence;
use rollback_core::release::Release;
use sha2::{Digest, Sha256};

use crate::client::Client;
use crate::{fence, fingerprint};

/// For whom an image is pinned again whose own pin somebody has taken away.
pub(crate) const KEPT: &str = "kept";

/// A workload's pins, as they were when they were read.
#[derive(Debug)]
pub(crate) struct Pins {
    repository: String,
    all: Vec<Pin>,
}

/// One of them, or a fencing token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    tag: String,
    /// The 64 digits of the artifact's digest; empty for a token.
    pub(crate) artifact: String,
    /// Whose it is: see [`owner`].
    pub(crate) owner: String,
    /// The image's id.
    pub(crate) image: String,
    pub(crate) fence: Option<Fence>,
}

impl Pins {
    pub(crate) async fn read(client: &Client, repository: &str) -> Result<Self, BackendError> {
        let tags = client.tags(repository).await?;
        let pin = |(tag, image): (String, String)| {
            let fence = fence::parse(&tag);
            let (artifact, owner) = match tag.split_once('.') {
                Some((artifact, owner)) if fence.is_none() => (artifact, owner),
                _ => ("", ""),
            };
            Pin {
                artifact: artifact.to_owned(),
                owner: owner.to_owned(),
                image,
                fence,
                tag,
            }
        };
        Ok(Self {
            repository: repository.to_owned(),
            all: tags.into_iter().map(pin).collect(),
        })
    }

    /// The id of the image that is pinned as this artifact.
    pub(crate) fn image_of(&self, artifact: &str) -> Option<&str> {
        let mut pins = self.all.iter().filter(|p| p.fence.is_none());
        let pin = pins.find(|p| p.artifact == artifact)?;
        Some(&pin.image)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.all.iter()
    }

    pub(crate) fn fences(&self) -> impl Iterator<Item = &Fence> {
        self.all.iter().filter_map(|p| p.fence.as_ref())
    }

    /// The full name of one of them.
    pub(crate) fn name(&self, pin: &Pin) -> String {
        format!("{}:{}", self.repository, pin.tag)
    }
}

pub(crate) fn pin_tag(artifact: &str, owner: &str) -> String {
    format!("{artifact}.{owner}")
}

/// The 64 digits by which a release's artifact is pinned. A manifest's digest says what is in it,
/// whatever the repository; an image's id says so, too.
pub(crate) fn artifact_of(release: &Release) -> &str {
    let digest = &release.artifact().digest;
    digest.rsplit(':').next().unwrap_or(digest)
}

/// Whose a pin is: a deployment's and, where it is known, a history's.
pub(crate) fn owner(cx: &Context, name: &str) -> String {
    match cx.fence() {
        Some(fence) => format!("{name}.{}", fence.history),
        None => name.to_owned(),
    }
}

/// Whether another history than this one has pinned it.
pub(crate) fn is_elsewhere(cx: &Context, owner: &str) -> bool {
    let history = owner.split_once('.').map(|(_, history)| history);
    let own = cx.fence().map(|f| &f.history);
    match (own, history) {
        (Some(own), Some(history)) => own.as_str() != history,
        (None, _) | (_, None) => false,
    }
}

/// What a deployment calls its container and its pin: the place in the order for people, the
/// end of the id because another history may count from 1 again.
pub(crate) fn pin_name(op: &Operation) -> String {
    let id = op.deployment.as_str();
    format!("{}-{}", op.sequence, id.rsplit('-').next().unwrap_or(id))
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
            let tag = pin_tag(&"a".repeat(64), "12-abcd.0123456789abcdef");
            let parsed = Reference::parse(&format!("{name}:{tag}"));
            assert!(matches!(parsed, Ok(Reference::Tag { .. })), "{name}");
        }
    }
}
