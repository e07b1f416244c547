//! What [`Client`] asks of images, here and in their registries.

use std::collections::HashMap;

use bollard::models::ImageInspect;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use tokio::time::Instant;

use crate::client::Client;
use crate::error;
use crate::platform::Platform;
use crate::progress::Layers;

impl Client {
    /// The local image of this name, digest or id.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageInspect>, BackendError> {
        match self.docker.inspect_image(name).await {
            Ok(image) => Ok(Some(image)),
            Err(e) if error::status(&e) == Some(404) => Ok(None),
            Err(e) => Err(self.failed("cannot inspect the image", name, e)),
        }
    }

    /// The manifest digest that the registry has for a name now.
    pub(crate) async fn remote(&self, cx: &Context, name: &str) -> Result<String, BackendError> {
        Ok(self.offered(cx, name).await?.0)
    }

    /// The same, and which platforms it is for.
    pub(crate) async fn offered(
        &self,
        cx: &Context,
        name: &str,
    ) -> Result<(String, Vec<Platform>), BackendError> {
        let login = self.credentials.of(cx, name).await?;
        let ask = self.docker.inspect_registry_image(name, login);
        let answer = tokio::select! {
            answer = tokio::time::timeout(cx.remaining(), ask) => answer,
            () = cx.cancellation().cancelled() => return Err(stopped(cx)),
        };
        let found = answer
            .map_err(|_| stopped(cx))?
            .map_err(|e| error::registry("the registry does not give the image", name, e))?;
        let platforms = found.platforms.iter().filter_map(Platform::offered);
        let digest = found.descriptor.digest.ok_or_else(|| {
            BackendError::new(BackendErrorKind::Corrupt, "the registry gave no digest").on(name)
        })?;
        Ok((digest, platforms.collect()))
    }

    /// Pulls by digest. Errors come inside the stream.
    pub(crate) async fn pull(
        &self,
        cx: &Context,
        name: &str,
        platform: Option<&str>,
    ) -> Result<(), BackendError> {
        let options = CreateImageOptionsBuilder::default()
            .from_image(name)
            .platform(platform.unwrap_or_default())
            .build();
        let login = self.credentials.of(cx, name).await?;
        let mut stream = self.docker.create_image(Some(options), None, login);
        let fail = |e| error::registry("the image cannot be pulled", name, e);
        let (mut layers, what) = (Layers::default(), format!("pulling {name}"));
        loop {
            match next(cx, &mut stream).await? {
                None => {
                    if let Some(progress) = layers.end(Instant::now()) {
                        cx.transfers(&what, progress);
                    }
                    return Ok(());
                }
                Some(Err(e)) => return Err(fail(e)),
                Some(Ok(info)) => {
                    if let Some(progress) = layers.hear(&info, Instant::now()) {
                        cx.transfers(&what, progress);
                    }
                    if let Some(text) = info.error_detail.and_then(|d| d.message) {
                        return Err(fail(bollard::errors::Error::DockerStreamError {
                            error: text,
                        }));
                    }
                }
            }
        }
    }

    /// Pins an image; whether it is here to be pinned.
    pub(crate) async fn tag(
        &self,
        image: &str,
        repository: &str,
        tag: &str,
    ) -> Result<bool, BackendError> {
        match self.put_tag(image, repository, tag).await {
            Ok(()) => Ok(true),
            Err(e) if error::status(&e) == Some(404) => Ok(false),
            Err(e) => Err(self.failed("cannot pin the image", image, e)),
        }
    }

    async fn put_tag(
        &self,
        image: &str,
        repository: &str,
        tag: &str,
    ) -> Result<(), bollard::errors::Error> {
        let options = TagImageOptionsBuilder::default()
            .repo(repository)
            .tag(tag)
            .build();
        self.docker.tag_image(image, Some(options)).await
    }

    /// Keeps a mark as a tag: on an image that is here or, without one, on an empty one.
    pub(crate) async fn mark(
        &self,
        cx: &Context,
        image: Option<&str>,
        repository: &str,
        tag: &str,
    ) -> Result<(), BackendError> {
        if let Some(image) = image {
            match self.put_tag(image, repository, tag).await {
                Ok(()) => return Ok(()),
                // Somebody has removed it by force; its container runs all the same.
                Err(e) if error::status(&e) == Some(404) => {}
                Err(e) => return Err(self.failed("cannot keep a mark", tag, e)),
            }
        }
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .build();
        let empty = bollard::body_full(Bytes::from_static(&[0; 1024]));
        let mut stream = self.docker.create_image(Some(options), Some(empty), None);
        while let Some(step) = next(cx, &mut stream).await? {
            step.map_err(|e| self.failed("cannot keep a mark", tag, e))?;
        }
        Ok(())
    }

    /// Removes one name of an image; the image itself goes only if nothing else holds it. What was
    /// deleted, by digest.
    pub(crate) async fn untag(&self, name: &str) -> Result<Vec<String>, BackendError> {
        let options = RemoveImageOptionsBuilder::default().build();
        match self.docker.remove_image(name, Some(options), None).await {
            Ok(done) => Ok(done.into_iter().filter_map(|step| step.deleted).collect()),
            // A container still needs it, or it is gone already.
            Err(e) if matches!(error::status(&e), Some(404 | 409)) => Ok(Vec::new()),
            Err(e) => Err(self.failed("cannot unpin the image", name, e)),
        }
    }

    /// Lets an image go that nobody holds any longer: it has no tag, and no container, running or
    /// not, is made of it. What is left of it are the digests it was pulled by, which take the
    /// disk and which `docker image prune` regards as nothing, too. What was deleted, by digest.
    pub(crate) async fn free(&self, id: &str) -> Result<Vec<String>, BackendError> {
        let Some(image) = self.image(id).await? else {
            return Ok(Vec::new());
        };
        if image.repo_tags.iter().flatten().next().is_some() || self.is_in_use(id).await? {
            return Ok(Vec::new());
        }
        let mut deleted = Vec::new();
        for digest in image.repo_digests.iter().flatten() {
            deleted.extend(self.untag(digest).await?);
        }
        Ok(deleted)
    }

    async fn is_in_use(&self, image: &str) -> Result<bool, BackendError> {
        let filters = HashMap::from([("ancestor", vec![image])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let fail = |e| self.failed("cannot list the containers of an image", image, e);
        let listed = self.docker.list_containers(Some(options)).await;
        Ok(!listed.map_err(fail)?.is_empty())
    }

    /// The tags in a repository, each with its image's id.
    pub(crate) async fn tags(
        &self,
        repository: &str,
    ) -> Result<Vec<(String, String)>, BackendError> {
        let filters = HashMap::from([("reference", vec![repository])]);
        let options = ListImagesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let images = self
            .docker
            .list_images(Some(options))
            .await
            .map_err(|e| self.failed("cannot list the images", repository, e))?;
        let prefix = format!("{repository}:");
        Ok(images
            .into_iter()
            .flat_map(|i| {
                let id = i.id;
                i.repo_tags.into_iter().map(move |tag| (tag, id.clone()))
            })
            .filter_map(|(tag, id)| Some((tag.strip_prefix(&prefix)?.to_owned(), id)))
            .collect())
    }
}

/// What a stream gives next, as long as there is time. Dropping the stream ends at the daemon, too,
/// what it tells of.
pub(crate) async fn next<S: Stream + Unpin>(
    cx: &Context,
    stream: &mut S,
) -> Result<Option<S::Item>, BackendError> {
    let next = tokio::select! {
        next = tokio::time::timeout(cx.remaining(), stream.next()) => next,
        () = cx.cancellation().cancelled() => return Err(stopped(cx)),
    };
    next.map_err(|_| stopped(cx))
}

fn stopped(cx: &Context) -> BackendError {
    match cx.check() {
        Err(e) => e,
        Ok(()) => BackendError::new(
            BackendErrorKind::DeadlineExceeded,
            "the deadline passed before there was an answer",
        ),
    }
}
