//! [`Naming`]: whether the name by which a release was asked for means its image at this daemon. Another
//! tool looks there for what the live container should be made of.
//!
//! A name is the whole daemon's: other containers are judged by it, too. So one that means another image
//! is moved once the container that it is moved for goes live, and is lent no longer than it takes to
//! ask the tool for its labels.

use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::release::Release;

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::inventory::Inventory;
use crate::reference::Reference;
use crate::summary::Summary;

/// What a release's name means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The release's image; or it was asked for by a digest, which means nothing else.
    Means,
    /// Nothing.
    Free(Name),
    /// Another image, with this id, that came from a registry and can be had from there again.
    Moves(Name, String),
    /// Another image that was built here and has no other name: it keeps it.
    Kept,
}

/// A name of an image that is no digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    repository: String,
    tag: String,
}

impl Name {
    /// The one that a release was asked for by.
    fn of(release: &Release) -> Option<Self> {
        match Reference::parse(&release.artifact().reference) {
            Ok(Reference::Tag { repository, tag }) => Some(Self { repository, tag }),
            _ => None,
        }
    }

    fn whole(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    async fn give(&self, client: &Client, image: &str) -> Result<(), BackendError> {
        client
            .tag(image, &self.repository, &self.tag)
            .await
            .map(drop)
    }
}

impl Naming {
    pub(crate) async fn of(
        client: &Client,
        release: &Release,
        image: &str,
    ) -> Result<Self, BackendError> {
        let Some(name) = Name::of(release) else {
            return Ok(Self::Means);
        };
        let Some(now) = client.image(&name.whole()).await? else {
            return Ok(Self::Free(name));
        };
        let pulled = now.repo_digests.iter().flatten().next().is_some();
        Ok(match now.id {
            Some(id) if id == image => Self::Means,
            Some(id) if pulled => Self::Moves(name, id),
            _ => Self::Kept,
        })
    }

    /// Whether the name means the image, or is about to.
    pub(crate) fn is_true(&self) -> bool {
        !matches!(self, Self::Kept)
    }

    /// Lets the name mean the image.
    pub(crate) async fn give(&self, client: &Client, image: &str) -> Result<(), BackendError> {
        match self {
            Self::Means | Self::Kept => Ok(()),
            Self::Free(name) | Self::Moves(name, _) => name.give(client, image).await,
        }
    }

    /// Lets the name mean again what it meant. One that meant nothing here is in nobody's way.
    pub(crate) async fn put_back(&self, client: &Client) -> Result<(), BackendError> {
        match self {
            Self::Moves(name, before) => name.give(client, before).await,
            _ => Ok(()),
        }
    }

    /// The name, if this crate was the first to give it here, for it to be taken away with the last
    /// container that was made by it.
    pub(crate) fn given(&self, inventory: &Inventory<'_>, release: &Release) -> Option<String> {
        let name = Name::of(release)?.whole();
        let ours = |c: &Summary| c.gave() == Some(name.as_str());
        let first = matches!(self, Self::Free(_));
        (first || inventory.ours().iter().any(ours)).then_some(name)
    }
}

impl DockerBackend {
    /// Lets the live container's name mean its image.
    pub(crate) async fn name_image(
        &self,
        client: &Client,
        release: &Release,
        image: &str,
    ) -> Result<(), BackendError> {
        if self.config.live_labels.is_none() {
            return Ok(());
        }
        let naming = Naming::of(client, release, image).await?;
        naming.give(client, image).await
    }

    /// Takes the name away that was given for a container which goes, if it still means its image and
    /// none that stays needs it.
    pub(crate) async fn unname(
        &self,
        cx: &Context,
        client: &Client,
        inventory: &Inventory<'_>,
        goes: &Summary,
        stays: impl Fn(&Summary) -> bool,
    ) -> Result<(), BackendError> {
        let Some(name) = goes.gave() else {
            return Ok(());
        };
        let mut others = inventory.ours().iter().filter(|c| c.id != goes.id);
        if others.any(|c| c.image == goes.image && stays(c)) {
            return Ok(());
        }
        let now = client.image(name).await?.and_then(|image| image.id);
        if now.as_ref() == Some(&goes.image) {
            cx.check()?;
            client.untag(name).await?;
        }
        Ok(())
    }
}
