//! What stands at the daemon, as it is now. Changes nothing.

use bollard::models::ImageConfig;
use rollback_core::backend::{
    Availability, End, Evidence, Instance, Live, Observation, Operation, Reuse, Running, Sighting,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::release::Release;

use crate::backend::{DockerBackend, digests, way_back};
use crate::client::Client;
use crate::container::Container;
use crate::pins::Pins;
use crate::reference::Reference;
use crate::{capture, fence, settings};

impl DockerBackend {
    pub(crate) async fn look(&self, cx: &Context) -> Result<Observation, BackendError> {
        cx.check()?;
        let client = self.client().await?;
        let ours = client.ours().await?;
        let named = client.inspect(&self.config.container).await?;
        cx.check()?;
        let mut seen: Vec<&Container> = ours.iter().collect();
        if let Some(named) = &named
            && !seen.iter().any(|c| c.id == named.id)
        {
            seen.push(named);
        }
        let mut up: Vec<&Container> = seen.into_iter().filter(|c| c.is_up()).collect();
        if up.is_empty() {
            // A recreation that was cut off: not live before it was started, so that recovery
            // switches to it instead of judging what never ran.
            let unborn = |c: &&Container| c.stands_in() && c.was_never_started();
            up.extend(named.as_ref().filter(|c| !unborn(c)));
        }
        let mut sightings = Vec::new();
        for container in &up {
            sightings.push(self.sighting(client, container).await?);
        }
        let pins = Pins::read(client, &self.pins).await?;
        let published = fence::newest(&pins, up.first().copied());
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
        let restart = container.restart_row();
        let release = self.seen(client, container, restart.as_ref()).await?;
        let instance = Instance::new(release, container.handle());
        let running = container.running();
        let evidence = match running {
            Running::Yes => container.evidence(),
            _ => Evidence::default(),
        };
        let sighting = Sighting::new(instance, running).evidence(evidence);
        Ok(sighting.way_back(way_back(container)))
    }

    /// What a container is now. Its restart policy is off while it stands by: `restart` is the
    /// one to show.
    pub(crate) async fn seen(
        &self,
        client: &Client,
        container: &Container,
        restart: Option<&String>,
    ) -> Result<Release, BackendError> {
        if let Some(marks) = &container.ours {
            return Ok(capture::seen(&marks.release, container, restart));
        }
        let image = client.image(&container.image).await?;
        let asked_for = container
            .inspect
            .config
            .as_ref()
            .and_then(|c| c.image.clone())
            .unwrap_or_else(|| container.image.clone());
        let repository = match Reference::parse(&asked_for) {
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
            None => container.image.clone(),
        };
        let defaults: ImageConfig = image.and_then(|i| i.config).unwrap_or_default();
        let key = self.key().await?;
        let bare = self.bare(&asked_for, &digest);
        let found = capture::captured(&bare, container, &defaults, &key);
        Ok(settings::with_rows(
            &found,
            [(settings::RESTART, restart.cloned())],
        ))
    }

    /// The container in which exactly this release stands: its own place, what this very
    /// deployment made, or any of ours at rest with the same digest.
    pub(crate) async fn standing(
        &self,
        client: &Client,
        ours: &[Container],
        end: &End,
        op: Option<&Operation>,
    ) -> Result<Option<Container>, BackendError> {
        let Some(wanted) = end.release() else {
            return Ok(None);
        };
        let mut at = Vec::new();
        let anew = op.is_some_and(|op| op.reuse == Reuse::Never);
        if let Some(instance) = end.instance().filter(|_| !anew) {
            at.extend(client.of(&instance.handle).await?);
        }
        let made = |c: &&Container| {
            op.is_some_and(|op| {
                c.ours
                    .as_ref()
                    .is_some_and(|m| m.deployment == op.deployment.as_str())
            })
        };
        let ours = ours.iter().filter(|c| !c.leftover);
        at.extend(ours.clone().filter(made).cloned());
        let rests = |c: &&Container| !c.is_up() && c.name != self.config.container;
        if !anew {
            at.extend(ours.rev().filter(rests).cloned());
        }
        for container in at {
            if self.is_whole(client, &container, wanted).await? {
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
        if !container.is_sound() {
            return Ok(false);
        }
        let restart = settings::plain(wanted, settings::RESTART);
        let seen = self.seen(client, container, restart.as_ref()).await?;
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
        let client = self.client().await?;
        let mut kept = client.ours().await?;
        cx.check()?;
        if self.standing(client, &kept, end, None).await?.is_some() {
            return Ok(Availability::Standby);
        }
        kept.extend(client.inspect(&self.config.container).await?);
        match self.blueprint(wanted, &kept).await {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), Kind::Gone | Kind::Unsupported) => {
                return Ok(Availability::Gone(e.untouched().to_string()));
            }
            Err(e) => return Err(e),
        }
        let digest = &wanted.artifact().digest;
        let Ok(reference) = Reference::parse(digest) else {
            return Ok(Availability::Gone("its digest is none of docker's".into()));
        };
        if self.located(client, wanted).await?.is_some() {
            return Ok(Availability::Local);
        }
        if matches!(reference, Reference::Id(_)) {
            return Ok(Availability::Gone(
                "the image is gone, and it came from no registry".into(),
            ));
        }
        if let Err(e) = self.may_ask(digest) {
            return Ok(Availability::Gone(e.untouched().to_string()));
        }
        let Err(e) = client.remote(cx, digest).await else {
            return Ok(Availability::Remote);
        };
        match e.kind() {
            Kind::Cancelled | Kind::DeadlineExceeded => Err(e),
            Kind::NotFound | Kind::Gone => Ok(Availability::Gone(e.untouched().to_string())),
            // Nobody has said that it is gone: pulling it will show, before anything moves.
            _ => {
                cx.say(format!("{digest} may have to be fetched: {e}"));
                tracing::warn!(%digest, error = %e, "the registry does not say whether it has it");
                Ok(Availability::Remote)
            }
        }
    }
}
