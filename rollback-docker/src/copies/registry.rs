//! A copy in a registry of its own.

use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::backend::digests;
use crate::client::Client;
use crate::error;
use crate::images::next;

/// Pushes an image; by which `repository@digest` it can be had there. The name that a push needs is
/// taken off again: what is kept here, pins keep.
pub(super) async fn push(
    cx: &Context,
    client: &Client,
    image: &str,
    repository: &str,
    tag: &str,
) -> Result<String, BackendError> {
    let name = format!("{repository}:{tag}");
    if !client.tag(image, repository, tag).await? {
        return Err(error::gone(
            "the image was removed as it was to be copied",
            image,
        ));
    }
    let login = client.credentials.of(cx, &name).await?;
    let options = PushImageOptionsBuilder::default().tag(tag).build();
    let mut said = client
        .docker
        .push_image(repository, Some(options), login)
        .boxed();
    let failed = |e| error::registry("the copy of the image cannot be pushed", &name, e);
    while let Some(part) = next(cx, &mut said).await? {
        let part = part.map_err(failed)?;
        if let Some(error) = part.error_detail.and_then(|detail| detail.message) {
            return Err(failed(bollard::errors::Error::DockerStreamError { error }));
        }
    }
    let pushed = client.image(image).await?;
    let prefix = format!("{repository}@");
    let digest = pushed.as_ref().and_then(|pushed| {
        let mut digests = digests(pushed);
        digests
            .find(|digest| digest.starts_with(&prefix))
            .map(str::to_owned)
    });
    client.untag(&name).await?;
    digest.ok_or_else(|| {
        let what = "dockerd does not say by which digest the registry has the copy";
        BackendError::new(BackendErrorKind::Corrupt, what).on(name)
    })
}
