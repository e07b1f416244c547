//! [`Source`]: where the images of a workload come from, and what keeps them here.

use std::collections::BTreeMap;

use bollard::models::ImageInspect;
use rollback_core::backend::{Availability, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind, Chain};
use rollback_core::release::{Artifact, Release};

use crate::backend::{digests, image_id};
use crate::choices::PullPolicy;
use crate::client::Client;
use crate::copies::Copies;
use crate::error;
use crate::freed::Freed;
use crate::pins::{Pin, Pins, pin_repository};
use crate::platform::{Platform, Target};
use crate::reference::Reference;
use crate::settings;
use crate::sources;
use crate::tag::{Hold, artifact_of};

/// Where images come from: this daemon, or the registry that their names say.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The repository of this workload's pins.
    pub(crate) pins: String,
    pull: PullPolicy,
    /// What is kept besides, if anything can be.
    pub(crate) copies: Option<Copies>,
}

/// Where an image comes from that is not here.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Its copy.
    Copy,
    /// The registry that its name says.
    Registry,
    /// It cannot be had, and why.
    Nowhere(String),
}

/// What a reference means, and what a person should know of how that was found.
struct Meaning {
    digest: String,
    note: Option<String>,
    /// What the image is built for, as far as that is known.
    platforms: Vec<Platform>,
}

impl Meaning {
    /// Something that is here.
    fn here(digest: String, image: &ImageInspect) -> Self {
        Self {
            digest,
            note: None,
            platforms: Vec::from_iter(Platform::of_image(image)),
        }
    }
}

impl Source {
    pub(crate) fn new(workload: &str, pull: PullPolicy) -> Self {
        Self {
            pins: pin_repository(workload),
            pull,
            copies: None,
        }
    }

    /// The same, with copies.
    pub(crate) fn with(mut self, copies: Copies) -> Self {
        self.copies = Some(copies);
        self
    }

    /// What a reference means, as it was asked for.
    pub(crate) async fn artifact(
        &self,
        cx: &Context,
        client: &Client,
        reference: &str,
    ) -> Result<Artifact, BackendError> {
        Ok(self.meant(cx, client, reference).await?.0)
    }

    /// The same, built for what is asked for.
    pub(crate) async fn artifact_for(
        &self,
        cx: &Context,
        client: &Client,
        reference: &str,
        target: Target<'_>,
    ) -> Result<Artifact, BackendError> {
        let (artifact, platforms) = self.meant(cx, client, reference).await?;
        let artifact = match client.image(&artifact.digest).await? {
            Some(image) => sources::artifact_of(artifact, &image),
            None => artifact,
        };
        Ok(match target.choose(&platforms, reference)? {
            Some(platform) => artifact.built_for(platform.to_string()),
            None => artifact,
        })
    }

    async fn meant(
        &self,
        cx: &Context,
        client: &Client,
        reference: &str,
    ) -> Result<(Artifact, Vec<Platform>), BackendError> {
        let parsed = Reference::parse(reference)?;
        let kind = parsed.kind();
        let meaning = self.meaning(cx, client, parsed).await?;
        let mut artifact = Artifact::new(reference, meaning.digest);
        artifact.kind = kind;
        artifact.note = meaning.note.map(String::into_boxed_str);
        Ok((artifact, meaning.platforms))
    }

    async fn meaning(
        &self,
        cx: &Context,
        client: &Client,
        reference: Reference,
    ) -> Result<Meaning, BackendError> {
        let (repository, tag) = match reference {
            Reference::Id(id) => {
                return match client.image(&id).await? {
                    Some(image) => Ok(Meaning::here(image_id(&image)?, &image)),
                    None => Err(not_here(&id)
                        .advice("an image id is known to one daemon only: load the image first")),
                };
            }
            Reference::Digest { repository, digest } => {
                let name = format!("{repository}@{digest}");
                if let Some(image) = client.image(&name).await? {
                    return Ok(Meaning::here(name, &image));
                }
                self.may_ask(&name)?;
                let (_, platforms) = client.offered(cx, &name).await?;
                return Ok(Meaning {
                    digest: name,
                    note: None,
                    platforms,
                });
            }
            Reference::Tag { repository, tag } => (repository, tag),
        };
        let name = format!("{repository}:{tag}");
        let here = match self.pull {
            PullPolicy::Always => None,
            PullPolicy::IfMissing | PullPolicy::Never => client.image(&name).await?,
        };
        let Some(image) = here else {
            self.may_ask(&name)?;
            let (digest, platforms) = client.offered(cx, &name).await?;
            return Ok(Meaning {
                digest: format!("{repository}@{digest}"),
                note: None,
                platforms,
            });
        };
        let prefix = format!("{repository}@");
        let digest = match digests(&image).find(|d| d.starts_with(&prefix)) {
            Some(digest) => digest.to_owned(),
            None => image_id(&image)?,
        };
        let note = format!(
            "{name} is what this daemon has by that name; by the pull policy no registry was asked"
        );
        Ok(Meaning {
            note: Some(note),
            ..Meaning::here(digest, &image)
        })
    }

    /// Fails where the registry is never to be asked.
    fn may_ask(&self, name: &str) -> Result<(), BackendError> {
        match self.pull {
            PullPolicy::Always | PullPolicy::IfMissing => Ok(()),
            PullPolicy::Never => Err(not_here(name)
                .advice("build or load it here, or use another pull policy than Never")),
        }
    }

    /// How near a release's image is, or its copy.
    pub(crate) async fn reach(
        &self,
        cx: &Context,
        client: &Client,
        wanted: &Release,
    ) -> Result<Availability, BackendError> {
        let own = self.reach_itself(cx, client, wanted).await?;
        let Some(copies) = self.copies.as_ref().filter(|_| own > Availability::Local) else {
            return Ok(own);
        };
        let copy = copies.reach(cx, client, wanted).await?;
        Ok(copy.map_or(own.clone(), |copy| copy.min(own)))
    }

    async fn reach_itself(
        &self,
        cx: &Context,
        client: &Client,
        wanted: &Release,
    ) -> Result<Availability, BackendError> {
        let digest = &wanted.artifact().digest;
        if Reference::parse(digest).is_ok() && self.located(client, wanted).await?.is_some() {
            return Ok(Availability::Local);
        }
        if let Some(why) = self.no_registry(wanted) {
            return Ok(Availability::Gone(why));
        }
        let Err(e) = client.remote(cx, digest).await else {
            return Ok(Availability::Remote);
        };
        match e.kind() {
            Kind::Cancelled | Kind::DeadlineExceeded => Err(e),
            Kind::NotFound | Kind::Gone => Ok(Availability::Gone(e.untouched().to_string())),
            // Nobody has said that it is gone: pulling it will show, before anything moves.
            _ => {
                cx.say(format!(
                    "{digest} may have to be fetched: {}",
                    Chain::of(&e)
                ));
                tracing::warn!(%digest, error = %Chain::of(&e), "the registry does not say whether it has it");
                Ok(Availability::Remote)
            }
        }
    }

    /// Why no registry is asked for a release's image.
    fn no_registry(&self, wanted: &Release) -> Option<String> {
        let digest = &wanted.artifact().digest;
        match Reference::parse(digest) {
            Err(_) => Some("its digest is none of docker's".into()),
            Ok(Reference::Id(_)) => Some("the image is gone, and it came from no registry".into()),
            Ok(_) => self
                .may_ask(digest)
                .err()
                .map(|e| e.untouched().to_string()),
        }
    }

    /// Where an image has to come from that is not here.
    pub(crate) async fn origin(
        &self,
        cx: &Context,
        client: &Client,
        wanted: &Release,
    ) -> Result<Origin, BackendError> {
        let copy = match &self.copies {
            Some(copies) => copies.reach(cx, client, wanted).await?,
            None => None,
        };
        Ok(match (copy, self.no_registry(wanted)) {
            (Some(_), _) => Origin::Copy,
            (None, Some(why)) => Origin::Nowhere(why),
            (None, None) => Origin::Registry,
        })
    }

    /// The release's image, if it is here: by its digest, or by the pin that held it when docker
    /// forgot that.
    pub(crate) async fn located(
        &self,
        client: &Client,
        release: &Release,
    ) -> Result<Option<ImageInspect>, BackendError> {
        if let Some(image) = client.image(&release.artifact().digest).await? {
            return Ok(Some(image));
        }
        let pins = Pins::read(client, &self.pins).await?;
        match pins.image_of(artifact_of(release)) {
            Some(id) => client.image(id).await,
            None => Ok(None),
        }
    }

    /// Whether copies are wanted, and no earlier deployment holds this release's image here: it is new. Its
    /// own hold tells nothing, for it may have been cut off before the copy was whole.
    pub(crate) fn is_to_be_copied(
        &self,
        cx: &Context,
        pins: &Pins,
        op: &Operation,
        release: &Release,
    ) -> bool {
        let artifact = artifact_of(release);
        let mut holds = pins.holds().filter(|(_, hold)| hold.artifact == artifact);
        let are_wanted = self.copies.as_ref().is_some_and(Copies::are_wanted);
        are_wanted && holds.all(|(_, hold)| hold.is_of(cx, op))
    }

    /// Holds the image of what stands for an operation, which its history may do already. One that
    /// somebody has removed by force cannot be held, and its container starts all the same.
    pub(crate) async fn hold(
        &self,
        cx: &Context,
        client: &Client,
        pins: &Pins,
        op: &Operation,
        image: &str,
    ) -> Result<(), BackendError> {
        let Some(release) = op.to.release() else {
            return Ok(());
        };
        let mut same = pins.holds().filter(|(pin, hold)| {
            pin.image == image && hold.artifact == artifact_of(release) && !hold.is_elsewhere(cx)
        });
        if same.next().is_none() {
            let hold = Hold::by(cx, op, release).to_string();
            client.tag(image, &self.pins, &hold).await?;
        }
        Ok(())
    }

    /// Keeps a copy of a release's image, where that is wanted.
    pub(crate) async fn copy(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
        image: &str,
    ) -> Result<(), BackendError> {
        match &self.copies {
            Some(copies) => copies.keep(cx, client, release, image).await,
            None => Ok(()),
        }
    }

    /// The release's image, if it is not here from its copy, pulled by digest, or from the copy that
    /// another registry has.
    pub(crate) async fn fetch(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
    ) -> Result<ImageInspect, BackendError> {
        if let Some(image) = self.located(client, release).await? {
            return Ok(image);
        }
        let Some(copies) = &self.copies else {
            return self.pulled(cx, client, release).await;
        };
        if let Some(image) = copies.load(cx, client, release).await? {
            return Ok(image);
        }
        let lacking = match self.pulled(cx, client, release).await {
            Err(e) if !matches!(e.kind(), Kind::Cancelled | Kind::DeadlineExceeded) => e,
            pulled => return pulled,
        };
        let copy = copies.pull(cx, client, release).await?;
        copy.ok_or(lacking)
    }

    /// The release's image, pulled by digest.
    async fn pulled(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
    ) -> Result<ImageInspect, BackendError> {
        let digest = &release.artifact().digest;
        if matches!(Reference::parse(digest)?, Reference::Id(_)) {
            return Err(error::gone(
                "the image is gone, and it came from no registry",
                release,
            ));
        }
        self.may_ask(digest)?;
        cx.say(format!("pulling {digest}"));
        let platform = settings::plain(release, settings::PLATFORM);
        let pulled = client.pull(cx, digest, platform.as_deref()).await;
        pulled.map_err(|e| match e.kind() {
            Kind::NotFound => {
                error::gone("the registry no longer has the image", digest).because(e)
            }
            _ => e,
        })?;
        cx.check()?;
        let image = client.image(digest).await?;
        image
            .filter(|i| digests(i).any(|d| d == digest))
            .ok_or_else(|| {
                BackendError::new(
                    Kind::Corrupt,
                    "what was pulled does not have the digest that was asked for",
                )
                .on(digest)
            })
    }

    /// Removes the pins of this deployment for what nobody needs. What was pinned before that.
    pub(crate) async fn unpin_undone(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        needed: impl Fn(&str) -> bool,
    ) -> Result<Pins, BackendError> {
        let pins = Pins::read(client, &self.pins).await?;
        let undone = |(pin, hold): (_, &Hold)| {
            (hold.is_of(cx, op) && !needed(&hold.artifact)).then_some(pin)
        };
        let undone: Vec<&Pin> = pins.holds().filter_map(undone).collect();
        pins.remove(cx, client, &undone).await?;
        Ok(pins)
    }

    /// One pin for each artifact, whoever has taken it away meanwhile (`docker image prune -a`
    /// takes the names even of images that are in use), and none for any other.
    pub(crate) async fn pin(
        &self,
        cx: &Context,
        client: &Client,
        pins: &Pins,
        window: &[Instance],
        kept: &BTreeMap<String, Option<String>>,
    ) -> Result<(), BackendError> {
        let mut pinned: Vec<&str> = Vec::new();
        let mut surplus = Vec::new();
        for (pin, hold) in pins.holds().filter(|(_, hold)| !hold.is_elsewhere(cx)) {
            if kept.contains_key(&hold.artifact) && !pinned.contains(&hold.artifact.as_str()) {
                pinned.push(&hold.artifact);
            } else {
                surplus.push(pin);
            }
        }
        let unpinned = |artifact: &&String| !pinned.contains(&artifact.as_str());
        for artifact in kept.keys().filter(unpinned) {
            let mut same = window.iter().map(|i| &i.release);
            let release = same.find(|r| artifact_of(r) == artifact);
            let named = match release {
                Some(release) => client.image(&release.artifact().digest).await?,
                None => None,
            };
            let named = named.and_then(|image| image.id);
            let elsewhere = || pins.image_of(artifact).map(str::to_owned);
            let image = named.or_else(|| kept[artifact].clone()).or_else(elsewhere);
            if let Some(image) = image {
                cx.check()?;
                let hold = Hold::again(cx, artifact).to_string();
                // Somebody may have removed it by force; its container runs all the same.
                client.tag(&image, &self.pins, &hold).await?;
            }
        }
        let freed = pins.remove(cx, client, &surplus).await?;
        if freed > Freed::default() {
            cx.say(format!("images that no kept release needs freed {freed}"));
        }
        let elsewhere = pins.holds().filter(|(_, hold)| hold.is_elsewhere(cx));
        let elsewhere: Vec<&str> = elsewhere.map(|(_, hold)| &*hold.artifact).collect();
        let needed = |artifact: &str| kept.contains_key(artifact) || elsewhere.contains(&artifact);
        match &self.copies {
            Some(copies) => copies.retain(cx, client, needed).await,
            None => Ok(()),
        }
    }
}

fn not_here(name: &str) -> BackendError {
    BackendError::new(Kind::NotFound, "no such image here").on(name)
}
