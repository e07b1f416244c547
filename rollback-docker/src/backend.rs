//! [`DockerBackend`]: the verbs.

use std::sync::Arc;

use async_trait::async_trait;
use bollard::models::ImageInspect;
use futures_util::try_join;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Instance, Observation, Operation, Place, Preflight,
    Prepared, Rollout, Started, WayBack,
};
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::error::{BackendError, BackendErrorKind, Chain};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, WorkloadId};
use rollback_core::release::{Artifact, Release, Restore};

use crate::client::Client;
use crate::config::DockerConfig;
use crate::connection::{Connection, Daemon};
use crate::container::Container;
use crate::copies::Copies;
use crate::drain::end_running;
use crate::effect::to_its_end;
use crate::fingerprint::Key;
use crate::health::Watch;
use crate::inventory::Inventory;
use crate::myself::Myself;
use crate::pins::Pins;
use crate::settings::CONTAINER;
use crate::settings::with_artifact;
use crate::source::Source;

/// One workload's container on one Docker daemon.
///
/// `prepare` pulls, verifies, pins and creates; `switch` stops the former container, renames
/// both and starts the successor; the former stays, stopped, until `retain` lets it go. The image
/// of every release that is kept bears a tag of this crate's own
/// (`rollback.local/<workload>:<digest>.<deployment>`), so that pruning dangling images takes none
/// of them.
#[derive(Debug, Clone)]
pub struct DockerBackend {
    pub(crate) config: Arc<DockerConfig>,
    kind: BackendKind,
    connection: Arc<Connection>,
    pub(crate) myself: Myself,
    pub(crate) watch: Arc<std::sync::Mutex<Option<Watch>>>,
    pub(crate) source: Source,
}

impl DockerBackend {
    /// A backend for one workload. Talks to nobody yet.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](BackendErrorKind::InvalidReference), untouched, for a setting that
    /// docker does not take or that is reserved; [`Unsupported`](BackendErrorKind::Unsupported) for
    /// one that no container can be made with here.
    pub fn new(config: DockerConfig) -> Result<Self, BackendError> {
        config.validate()?;
        let kind = "docker".parse().map_err(|e| {
            BackendError::new(BackendErrorKind::Failed, "the backend's name is not valid")
                .because(e)
        })?;
        Ok(Self {
            source: Source::new(&config.workload.to_string(), config.pull).with(Copies::new(
                config.capture.clone(),
                config.state_dir.clone(),
                &config.workload.to_string(),
            )),
            connection: Arc::new(Connection::to(Daemon {
                endpoint: config.endpoint.clone(),
                credentials: config.credentials.clone(),
                workload: config.workload.to_string(),
                live_name: config.container.clone(),
            })),
            config: Arc::new(config),
            kind,
            myself: Myself::look(),
            watch: Arc::default(),
        })
    }

    pub(crate) async fn client(&self) -> Result<Arc<Client>, BackendError> {
        self.connection.client().await
    }

    pub(crate) async fn key(&self) -> Result<Key, BackendError> {
        Key::of_dir(&self.config.state_dir).await
    }

    /// A release without configuration.
    pub(crate) fn bare(&self, artifact: Artifact) -> Release {
        Release::new(self.kind.clone(), artifact)
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
        let client = &self.client().await?;
        let pins = Pins::read(client, &self.source.pins);
        let (inventory, pins) = try_join!(Inventory::with_others(client), pins)?;
        let inventory = &inventory;
        inventory.look_at(&[&op.from, &op.to]).await?;
        self.refuse_stranger(inventory, op).await?;
        self.refuse_replicas(client, inventory, op).await?;
        let from = inventory.at(&op.from).await?;
        if let Some(from) = &from {
            self.myself.spare(&from.summary)?;
            refuse_swarm(from)?;
            if let Some(release) = op.from.release() {
                self.refuse_stuck(from, release).await?;
            }
        }
        cx.check()?;
        let is_new = self.source.is_to_be_copied(cx, &pins, op, release);
        let standing = self.standing(client, inventory, &op.to, Some(op)).await?;
        let container = match standing {
            Some(container) => {
                let image = &container.summary.image;
                let held = self.source.hold(cx, client, &pins, op, image);
                held.await?;
                if self.is_beside() {
                    self.refuse_beside(client, inventory, &op.from, &container)
                        .await?;
                }
                self.dressed(cx, client, container, release).await?
            }
            None => {
                let create = self.create(cx, client, inventory, op, release);
                Arc::new(Box::pin(create).await?)
            }
        };
        self.join_networks(cx, client, &container, release).await?;
        if is_new {
            let copied = self.copy_both(cx, client, op, from.as_deref(), &container);
            copied.await?;
        }
        cx.check()?;
        if let Some(from) = &from
            && from.summary.id != container.summary.id
        {
            self.tell(cx, self.foretold_dependents(client, inventory, from).await);
        }
        let way_back = match (&op.from, from) {
            (End::Placed(_), Some(from)) => self.way_back(client, &from),
            (End::Placed(_), None) => WayBack::None("its container is gone".into()),
            _ => WayBack::Exact,
        };
        let known = match &container.summary.ours {
            Some(marks) => with_sources_of(release, &marks.release),
            None => release.clone(),
        };
        let to = Instance::new(known, container.summary.handle());
        Ok(Prepared::new(self.rollout(), to).way_back(way_back))
    }

    /// Keeps a copy of the image of what is new, and of what it is to replace: that of the latter may be
    /// gone, and is in nobody's way.
    async fn copy_both(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        from: Option<&Container>,
        to: &Container,
    ) -> Result<(), BackendError> {
        if let (Some(from), Some(release)) = (from, op.from.release()) {
            let copied = self.source.copy(cx, client, release, &from.summary.image);
            if let Err(e) = copied.await {
                cx.check()?;
                cx.say(format!(
                    "there is no copy of what is live: {}",
                    Chain::of(&e)
                ));
            }
        }
        match op.to.release() {
            Some(release) => {
                self.source
                    .copy(cx, client, release, &to.summary.image)
                    .await
            }
            None => Ok(()),
        }
    }

    /// A container of somebody else's that has taken the live name is not ours to move.
    async fn refuse_stranger(
        &self,
        inventory: &Inventory<'_>,
        op: &Operation,
    ) -> Result<(), BackendError> {
        if inventory.live().is_some() {
            return Ok(());
        }
        let Some(named) = inventory.named().await? else {
            return Ok(());
        };
        let named = &named.summary;
        let known = |end: &End| end.instance().is_some_and(|i| i.handle == named.handle());
        if named.ours.is_some() || known(&op.from) || known(&op.to) {
            return Ok(());
        }
        Err(BackendError::new(
            BackendErrorKind::Conflict,
            "another container has taken the live name since",
        )
        .on(format!("{} ({})", self.config.container, named.id))
        .advice("adopt it, or rename it")
        .transient(false))
    }
}

#[async_trait]
impl Backend for DockerBackend {
    fn kind(&self) -> BackendKind {
        self.kind.clone()
    }

    fn workload(&self) -> &WorkloadId {
        &self.config.workload
    }

    fn place(&self) -> Place {
        let daemon = match &self.config.daemon {
            Some(name) => format!("docker {name}"),
            None => self.config.endpoint.to_string(),
        };
        Place::new(daemon, self.config.container.as_str())
    }

    fn rollout(&self) -> Rollout {
        match self.is_beside() {
            true => Rollout::Beside,
            false => Rollout::Replace,
        }
    }

    fn default_restore(&self) -> Restore {
        Restore::Artifact
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        Box::pin(self.resolve_reference(cx, reference))
            .await
            .map_err(BackendError::untouched)
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        self.look(cx).await.map_err(BackendError::untouched)
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        self.nearness(cx, candidate)
            .await
            .map_err(BackendError::untouched)
    }

    async fn preflight(
        &self,
        cx: &Context,
        from: &End,
        to: &End,
    ) -> Result<Preflight, BackendError> {
        Box::pin(self.foresee(cx, from, to))
            .await
            .map_err(BackendError::untouched)
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let (own, cx, op) = (self.clone(), cx.clone(), op.clone());
        to_its_end(async move { Box::pin(own.prepare_container(&cx, &op)).await })
            .await
            .map_err(BackendError::untouched)
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        if !self.is_beside() {
            return Ok(Started::default());
        }
        let (own, cx, op) = (self.clone(), cx.clone(), op.clone());
        to_its_end(async move { own.start_beside(&cx, &op).await })
            .await
            .map_err(BackendError::untouched)
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let (own, cx, op) = (self.clone(), cx.clone(), op.clone());
        to_its_end(async move {
            end_running(&op).await?;
            match own.is_beside() {
                true => Box::pin(own.move_traffic(&cx, &op)).await,
                false => Box::pin(own.swap(&cx, &op)).await,
            }
        })
        .await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        let (own, cx, op) = (self.clone(), cx.clone(), op.clone());
        to_its_end(async move {
            end_running(&op).await?;
            Box::pin(own.retire_leftovers(&cx, &op)).await
        })
        .await
    }

    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        self.judge(cx, instance)
            .await
            .map_err(BackendError::untouched)
    }

    async fn diagnose(&self, cx: &Context, instance: &Instance) -> Result<Words, BackendError> {
        self.words(cx, instance)
            .await
            .map_err(BackendError::untouched)
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let (own, cx, window) = (self.clone(), cx.clone(), window.to_vec());
        to_its_end(async move { own.retain_window(&cx, &window).await })
            .await
            .map_err(BackendError::untouched)
    }

    async fn configured(
        &self,
        cx: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let key = self.key().await.map_err(BackendError::untouched)?;
        let own = live.filter(|live| *live.backend() == self.kind);
        let bare = match own {
            Some(live) => self.bare(live.artifact().clone()),
            None => self.bare(Artifact::new("", "")),
        };
        Ok(Some(self.config.wanted.today(CONTAINER, &bare, own, &key)))
    }
}

/// What Swarm runs it starts again when it is stopped.
pub(crate) fn refuse_swarm(container: &Container) -> Result<(), BackendError> {
    let config = container.inspect.config.as_ref();
    let labels = config.and_then(|c| c.labels.as_ref());
    if labels.is_none_or(|labels| !labels.contains_key("com.docker.swarm.task.id")) {
        return Ok(());
    }
    Err(BackendError::new(
        BackendErrorKind::Unsupported,
        "the live container is a task of a Swarm service, which starts another one when it stops",
    )
    .on(&container.summary.name)
    .advice("remove the service, or name another container in the configuration"))
}

/// A release, built of the same sources as it was when its container was made, if nobody knew since.
fn with_sources_of(release: &Release, made: &Release) -> Release {
    match (&release.artifact().sources, &made.artifact().sources) {
        (None, Some(sources)) => {
            let artifact = release.artifact().clone();
            with_artifact(release, artifact.built_of((**sources).clone()))
        }
        _ => release.clone(),
    }
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
