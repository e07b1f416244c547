//! [`Copies`]: images that are kept a second time, where neither `docker system prune -a` nor a
//! registry's clean-up reaches them.

mod archive;
mod capture;
mod note;
mod registry;

use std::path::PathBuf;

use bollard::models::ImageInspect;
use rollback_core::backend::Availability;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind, Chain};
use rollback_core::release::Release;

pub use capture::Capture;
use note::{Digits, Kept, Note, Notes};

use crate::client::Client;
use crate::pins::readable_name;

/// The copies of one workload's images. What an image is, is its id: a copy that is another is none.
///
/// What was kept is used and let go also when nothing is kept any more.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    capture: Capture,
    notes: Notes,
    /// The workload, as a part of an image's name.
    name: String,
}

impl Copies {
    pub(crate) fn new(capture: Capture, state_dir: PathBuf, workload: &str) -> Self {
        let name = readable_name(workload);
        Self {
            capture,
            notes: Notes::below(&state_dir, &name),
            name,
        }
    }

    /// Keeps a copy of a release's image that is here, if that is wanted and there is none yet.
    pub(crate) async fn keep(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
        image: &str,
    ) -> Result<(), BackendError> {
        let Some(artifact) = Digits::of(release) else {
            return Ok(());
        };
        let known = self.notes.read(cx, artifact).await?;
        let same = |note: &Note| note.image == image && self.capture.is_of(&note.kept);
        if let Some(note) = known.filter(same)
            && self.is_there(cx, client, &note).await?
        {
            return Ok(());
        }
        cx.check()?;
        if client.image(image).await?.is_none() {
            // Somebody has removed it by force; what was made of it runs all the same.
            cx.say("there is no copy of the image: it was removed here");
            return Ok(());
        }
        let kept = match self.capture.repository(&self.name) {
            None => {
                cx.say("keeping a copy of the image in the state directory");
                let path = self.notes.archive(artifact);
                let size = archive::write(cx, client, image, &path).await?;
                Kept::Archive { size }
            }
            Some(repository) => {
                cx.say(format!("keeping a copy of the image in {repository}"));
                Kept::At(registry::push(cx, client, image, &repository, artifact.as_str()).await?)
            }
        };
        let image = image.to_owned();
        self.notes.write(cx, artifact, &Note { image, kept }).await
    }

    /// Whether any are wanted.
    pub(crate) fn are_wanted(&self) -> bool {
        !self.capture.is_off()
    }

    /// Whether what is noted is still there, as far as anybody says: a registry may have let it go.
    async fn is_there(
        &self,
        cx: &Context,
        client: &Client,
        note: &Note,
    ) -> Result<bool, BackendError> {
        let Kept::At(name) = &note.kept else {
            return Ok(true);
        };
        match client.remote(cx, name).await {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Gone) => Ok(false),
            Err(e) if is_stop(&e) => Err(e),
            // Nobody has said that it is gone.
            Err(_) => Ok(true),
        }
    }

    /// How near the copy of an artifact is, if there is one.
    pub(crate) async fn reach(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
    ) -> Result<Option<Availability>, BackendError> {
        let Some((_, note)) = self.noted(cx, release).await? else {
            return Ok(None);
        };
        Ok(match note.kept {
            Kept::Archive { .. } => Some(Availability::Local),
            Kept::At(_) if self.is_there(cx, client, &note).await? => Some(Availability::Remote),
            Kept::At(_) => None,
        })
    }

    /// Loads the copy that is here. One that cannot be read is said, and is none.
    pub(crate) async fn load(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
    ) -> Result<Option<ImageInspect>, BackendError> {
        let noted = self.noted(cx, release).await?;
        let Some((artifact, note)) =
            noted.filter(|(_, note)| matches!(note.kept, Kept::Archive { .. }))
        else {
            return Ok(None);
        };
        cx.say("loading the image from its copy");
        let path = self.notes.archive(artifact);
        let loaded = archive::load(cx, client, &path).await;
        match self.whole(client, loaded, &note).await {
            Err(e) if !is_stop(&e) && e.kind() != Kind::Unreachable => {
                cx.say(format!(
                    "the copy of the image is of no use: {}",
                    Chain::of(&e)
                ));
                Ok(None)
            }
            image => image,
        }
    }

    /// Pulls the copy that another registry has.
    pub(crate) async fn pull(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
    ) -> Result<Option<ImageInspect>, BackendError> {
        let noted = self.noted(cx, release).await?;
        let Some((name, note)) = noted.and_then(|(_, note)| note.at()) else {
            return Ok(None);
        };
        cx.say(format!("pulling the copy {name}"));
        let pulled = client.pull(cx, &name, None).await;
        self.whole(client, pulled, &note).await
    }

    async fn noted<'a>(
        &self,
        cx: &Context,
        release: &'a Release,
    ) -> Result<Option<(Digits<'a>, Note)>, BackendError> {
        let Some(artifact) = Digits::of(release) else {
            return Ok(None);
        };
        let note = self.notes.read(cx, artifact).await?;
        Ok(note.map(|note| (artifact, note)))
    }

    /// The image that was brought here, if it is the one that was kept.
    async fn whole(
        &self,
        client: &Client,
        brought: Result<(), BackendError>,
        note: &Note,
    ) -> Result<Option<ImageInspect>, BackendError> {
        brought?;
        match client.image(&note.image).await? {
            Some(image) => Ok(Some(image)),
            None => {
                let what = "the copy is of another image than the one that was kept";
                Err(BackendError::new(Kind::Corrupt, what).on(&note.image))
            }
        }
    }

    /// Lets go the copies that nobody needs. What a registry has is its own to clean up.
    pub(crate) async fn retain(
        &self,
        cx: &Context,
        client: &Client,
        needed: impl Fn(&str) -> bool,
    ) -> Result<(), BackendError> {
        if let Some(repository) = self.capture.repository(&self.name) {
            // Of a push that was cut off.
            for (tag, _) in client.tags(&repository).await? {
                cx.check()?;
                client.untag(&format!("{repository}:{tag}")).await?;
            }
        }
        self.notes.retain(cx, &needed).await
    }
}

fn is_stop(e: &BackendError) -> bool {
    matches!(e.kind(), Kind::Cancelled | Kind::DeadlineExceeded)
}
