//! [`SwarmBackend`]: the verbs.

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Instance, Observation, Operation, Place, Prepared,
    Rollout, Started,
};
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, WorkloadId};
use rollback_core::release::{Release, Restore};

use super::config::SwarmConfig;
use crate::client::Client;
use crate::connection::{Connection, Daemon};
use crate::effect::to_its_end;
use crate::fingerprint::Key;
use crate::settings::SERVICE;
use crate::source::Source;

/// One workload's service of a Swarm, which the managers roll out by themselves.
///
/// `prepare` fetches or finds the image and writes down the whole specification, as a config of the
/// Swarm's own; `switch` is one update of the service, based on the version that was looked at, and
/// waits until the tasks of the new specification run and all others are gone. What was there is
/// written down as well, so that going back puts exactly that in place: the former specification that
/// Swarm itself remembers is never relied on.
///
/// Swarm's own way back is off: a task that fails pauses the rollout (`failure_action=pause`), and
/// the engine goes back to where the history says. Should Swarm go back all the same, by
/// somebody's hand say, the rollout has failed, and what Swarm does is waited for, not fought.
///
/// Tasks are started anew with each switch. The number of tasks is left to whoever scales the
/// service, unless it is configured.
#[derive(Debug, Clone)]
pub struct SwarmBackend {
    pub(super) config: Arc<SwarmConfig>,
    pub(super) kind: BackendKind,
    pub(super) source: Source,
    connection: Arc<Connection>,
}

impl SwarmBackend {
    /// A backend for one workload. Talks to nobody yet.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](BackendErrorKind::InvalidReference), untouched, for a setting that
    /// docker does not take or that is reserved; [`Unsupported`](BackendErrorKind::Unsupported) for
    /// one that no service can be made with here.
    pub fn new(config: SwarmConfig) -> Result<Self, BackendError> {
        config.validate()?;
        let kind = "swarm".parse().map_err(|e| {
            BackendError::new(BackendErrorKind::Failed, "the backend's name is not valid")
                .because(e)
        })?;
        let workload = config.workload.to_string();
        Ok(Self {
            kind,
            source: Source::new(&workload, config.pull),
            connection: Arc::new(Connection::to(Daemon {
                endpoint: config.endpoint.clone(),
                credentials: config.credentials.clone(),
                workload,
                live_name: config.service.clone(),
            })),
            config: Arc::new(config),
        })
    }

    pub(super) async fn client(&self) -> Result<Arc<Client>, BackendError> {
        self.connection.client().await
    }

    pub(super) async fn key(&self) -> Result<Key, BackendError> {
        Key::of_dir(&self.config.state_dir).await
    }
}

#[async_trait]
impl Backend for SwarmBackend {
    fn kind(&self) -> BackendKind {
        self.kind.clone()
    }

    fn workload(&self) -> &WorkloadId {
        &self.config.workload
    }

    fn place(&self) -> Place {
        let keeper = match &self.config.cluster {
            Some(cluster) => format!("swarm {cluster}"),
            None => format!("swarm at {}", self.config.endpoint),
        };
        Place::new(keeper, &self.config.service)
    }

    fn rollout(&self) -> Rollout {
        Rollout::Managed
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

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let (own, cx, op) = (self.clone(), cx.clone(), op.clone());
        to_its_end(async move { Box::pin(own.prepare_service(&cx, &op)).await })
            .await
            .map_err(BackendError::untouched)
    }

    async fn start(&self, _cx: &Context, _op: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let (own, cx, op) = (self.clone(), cx.clone(), op.clone());
        to_its_end(async move { Box::pin(own.roll_out(&cx, &op)).await }).await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        // What is live is never touched here.
        let (own, cx, op) = (self.clone(), cx.clone(), op.clone());
        to_its_end(async move { own.retire_records(&cx, &op).await })
            .await
            .map_err(BackendError::untouched)
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
        let artifact = match own {
            Some(live) => live.artifact().clone(),
            None => rollback_core::release::Artifact::new("", ""),
        };
        let bare = Release::new(self.kind.clone(), artifact);
        Ok(Some(self.config.wanted.today(SERVICE, &bare, own, &key)))
    }
}
