//! What an image says of the sources that it was built of: the labels that OCI has for it.

use bollard::models::ImageInspect;
use rollback_core::release::{Artifact, Release, Sources};

use crate::settings::with_artifact;

const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";

/// Longest text that is taken for one of the two.
const MAX: usize = 1024;

/// The sources of an image, if it says which revision of them it is.
pub(crate) fn of_image(image: &ImageInspect) -> Option<Sources> {
    let labels = image.config.as_ref()?.labels.as_ref()?;
    let label = |name: &str| {
        let text = labels.get(name)?.trim();
        let whole = !text.is_empty() && text.len() <= MAX;
        let in_a_line = !text.contains(char::is_control);
        (whole && in_a_line).then(|| text.to_owned())
    };
    Some(Sources::new(label(REVISION)?, label(SOURCE)))
}

/// The artifact, built of what its image says.
pub(crate) fn artifact_of(artifact: Artifact, image: &ImageInspect) -> Artifact {
    match of_image(image) {
        Some(sources) => artifact.built_of(sources),
        None => artifact,
    }
}

/// The release, its artifact built of what its image says, unless that is known already.
pub(crate) fn release_of(release: &Release, image: &ImageInspect) -> Release {
    match (&release.artifact().sources, of_image(image)) {
        (None, Some(sources)) => {
            with_artifact(release, release.artifact().clone().built_of(sources))
        }
        _ => release.clone(),
    }
}
