//! Whether the nodes that are to run an image can have it. A Swarm of one node runs it here; of
//! several, each fetches it when it is given a task, so the registry has to have it.

use rollback_core::backend::{Availability, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind, Chain};
use rollback_core::release::Release;

use super::backend::SwarmBackend;
use crate::backend::image_id;
use crate::client::Client;
use crate::error;
use crate::reference::Reference;
use crate::tag::Hold;

impl SwarmBackend {
    /// How near a release's image is.
    pub(super) async fn reach(
        &self,
        cx: &Context,
        client: &Client,
        wanted: &Release,
    ) -> Result<Availability, BackendError> {
        if client.nodes().await?.len() <= 1 {
            return self.source.reach(cx, client, wanted).await;
        }
        match self.offered(cx, client, wanted).await {
            Ok(()) => Ok(Availability::Remote),
            Err(e) if matches!(e.kind(), Kind::Gone | Kind::Unsupported) => {
                Ok(Availability::Gone(e.untouched().to_string()))
            }
            Err(e) if is_outage(&e) => {
                say_outage(cx, wanted, &e);
                Ok(Availability::Remote)
            }
            Err(e) => Err(e),
        }
    }

    /// Has the image at hand before anything moves: here, where it is pinned, or at its registry. A
    /// registry that is away is no reason to refuse a specification that stood here before
    /// (`stands`): the nodes that ran it have the image still.
    pub(super) async fn have_image(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        release: &Release,
        stands: bool,
    ) -> Result<(), BackendError> {
        if client.nodes().await?.len() > 1 {
            return match self.offered(cx, client, release).await {
                Err(e) if stands && is_outage(&e) => {
                    say_outage(cx, release, &e);
                    Ok(())
                }
                offered => offered,
            };
        }
        let image = self.source.fetch(cx, client, release).await?;
        cx.check()?;
        let hold = Hold::by(cx, op, release).to_string();
        if client
            .tag(&image_id(&image)?, &self.source.pins, &hold)
            .await?
        {
            return Ok(());
        }
        let what = "the image was removed as it was to be pinned";
        Err(error::gone(what, release).transient(true))
    }

    /// Asks the registry for it.
    async fn offered(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
    ) -> Result<(), BackendError> {
        let digest = &release.artifact().digest;
        if !matches!(Reference::parse(digest)?, Reference::Digest { .. }) {
            return Err(BackendError::new(
                Kind::Unsupported,
                "the image came from no registry, and other nodes of this Swarm cannot get it",
            )
            .on(digest)
            .advice("push it to a registry that every node reaches"));
        }
        let offered = client.remote(cx, digest).await;
        offered.map(drop).map_err(|e| match e.kind() {
            Kind::NotFound => {
                error::gone("the registry no longer has the image", digest).because(e)
            }
            _ => e,
        })
    }
}

/// Whether nobody has said that there is no such image.
fn is_outage(e: &BackendError) -> bool {
    !matches!(
        e.kind(),
        Kind::Gone
            | Kind::NotFound
            | Kind::Unsupported
            | Kind::InvalidReference
            | Kind::Cancelled
            | Kind::DeadlineExceeded
    )
}

fn say_outage(cx: &Context, release: &Release, e: &BackendError) {
    let digest = &release.artifact().digest;
    let why = Chain::of(e);
    cx.say(format!("the nodes may have to fetch {digest}: {why}"));
    tracing::warn!(%digest, error = %why, "the registry does not say whether it has it");
}
