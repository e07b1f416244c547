//! What the program has configured now, for an artifact.

use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::release::{ReferenceKind, Release};

use crate::backend::DockerBackend;
use crate::platform::Target;
use crate::settings::{self, CONTAINER};

impl DockerBackend {
    /// The release of a reference with today's configuration.
    pub(crate) async fn resolve_reference(
        &self,
        cx: &Context,
        reference: &str,
    ) -> Result<Release, BackendError> {
        let client = &self.client().await?;
        let (wanted, key) = (&self.config.wanted, &self.key().await?);
        let asked = wanted.rows.get(settings::PLATFORM);
        let asked = asked.map(|asked| asked.parse()).transpose()?;
        let target = Target {
            asked: asked.as_ref(),
            engine: client.engine.as_ref(),
        };
        let source = &self.source;
        let mut artifact = source.artifact_for(cx, client, reference, target).await?;
        cx.check()?;
        let live = match client.named(&self.config.container).await? {
            Some(live) => Some(match &live.summary.ours {
                Some(marks) => marks.release.clone(),
                None => self.seen(client, &live, live.restart()).await?,
            }),
            None => None,
        };
        if artifact.kind == ReferenceKind::Fixed {
            // A tag that has meant something else here does move.
            let kept = client.list().await?;
            let before = kept
                .iter()
                .filter_map(|c| Some(c.ours.as_ref()?.release.artifact()));
            let mut same = before.filter(|before| before.reference == artifact.reference);
            if same.any(|before| before.digest != artifact.digest) {
                artifact.kind = ReferenceKind::Moving;
            }
        }
        let bare = self.bare(artifact);
        Ok(wanted.today(CONTAINER, &bare, live.as_ref(), key))
    }
}
