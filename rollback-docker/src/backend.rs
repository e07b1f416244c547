//! [`DockerBackend`]: the verbs.

use std::sync::Arc;

use async_trait::async_trait;
use bollard::models::ImageInspect;
use rollback_core::backend::{
    Backend, End, Evidence, Instance, Observation, Operation, Prepared, Rollout, WayBack,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::health::View;
use rollback_core::id::BackendKind;
use rollback_core::release::{Artifact, Release, Restore};

use crate::client::Client;
use crate::config::DockerConfig;
use crate::container::Container;
use crate::fingerprint::Key;
use crate::keep::{pin_repository, pin_tag};
use crate::reference::Reference;
use crate::release;

/// One workload's container on one Docker daemon.
///
/// `prepare` pulls, verifies, pins and creates; `switch` stops the former container, renames
/// both and starts the successor; the former stays, stopped, until `retain` lets it go. The image
/// of every release that is kept bears a tag of this crate's own
/// (`rollback.local/<workload>:<deployment>`), so that pruning dangling images takes none of them.
#[derive(Debug)]
pub struct DockerBackend {
    pub(crate) config: Arc<DockerConfig>,
    kind: BackendKind,
    /// The repository of this workload's pins.
    pub(crate) pins: String,
}

impl DockerBackend {
    /// A backend for one workload. Talks to nobody yet.
    pub fn new(config: DockerConfig) -> Result<Self, BackendError> {
        config.validate()?;
        let kind = "docker".parse().map_err(|e| {
            BackendError::new(BackendErrorKind::Failed, "the backend's name is not valid")
                .because(e)
        })?;
        Ok(Self {
            pins: pin_repository(&config.workload.to_string()),
            config: Arc::new(config),
            kind,
        })
    }

    pub(crate) async fn client(&self) -> Result<Client, BackendError> {
        Client::connect(&self.config).await
    }

    pub(crate) async fn key(&self) -> Result<Key, BackendError> {
        let dir = self.config.state_dir.clone();
        tokio::task::spawn_blocking(move || Key::load(&dir))
            .await
            .map_err(|e| {
                BackendError::new(BackendErrorKind::Failed, "a step ended abnormally").because(e)
            })?
    }

    /// A release without configuration.
    pub(crate) fn bare(&self, reference: &str, digest: &str) -> Release {
        Release::new(self.kind.clone(), Artifact::new(reference, digest))
    }

    /// A release with today's configuration.
    fn today(&self, bare: Release, key: &Key) -> Release {
        let env = self.config.env.iter();
        let env = env.map(|(name, value)| (name.clone(), key.of(name, &value.0)));
        release::with_facets(bare, self.config.rows.clone(), Some(env.collect()))
    }

    async fn resolve_artifact(&self, cx: &Context, text: &str) -> Result<String, BackendError> {
        let reference = Reference::parse(text)?;
        let client = self.client().await?;
        cx.check()?;
        match reference {
            Reference::Id(id) => match client.image(&id).await? {
                Some(image) => image_id(&image),
                None => Err(
                    BackendError::new(BackendErrorKind::NotFound, "no such image here")
                        .on(id)
                        .advice("an image id is known to one daemon only: load the image first"),
                ),
            },
            Reference::Digest { repository, digest } => {
                let name = format!("{repository}@{digest}");
                if client.image(&name).await?.is_none() {
                    client.remote(cx, &name).await?;
                }
                Ok(name)
            }
            Reference::Tag { repository, tag } => {
                let name = format!("{repository}:{tag}");
                let away = match client.remote(cx, &name).await {
                    Ok(digest) => return Ok(format!("{repository}@{digest}")),
                    Err(e) => e,
                };
                cx.check()?;
                // Built here, or the registry is away: what this daemon has is what can be run.
                let Some(image) = client.image(&name).await? else {
                    return Err(away);
                };
                cx.say(format!("{name} is taken as it is here: {away}"));
                let prefix = format!("{repository}@");
                match digests(&image).find(|d| d.starts_with(&prefix)) {
                    Some(digest) => Ok(digest.to_owned()),
                    None => image_id(&image),
                }
            }
        }
    }

    async fn prepare_container(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Prepared, BackendError> {
        cx.check()?;
        let Some(release) = op.to.release() else {
            return Err(BackendError::new(
                BackendErrorKind::InvalidReference,
                "there is no release to prepare",
            ));
        };
        let client = self.client().await?;
        self.refuse_stranger(&client, op).await?;
        let way_back = self.way_back_of(&client, &op.from).await?;
        let ours = client.ours().await?;
        cx.check()?;
        let container = match self.standing(&client, &ours, &op.to, Some(op)).await? {
            Some(container) => {
                let tag = pin_tag(&container);
                client.tag(&container.image, &self.pins, &tag).await?;
                container
            }
            None => self.create(cx, &client, &ours, op, release).await?,
        };
        cx.check()?;
        Ok(Prepared {
            rollout: Rollout::Replace,
            to: Instance {
                release: release.clone(),
                handle: container.handle(),
            },
            way_back,
        })
    }

    /// A container of somebody else's that has taken the live name is not ours to move.
    async fn refuse_stranger(&self, client: &Client, op: &Operation) -> Result<(), BackendError> {
        let Some(named) = client.inspect(&self.config.container).await? else {
            return Ok(());
        };
        let known = |end: &End| end.instance().is_some_and(|i| i.handle == named.handle());
        if named.ours.is_some() || known(&op.from) || known(&op.to) {
            return Ok(());
        }
        Err(BackendError::new(
            BackendErrorKind::Conflict,
            "another container has taken the live name since",
        )
        .on(format!("{} ({})", self.config.container, named.id))
        .advice("adopt it, or rename it"))
    }

    async fn way_back_of(&self, client: &Client, from: &End) -> Result<WayBack, BackendError> {
        let End::Placed(instance) = from else {
            return Ok(WayBack::Exact);
        };
        Ok(match client.of(&instance.handle).await? {
            Some(container) => way_back(&container),
            None => WayBack::None("its container is gone".into()),
        })
    }
}

#[async_trait]
impl Backend for DockerBackend {
    fn kind(&self) -> BackendKind {
        self.kind.clone()
    }

    fn default_restore(&self) -> Restore {
        Restore::Artifact
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        let digest = self
            .resolve_artifact(cx, reference)
            .await
            .map_err(BackendError::untouched)?;
        let key = self.key().await.map_err(BackendError::untouched)?;
        Ok(self.today(self.bare(reference, &digest), &key))
    }

    async fn observe(&self, cx: &Context, candidates: &[End]) -> Result<Observation, BackendError> {
        self.look(cx, candidates)
            .await
            .map_err(BackendError::untouched)
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        Box::pin(self.prepare_container(cx, op))
            .await
            .map_err(BackendError::untouched)
    }

    async fn start(&self, _cx: &Context, _op: &Operation) -> Result<Evidence, BackendError> {
        Ok(Evidence::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        self.swap(cx, op).await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        self.retire_leftovers(cx, op).await
    }

    async fn health(&self, cx: &Context, op: &Operation) -> Result<View, BackendError> {
        self.judge(cx, op).await.map_err(BackendError::untouched)
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        self.retain_window(cx, window)
            .await
            .map_err(BackendError::untouched)
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }
}

/// How faithfully a container can be brought back after another one replaced it.
pub(crate) fn way_back(container: &Container) -> WayBack {
    if container.removes_itself() {
        return WayBack::None("it was started with --rm: it removes itself when it stops".into());
    }
    WayBack::Exact
}

pub(crate) fn lost_values(lost: &[String], release: &Release) -> BackendError {
    BackendError::new(
        BackendErrorKind::Gone,
        format!(
            "the recorded values of {} are neither in today's configuration nor in a container \
             that is kept",
            lost.join(", ")
        ),
    )
    .on(release)
    .advice("restore the artifact alone, or configure those values again")
}

pub(crate) fn image_id(image: &ImageInspect) -> Result<String, BackendError> {
    image.id.clone().ok_or_else(|| {
        BackendError::new(BackendErrorKind::Unsupported, "dockerd gave an image no id")
    })
}

pub(crate) fn digests(image: &ImageInspect) -> impl Iterator<Item = &str> {
    image.repo_digests.iter().flatten().map(String::as_str)
}
