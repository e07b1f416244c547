//! The fencing token, as it is kept at dockerd: a tag on an image in the repository of the
//! workload's pins, `f.<history>.<incarnation>.<sequence>.<epoch>.<deployment>`. It outlives the
//! container and a pruning of what is unused; should even it be taken away, the live container
//! bears the token under which it was made.

use rollback_core::context::Context;
use rollback_core::error::{BackendError, Chain};
use rollback_core::history::{Epoch, Fence, Sequence};

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::pins::{Pin, Pins};
use crate::summary::Summary;

const PREFIX: &str = "f";
/// Longest tag that docker takes.
const MAX_TAG: usize = 128;

/// The tag that says it; `None` where an id is too long for one.
pub(crate) fn tag(fence: &Fence) -> Option<String> {
    let Fence {
        history,
        incarnation,
        sequence,
        epoch,
        deployment,
        ..
    } = fence;
    let tag = format!(
        "{PREFIX}.{history}.{incarnation}.{}.{}.{deployment}",
        sequence.0, epoch.0
    );
    (tag.len() <= MAX_TAG).then_some(tag)
}

pub(crate) fn parse(tag: &str) -> Option<Fence> {
    let mut parts = tag.splitn(6, '.');
    if parts.next()? != PREFIX {
        return None;
    }
    Some(Fence::new(
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        Sequence(parts.next()?.parse().ok()?),
        Epoch(parts.next()?.parse().ok()?),
        parts.next()?.parse().ok()?,
    ))
}

/// The newest token at the target. Of two histories, between which there is no order, one may have
/// been cut off before it took the other's away: then that of the live container.
pub(crate) fn newest(pins: &Pins, live: Option<&Summary>) -> Option<Fence> {
    let of_live = live.and_then(Summary::fence);
    let history = of_live.map(|f| &f.history);
    let kept = pins.fences();
    let newest = kept.max_by_key(|f| (Some(&f.history) == history, f.sequence, f.epoch));
    newest.or(of_live).cloned()
}

impl DockerBackend {
    /// Refuses if a later actor has published here; else keeps this one's token, on an image that
    /// is here. Everything that stops or starts the live container asks this first.
    pub(crate) async fn claim(
        &self,
        cx: &Context,
        client: &Client,
        image: Option<&str>,
    ) -> Result<(), BackendError> {
        let pins = self.refuse_late(cx, client).await?;
        self.publish(cx, client, &pins, image).await
    }

    /// Keeps this actor's token, where none of a later one was seen just now.
    pub(crate) async fn publish(
        &self,
        cx: &Context,
        client: &Client,
        pins: &Pins,
        image: Option<&str>,
    ) -> Result<(), BackendError> {
        let Some(own) = cx.fence() else {
            return Ok(());
        };
        let kept = pins.fences().any(|f| f == own);
        if let Some(tag) = tag(own).filter(|_| !kept) {
            cx.check()?;
            client.mark(cx, image, &self.source.pins, &tag).await?;
        }
        Ok(())
    }

    /// Refuses if a later actor has published here; the pins, with the tokens that are kept.
    pub(crate) async fn refuse_late(
        &self,
        cx: &Context,
        client: &Client,
    ) -> Result<Pins, BackendError> {
        let pins = Pins::read(client, &self.source.pins).await?;
        for published in pins.fences() {
            cx.may_publish(Some(published))?;
        }
        Ok(pins)
    }

    /// Takes away those tokens of this history which the one that has just been kept supersedes, as far
    /// as nothing goes with them: their images are held. Whatever stays, `supersede` takes.
    pub(crate) async fn supersede_held(&self, cx: &Context, client: &Client, pins: &Pins) {
        let Some(own) = cx.fence() else { return };
        let is_held = |pin: &Pin| pins.holds().any(|(held, _)| held.image == pin.image);
        let older = pins
            .tokens()
            .filter(|(pin, f)| *f != own && f.history == own.history && is_held(pin));
        let older = Vec::from_iter(older.map(|(pin, _)| pin));
        if let Err(e) = pins.remove(cx, client, &older).await {
            tracing::debug!(error = %Chain::of(&e), "an older token stays for now");
        }
    }

    /// Takes older tokens away once this one is kept.
    pub(crate) async fn supersede(
        &self,
        cx: &Context,
        client: &Client,
        pins: &Pins,
    ) -> Result<(), BackendError> {
        let own = cx.fence().filter(|own| pins.fences().any(|f| f == *own));
        let Some(own) = own else { return Ok(()) };
        let older = pins.tokens().filter(|(_, f)| *f != own);
        let older: Vec<&Pin> = older.map(|(pin, _)| pin).collect();
        pins.remove(cx, client, &older).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let fence = Fence::new(
            "0123456789abcdef".parse().unwrap(),
            "fedcba9876543210".parse().unwrap(),
            Sequence(u64::MAX),
            Epoch(u64::MAX),
            "deploy-20260315-143022-a3f2b901a3f2b901".parse().unwrap(),
        );
        assert_eq!(parse(&tag(&fence).unwrap()), Some(fence));
        assert_eq!(parse("f.0123456789abcdef"), None);
        assert_eq!(parse(&format!("{}.12-abcd", "a".repeat(64))), None);
    }
}
