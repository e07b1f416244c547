//! Making containers: of a deployment's release, or of a release in place of a container.

use std::sync::Arc;

use bollard::models::ImageInspect;
use rollback_core::backend::{End, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::Release;

use crate::backend::{DockerBackend, image_id, lost_values};
use crate::body::Blueprint;
use crate::capture;
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::marks::Marks;
use crate::platform::{Platform, Target};
use crate::settings::{self, Rows};
use crate::summary::beside_name;
use crate::tag::{Hold, pin_name};
use crate::{error, sources};

impl DockerBackend {
    pub(crate) async fn create(
        &self,
        cx: &Context,
        client: &Client,
        inventory: &Inventory<'_>,
        op: &Operation,
        release: &Release,
    ) -> Result<Container, BackendError> {
        let image = self.source.fetch(cx, client, release).await?;
        self.fits(client, release, &image)?;
        // Of one that had to be fetched nobody knew before.
        let release = &sources::release_of(release, &image);
        let image = image_id(&image)?;
        let mut made = self.blueprint_from(release, inventory, &op.from).await?;
        if self.is_beside() {
            self.set_beside(client, inventory, &op.from, &mut made)
                .await?;
        }
        cx.check()?;
        let hold = Hold::by(cx, op, release).to_string();
        if !client.tag(&image, &self.source.pins, &hold).await? {
            let what = "the image was removed as it was to be pinned";
            return Err(error::gone(what, release).transient(true));
        }
        cx.check()?;
        let (wear, gave) = self.wear(cx, client, inventory, release, &image).await?;
        let park = format!("{}-{}", self.config.container, pin_name(op));
        let marks = Marks {
            deployment: op.deployment.to_string(),
            release: release.clone(),
            park: park.clone(),
            stands_for: None,
            fence: cx.fence().cloned(),
            wears: wear.and_then(|wear| wear.put(&mut made.body)),
            gave,
        };
        cx.say("creating the container");
        let name = match self.is_beside() {
            true => beside_name(&park),
            false => park,
        };
        Box::pin(self.make(client, &name, &image, marks, made)).await
    }

    /// Refuses an image that this engine does not run, or that is not what the release asks for.
    pub(crate) fn fits(
        &self,
        client: &Client,
        release: &Release,
        image: &ImageInspect,
    ) -> Result<(), BackendError> {
        let asked = settings::plain(release, settings::PLATFORM);
        let asked = asked.map(|asked| asked.parse()).transpose()?;
        let target = Target {
            asked: asked.as_ref(),
            engine: client.engine.as_ref(),
        };
        let offered = Vec::from_iter(Platform::of_image(image));
        let chosen = target.choose(&offered, &release.artifact().digest);
        chosen.map(drop)
    }

    /// What a release's container is made of, without image and labels. Values that today's
    /// configuration does not have may be in containers that are kept: only then are they asked.
    pub(crate) async fn blueprint_from(
        &self,
        release: &Release,
        inventory: &Inventory<'_>,
        from: &End,
    ) -> Result<Blueprint, BackendError> {
        match self.blueprint(release, &[]).await {
            Err(e) if e.kind() == BackendErrorKind::Gone => {}
            made => return made,
        }
        let mut kept = Vec::new();
        for container in inventory.ours() {
            kept.extend(inventory.container(&container.id).await?);
        }
        kept.extend(inventory.named().await?);
        kept.extend(inventory.at(from).await?);
        self.blueprint(release, &kept).await
    }

    /// The same, with the older values of these containers.
    pub(crate) async fn blueprint(
        &self,
        release: &Release,
        kept: &[Arc<Container>],
    ) -> Result<Blueprint, BackendError> {
        let key = self.key().await?;
        let today = (&self.config.wanted.rows, &self.config.wanted.env);
        let kept = kept.iter().map(|c| (capture::rows(c), capture::env(c)));
        let kept: Vec<_> = kept.collect();
        let (rows, env) = settings::values(release, settings::CONTAINER, today, &kept, &key)
            .map_err(|lost| lost_values(&lost, release))?;
        let mut made = Blueprint::new(&rows)?;
        let pairs = env.into_iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={}", value.0));
        made.body.env = Some(pairs.collect());
        Ok(made)
    }

    /// Joins a container to the networks that it could not be made in.
    pub(crate) async fn join_networks(
        &self,
        cx: &Context,
        client: &Client,
        container: &Container,
        release: &Release,
    ) -> Result<(), BackendError> {
        if container.summary.ours.is_none() {
            return Ok(());
        }
        let rows: Rows = settings::table(release, settings::CONTAINER)
            .into_keys()
            .filter(|row| matches!(settings::kind(row), "endpoint" | "mac" | "network"))
            .filter_map(|row| Some((row.clone(), settings::plain(release, &row)?)))
            .collect();
        for (network, mut endpoint) in Blueprint::new(&rows)?.networks {
            if self.is_beside() {
                endpoint.aliases = None;
            }
            cx.check()?;
            client.join(container, &network, endpoint).await?;
        }
        Ok(())
    }

    /// Makes a container of an image that is here, and looks at what it has become.
    pub(crate) async fn make(
        &self,
        client: &Client,
        name: &str,
        image: &str,
        marks: Marks,
        made: Blueprint,
    ) -> Result<Container, BackendError> {
        let mut body = made.body;
        body.image = Some(name_of(client, image, &marks.release).await?);
        marks.write(&self.config.workload.to_string(), image, &mut body)?;
        let platform = made.platform.as_deref();
        let id = client.create(name, platform, body).await?;
        let made = client.inspect(&id).await?;
        match made {
            Some(made) if made.summary.image == image && made.summary.ours.is_some() => Ok(made),
            _ => Err(BackendError::new(
                BackendErrorKind::Corrupt,
                "the container is not the one that was asked for",
            )
            .on(id)),
        }
    }
}

/// What a container calls its image. Made of an id, it would be shown as one: `docker ps` and
/// scanners would not know what runs. `repository@digest` is as exact, where the image is here by it;
/// one from no registry has none, and docker forgets it with the last tag of its repository. A tag
/// would move.
async fn name_of(client: &Client, image: &str, release: &Release) -> Result<String, BackendError> {
    let digest = &release.artifact().digest;
    let named = client.image(digest).await?.and_then(|named| named.id);
    let name = if named.as_deref() == Some(image) {
        digest.as_str()
    } else {
        image
    };
    Ok(name.to_owned())
}
