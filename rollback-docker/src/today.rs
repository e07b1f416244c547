//! What the program has configured now, for an artifact.

use rollback_core::backend::Backend;
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::release::Release;

use crate::backend::DockerBackend;
use crate::settings::CONTAINER;

impl DockerBackend {
    /// The release of a reference with today's configuration.
    pub(crate) async fn resolve_reference(
        &self,
        cx: &Context,
        reference: &str,
    ) -> Result<Release, BackendError> {
        let client = &self.client().await?;
        let artifact = self.source.artifact(cx, client, reference).await?;
        cx.check()?;
        let live = match client.inspect(&self.config.container).await? {
            Some(live) => Some(match &live.summary.ours {
                Some(marks) => marks.release.clone(),
                None => self.seen(client, &live, live.restart()).await?,
            }),
            None => None,
        };
        let bare = Release::new(self.kind(), artifact);
        let (wanted, key) = (&self.config.wanted, &self.key().await?);
        Ok(wanted.today(CONTAINER, &bare, live.as_ref(), key))
    }
}
