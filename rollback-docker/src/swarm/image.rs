//! What the tasks of a service run, where its specification does not say so by a digest.

use bollard::models::{ImageInspect, ServiceSpec, Task, TaskState};
use rollback_core::backend::WayBack;
use rollback_core::error::BackendError;
use rollback_core::release::{Artifact, Release};

use super::backend::SwarmBackend;
use super::service::{Seen, image};
use super::survey::Survey;
use crate::backend::{digests, image_id};
use crate::client::Client;
use crate::reference::Reference;

/// What is live, as a release, and how faithfully that can be brought back.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) release: Release,
    pub(super) way_back: WayBack,
}

/// What makes an image that is known by its digest another one than what ran, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The specification names a tag, and the tasks do not show what it meant when they were started.
    Tag,
    /// It is known to one node alone, and there are others.
    OneNode,
}

impl SwarmBackend {
    /// What is live: what was recorded, with what people have changed since; or, where it was made by
    /// hand, all that it shows.
    pub(super) async fn known(
        &self,
        client: &Client,
        survey: &Survey,
        live: &Seen,
    ) -> Result<Known, BackendError> {
        let name = image(&live.spec);
        let ran = match Reference::parse(name) {
            Ok(Reference::Tag { .. }) => self.ran(client, live).await?,
            _ => None,
        };
        let artifact = artifact(client, name, ran.as_ref()).await?;
        let release = self.seen(survey, live, artifact).await?;
        let digest = &release.artifact().digest;
        let doubt = if is_by_tag(&live.spec) && !ran.is_some_and(|ran| is(&ran, digest)) {
            Some(Doubt::Tag)
        } else if is_id(digest) && client.nodes().await?.len() > 1 {
            Some(Doubt::OneNode)
        } else {
            None
        };
        let way_back = way_back(digest, doubt);
        Ok(Known { release, way_back })
    }

    /// The image that all running tasks of a service were started with, if they are on this node.
    async fn ran(
        &self,
        client: &Client,
        live: &Seen,
    ) -> Result<Option<ImageInspect>, BackendError> {
        let tasks = client.tasks(&self.config.service).await?.into_iter();
        let mut images = Vec::new();
        for task in tasks.filter(|task| runs(task, live)) {
            let Some(container) = container_of(&task) else {
                return Ok(None);
            };
            let Some(container) = client.inspect(container).await? else {
                return Ok(None);
            };
            images.push(container.summary.image);
        }
        images.dedup();
        match &images[..] {
            [one] => client.image(one).await,
            _ => Ok(None),
        }
    }
}

/// What an image's name in a specification means: where it has no digest, what ran by it, else what
/// this node has by it now, or nothing that is sure.
async fn artifact(
    client: &Client,
    name: &str,
    ran: Option<&ImageInspect>,
) -> Result<Artifact, BackendError> {
    let (shown, _) = name.split_once('@').unwrap_or((name, ""));
    let repository = match Reference::parse(name) {
        Ok(Reference::Digest { repository, digest }) => {
            return Ok(Artifact::new(shown, format!("{repository}@{digest}")));
        }
        Ok(Reference::Tag { repository, .. }) => repository,
        Ok(Reference::Id(_)) | Err(_) => return Ok(Artifact::new(name, name)),
    };
    let now = match ran {
        Some(_) => None,
        None => client.image(name).await?,
    };
    let prefix = format!("{repository}@");
    let digest = match ran.or(now.as_ref()) {
        Some(image) => match digests(image).find(|d| d.starts_with(&prefix)) {
            Some(digest) => digest.to_owned(),
            None => image_id(image)?,
        },
        None => name.to_owned(),
    };
    Ok(Artifact::new(name, digest))
}

/// How faithfully what is live can be brought back: by its specification, whose image has to be
/// known by more than a tag. What a tag means here now need not be what the tasks were started with.
fn way_back(digest: &str, doubt: Option<Doubt>) -> WayBack {
    let lossy = |why: &str| WayBack::Lossy(vec![why.to_owned()]);
    match (Reference::parse(digest), doubt) {
        (Ok(Reference::Tag { .. }) | Err(_), _) => {
            lossy("its image is known by its tag alone, which may mean another one by then")
        }
        (_, Some(Doubt::Tag)) => lossy(
            "its specification names a tag: its tasks may run another image than it means now",
        ),
        (_, Some(Doubt::OneNode)) => {
            lossy("its image is known by an id, which other nodes of the Swarm do not have")
        }
        (_, None) => WayBack::Exact,
    }
}

fn is_by_tag(spec: &ServiceSpec) -> bool {
    matches!(Reference::parse(image(spec)), Ok(Reference::Tag { .. }))
}

fn is_id(digest: &str) -> bool {
    matches!(Reference::parse(digest), Ok(Reference::Id(_)))
}

/// Whether an image is what this digest or id says.
fn is(image: &ImageInspect, digest: &str) -> bool {
    image.id.as_deref() == Some(digest) || digests(image).any(|d| d == digest)
}

fn runs(task: &Task, live: &Seen) -> bool {
    let state = task.status.as_ref().and_then(|s| s.state);
    task.service_id.as_ref() == Some(&live.id) && state == Some(TaskState::RUNNING)
}

fn container_of(task: &Task) -> Option<&str> {
    let status = task.status.as_ref()?.container_status.as_ref()?;
    status.container_id.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tag_of_a_service_made_by_hand_means_now_was_taken_for_what_it_runs() {
        let id = format!("sha256:{}", "a".repeat(64));
        let lossy = |digest: &str, doubt| matches!(way_back(digest, doubt), WayBack::Lossy(_));
        assert!(lossy("app:latest", None));
        assert!(lossy(&id, Some(Doubt::Tag)));
        assert!(lossy(&id, Some(Doubt::OneNode)));
        assert_eq!(way_back(&id, None), WayBack::Exact);
        assert_eq!(way_back(&format!("app@{id}"), None), WayBack::Exact);
    }
}
