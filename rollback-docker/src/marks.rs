//! [`Marks`]: what this crate writes on the containers that it makes.

use std::collections::HashMap;

use bollard::models::ContainerCreateBody;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::history::Fence;
use rollback_core::release::Release;

pub(crate) const WORKLOAD: &str = "rollback.workload";
pub(crate) const DEPLOYMENT: &str = "rollback.deployment";
const RELEASE: &str = "rollback.release";
const SPEC: &str = "rollback.spec";
const IMAGE: &str = "rollback.image";
const PARK: &str = "rollback.park";
/// On a container that was made anew in place of another: the handle that it takes over.
pub(crate) const HANDLE: &str = "rollback.handle";
/// The fencing token under which it was made.
pub(crate) const FENCE: &str = "rollback.fence";

/// On a container that wears the labels of another tool: what their names begin with.
const WEARS: &str = "rollback.wears";

/// The name that its image was given for it, where nothing here had that name before.
const GAVE: &str = "rollback.gave";

/// This crate's labels.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub(crate) deployment: String,
    pub(crate) release: Release,
    pub(crate) park: String,
    /// The id of the first container of this handle, if this is not it.
    pub(crate) stands_for: Option<String>,
    /// By what right it was made.
    pub(crate) fence: Option<Fence>,
    /// The prefix of the labels that another tool knows it by, if it has them on.
    pub(crate) wears: Option<String>,
    /// The name that its image was given for it.
    pub(crate) gave: Option<String>,
}

impl Marks {
    /// Labels can be copied by hand: those of another image or workload are none of ours.
    pub(crate) fn read(
        workload: &str,
        image: &str,
        labels: &HashMap<String, String>,
    ) -> Option<Self> {
        if labels.get(WORKLOAD)? != workload || labels.get(IMAGE)? != image {
            return None;
        }
        let release: Release = serde_json::from_str(labels.get(SPEC)?).ok()?;
        if labels.get(RELEASE)? != release.digest().as_str() {
            return None;
        }
        Some(Self {
            deployment: labels.get(DEPLOYMENT)?.clone(),
            park: labels.get(PARK)?.clone(),
            release,
            stands_for: labels.get(HANDLE).filter(|id| is_id(id)).cloned(),
            fence: labels
                .get(FENCE)
                .and_then(|text| serde_json::from_str(text).ok()),
            wears: labels.get(WEARS).cloned(),
            gave: labels.get(GAVE).cloned(),
        })
    }

    /// Labels a container that is to be made of this image with them.
    pub(crate) fn write(
        self,
        workload: &str,
        image: &str,
        body: &mut ContainerCreateBody,
    ) -> Result<(), BackendError> {
        let fail = |e| {
            BackendError::new(BackendErrorKind::Failed, "a release cannot be written").because(e)
        };
        let spec = serde_json::to_string(&self.release).map_err(fail)?;
        let fence = self.fence.as_ref().map(serde_json::to_string);
        let fence = fence.transpose().map_err(fail)?;
        let marks = [
            (WORKLOAD, workload.to_owned()),
            (DEPLOYMENT, self.deployment),
            (RELEASE, self.release.digest().to_string()),
            (IMAGE, image.to_owned()),
            (PARK, self.park),
            (SPEC, spec),
        ];
        let labels = body.labels.get_or_insert_default();
        labels.extend(marks.map(|(name, value)| (name.to_owned(), value)));
        labels.extend(self.stands_for.map(|id| (HANDLE.to_owned(), id)));
        labels.extend(fence.map(|fence| (FENCE.to_owned(), fence)));
        labels.extend(self.wears.map(|prefix| (WEARS.to_owned(), prefix)));
        labels.extend(self.gave.map(|name| (GAVE.to_owned(), name)));
        Ok(())
    }
}

/// Whether this is a container's id as dockerd gives it.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
