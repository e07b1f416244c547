//! Making containers: of a deployment's release, or of a release in place of a container.

use bollard::models::{ContainerCreateBody, ImageInspect};
use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::Release;

use crate::backend::{DockerBackend, digests, image_id, lost_values};
use crate::client::Client;
use crate::container::{Container, Marks};
use crate::keep::pin_name;
use crate::reference::Reference;
use crate::{error, release};

impl DockerBackend {
    pub(crate) async fn create(
        &self,
        cx: &Context,
        client: &Client,
        ours: &[Container],
        op: &Operation,
        release: &Release,
    ) -> Result<Container, BackendError> {
        let image = self.fetch(cx, client, release).await?;
        let image = image_id(&image)?;
        let mut kept = ours.to_vec();
        if let Some(from) = op.from.instance() {
            kept.extend(client.of(&from.handle).await?);
        }
        let body = self.body(release, &kept).await?;
        cx.check()?;
        let tag = pin_name(op);
        client.tag(&image, &self.pins, &tag).await?;
        cx.check()?;
        let park = format!("{}-{tag}", self.config.container);
        let marks = Marks {
            deployment: op.deployment.to_string(),
            release: release.clone(),
            park: park.clone(),
            stands_for: None,
        };
        cx.say("creating the container");
        self.make(client, &park, &image, marks, body).await
    }

    /// What a release's container is made of, without image and labels. Older values of variables
    /// may be in containers that are kept.
    pub(crate) async fn body(
        &self,
        release: &Release,
        kept: &[Container],
    ) -> Result<ContainerCreateBody, BackendError> {
        let mut body = release::body(&release::rows(release))?;
        let key = self.key().await?;
        let values = release::values(release, &self.config.env, kept, &key)
            .map_err(|lost| lost_values(&lost, release))?;
        body.env = Some(
            values
                .into_iter()
                .map(|(name, value)| format!("{name}={}", value.0))
                .collect(),
        );
        Ok(body)
    }

    /// Makes a container of an image that is here, and looks at what it has become.
    pub(crate) async fn make(
        &self,
        client: &Client,
        name: &str,
        image: &str,
        marks: Marks,
        mut body: ContainerCreateBody,
    ) -> Result<Container, BackendError> {
        marks.write(&self.config.workload.to_string(), image, &mut body)?;
        body.image = Some(image.to_owned());
        let id = client.create(name, body).await?;
        let made = client.inspect(&id).await?;
        match made {
            Some(made) if made.image == image && made.ours.is_some() => Ok(made),
            _ => Err(BackendError::new(
                BackendErrorKind::Corrupt,
                "the container is not the one that was asked for",
            )
            .on(id)),
        }
    }

    /// The release's image, pulled by digest if it is not here.
    async fn fetch(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
    ) -> Result<ImageInspect, BackendError> {
        let digest = &release.artifact().digest;
        let reference = Reference::parse(digest)?;
        if let Some(image) = client.image(digest).await? {
            return Ok(image);
        }
        if matches!(reference, Reference::Id(_)) {
            return Err(error::gone(
                "the image is gone, and it came from no registry",
                release,
            ));
        }
        cx.say(format!("pulling {digest}"));
        client.pull(cx, digest).await.map_err(|e| match e.kind() {
            BackendErrorKind::NotFound => {
                error::gone("the registry no longer has the image", digest).because(e)
            }
            _ => e,
        })?;
        cx.check()?;
        let image = client.image(digest).await?;
        image
            .filter(|i| digests(i).any(|d| d == digest))
            .ok_or_else(|| {
                BackendError::new(
                    BackendErrorKind::Corrupt,
                    "what was pulled does not have the digest that was asked for",
                )
                .on(digest)
            })
    }
}
