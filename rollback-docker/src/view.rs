//! What stands at the daemon, as it is now. Changes nothing.

use std::sync::Arc;

use bollard::models::ImageConfig;
use futures_util::try_join;
use rollback_core::backend::{
    Availability, End, Evidence, Instance, Live, Observation, Operation, Reuse, Running, Sighting,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::release::{Artifact, Release};

use crate::backend::{DockerBackend, digests};
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::pins::Pins;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::restart::RestartPolicy;
use crate::secrets;
use crate::summary::Summary;
use crate::{capture, fence, network, sources};

impl DockerBackend {
    pub(crate) async fn look(&self, cx: &Context) -> Result<Observation, BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let inventory = Inventory::take(client).await?;
        cx.check()?;
        let pins = Pins::read(client, &self.source.pins);
        let ((), pins) = try_join!(inventory.look_at(&[]), pins)?;
        let named = match inventory.live() {
            Some(_) => None,
            None => inventory.named().await?,
        };
        let mut up = Vec::new();
        for container in inventory.ours().iter().filter(|c| c.is_up()) {
            up.extend(inventory.container(&container.id).await?);
        }
        up.extend(named.filter(|c| c.summary.is_up()));
        if self.is_beside() {
            // What else runs is on its way up or down.
            up.retain(|c| c.summary.name == self.config.container);
        }
        if up.is_empty() {
            // A recreation that was cut off: not live before it was started, so that recovery
            // switches to it instead of judging what never ran.
            let unborn = |c: &Summary| c.stands_in() && c.was_never_started();
            let named = inventory.named().await?;
            up.extend(named.filter(|c| !unborn(&c.summary)));
        }
        let mut sightings = Vec::new();
        for container in &up {
            sightings.push(self.sighting(client, container).await?);
        }
        let published = fence::newest(&pins, up.first().map(|c| &c.summary));
        let live = match sightings.len() {
            0 => Live::Nothing,
            1 => Live::One(sightings.remove(0)),
            n => Live::Mixed(
                sightings,
                format!("{n} containers of this workload run; stop all but one"),
            ),
        };
        Ok(Observation::new(live, published))
    }

    async fn sighting(
        &self,
        client: &Client,
        container: &Container,
    ) -> Result<Sighting, BackendError> {
        let release = self.seen(client, container, container.restart()).await?;
        let instance = Instance::new(release, container.summary.handle());
        let running = secrets::running(container);
        let evidence = match running {
            Running::Yes => container.evidence(),
            _ => Evidence::default(),
        };
        let sighting = Sighting::new(instance, running).evidence(evidence);
        Ok(sighting.way_back(self.way_back(client, container)))
    }

    /// What a container is now. Its restart policy is off while it stands by: `restart` is the
    /// one to show.
    pub(crate) async fn seen(
        &self,
        client: &Client,
        container: &Container,
        restart: RestartPolicy,
    ) -> Result<Release, BackendError> {
        if let Some(marks) = &container.summary.ours {
            return Ok(capture::seen(&marks.release, container, restart));
        }
        let image = client.image(&container.summary.image).await?;
        let asked_for = container
            .inspect
            .config
            .as_ref()
            .and_then(|c| c.image.clone())
            .unwrap_or_else(|| container.summary.image.clone());
        let asked = Reference::parse(&asked_for);
        let kind = asked.as_ref().map(Reference::kind).unwrap_or_default();
        let repository = match asked {
            Ok(Reference::Tag { repository, .. } | Reference::Digest { repository, .. }) => {
                format!("{repository}@")
            }
            _ => String::new(),
        };
        let of_image = image.as_ref().map(|i| {
            let mut all: Vec<&str> = digests(i).collect();
            all.sort_unstable();
            let own = all.iter().find(|d| d.starts_with(&repository));
            own.or(all.first()).map(|d| (*d).to_owned())
        });
        let digest = match of_image.flatten() {
            Some(digest) => digest,
            None => container.summary.image.clone(),
        };
        let platform = image.as_ref().and_then(Platform::of_image);
        let sources = image.as_ref().and_then(sources::of_image);
        let defaults: ImageConfig = image.and_then(|i| i.config).unwrap_or_default();
        let key = self.key().await?;
        let mut artifact = Artifact::new(asked_for, digest);
        artifact.platform = platform.map(|platform| platform.to_string().into());
        artifact.sources = sources.map(Box::new);
        artifact.kind = kind;
        let bare = self.bare(artifact);
        Ok(capture::captured(
            &bare, container, &defaults, &key, restart,
        ))
    }

    /// The container in which exactly this release stands: its own place, what this very
    /// deployment made, or any of ours at rest with the same digest.
    pub(crate) async fn standing(
        &self,
        client: &Client,
        inventory: &Inventory<'_>,
        end: &End,
        op: Option<&Operation>,
    ) -> Result<Option<Arc<Container>>, BackendError> {
        let Some(wanted) = end.release() else {
            return Ok(None);
        };
        let anew = op.is_some_and(|op| op.reuse == Reuse::Never);
        let placed = match anew {
            false => inventory.at(end).await?,
            true => None,
        };
        if let Some(placed) = placed
            && self.is_whole(client, &placed, wanted).await?
        {
            return Ok(Some(placed));
        }
        // What people may have changed by hand is never the artifact.
        let alike = |c: &&Summary| {
            let marks = c.ours.as_ref();
            !inventory.is_leftover(c) && marks.is_some_and(|m| is_of(&m.release, wanted))
        };
        let ours = inventory.ours().iter().filter(alike);
        let made = |c: &&Summary| op.is_some_and(|op| c.is_made_by(&op.deployment));
        let rests = |c: &&Summary| !anew && !c.is_up() && c.name != self.config.container;
        for found in ours.clone().filter(made).chain(ours.rev().filter(rests)) {
            if let Some(container) = inventory.container(&found.id).await?
                && self.is_whole(client, &container, wanted).await?
            {
                return Ok(Some(container));
            }
        }
        Ok(None)
    }

    /// Whether a container is this release and can be started, whatever its restart policy is
    /// while it rests. One that took a change by hand is not.
    async fn is_whole(
        &self,
        client: &Client,
        container: &Container,
        wanted: &Release,
    ) -> Result<bool, BackendError> {
        if !container.summary.is_sound() {
            return Ok(false);
        }
        let restart = RestartPolicy::of(wanted);
        let mut seen = self.seen(client, container, restart).await?;
        let is_live = container.summary.name == self.config.container;
        if container.summary.ours.is_none() && !is_live {
            // Beside its successor it has lost them, and gets them back.
            seen = network::named_as(&seen, wanted);
        }
        Ok(seen.digest() == wanted.digest())
    }

    /// How near an end is.
    pub(crate) async fn nearness(
        &self,
        cx: &Context,
        end: &End,
    ) -> Result<Availability, BackendError> {
        cx.check()?;
        let Some(wanted) = end.release() else {
            return Ok(Availability::Standby);
        };
        let client = &self.client().await?;
        let inventory = &Inventory::take(client).await?;
        cx.check()?;
        let standing = self.standing(client, inventory, end, None).await?;
        if standing.is_some() {
            return Ok(Availability::Standby);
        }
        match self.blueprint_from(wanted, inventory, end).await {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), Kind::Gone | Kind::Unsupported) => {
                return Ok(Availability::Gone(e.untouched().to_string()));
            }
            Err(e) => return Err(e),
        }
        self.source.reach(cx, client, wanted).await
    }
}

/// Whether two releases are of the same artifact.
fn is_of(one: &Release, other: &Release) -> bool {
    one.artifact().digest == other.artifact().digest
}
