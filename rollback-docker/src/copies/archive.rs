//! A copy as a file.

use std::io;
use std::path::Path;

use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::note::{blocking, fail, name, unnamed};
use crate::client::Client;
use crate::images::next;

/// How much of a file is sent at once.
const CHUNK: usize = 256 * 1024;

/// Writes an image to a file, which has its name once it is whole; how long it is, in bytes.
pub(super) async fn write(
    cx: &Context,
    client: &Client,
    image: &str,
    path: &Path,
) -> Result<u64, BackendError> {
    let at = path.to_owned();
    let file = blocking(cx, move |_| unnamed(&at).map_err(|e| fail(&at, e))).await?;
    let failed = |e: io::Error| fail(path, e);
    let mut out = File::from_std(file.reopen().map_err(failed)?);
    // dockerd writes the whole of it down before it says the first word.
    let docker = client.docker.clone().with_timeout(cx.remaining());
    let (mut archive, mut size) = (docker.export_image(image).boxed(), 0);
    while let Some(part) = next(cx, &mut archive).await? {
        let part = part.map_err(|e| client.failed("the image cannot be copied", image, e))?;
        out.write_all(&part).await.map_err(failed)?;
        size += part.len() as u64;
    }
    out.flush().await.map_err(failed)?;
    let at = path.to_owned();
    blocking(cx, move |_| name(file, &at).map_err(|e| fail(&at, e))).await?;
    Ok(size)
}

/// Has dockerd load it.
pub(super) async fn load(cx: &Context, client: &Client, path: &Path) -> Result<(), BackendError> {
    let file = File::open(path).await.map_err(|e| fail(path, e))?;
    let parts = stream::try_unfold(file, |mut file| async move {
        let mut part = vec![0; CHUNK];
        let length = file.read(&mut part).await?;
        part.truncate(length);
        let more = (length > 0).then(|| (Bytes::from(part), file));
        Ok::<_, io::Error>(more)
    });
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    // Its first word comes once it has unpacked all.
    let docker = client.docker.clone().with_timeout(cx.remaining());
    let mut said = docker.import_image_stream(options, parts, None).boxed();
    while let Some(part) = next(cx, &mut said).await? {
        let failed = |e| client.failed("the copy of the image cannot be loaded", path.display(), e);
        let part = part.map_err(failed)?;
        if let Some(error) = part.error_detail.and_then(|detail| detail.message) {
            return Err(failed(bollard::errors::Error::DockerStreamError { error }));
        }
    }
    Ok(())
}
