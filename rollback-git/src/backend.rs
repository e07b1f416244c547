//! [`GitBackend`]: the verbs on a deploy root.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Instance, Observation, Operation, Place, Prepared,
    Rollout, Started,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, WorkloadId};
use rollback_core::release::{Release, Restore};
use rollback_process::end_leftovers;

use crate::command;
use crate::config::GitConfig;
use crate::inner::Inner;
use crate::switch::Rest;

/// Makes commits of a local repository live under a deploy root.
#[derive(Debug, Clone)]
pub struct GitBackend {
    inner: Arc<Inner>,
}

impl GitBackend {
    /// A backend for one workload. Reads and writes nothing yet.
    ///
    /// # Errors
    ///
    /// [`InvalidReference`](BackendErrorKind::InvalidReference), untouched: a path that is not
    /// absolute or is `/`, a command without a program, or a pattern that does not name changes to
    /// ignore.
    pub fn new(config: GitConfig) -> Result<Self, BackendError> {
        let inner = Arc::new(Inner::new(config)?);
        Ok(Self { inner })
    }

    /// Where an instance's directory is, for hooks that work in it: release tasks that build in
    /// place, say. `None` for an instance of another backend's.
    ///
    /// ```
    /// # fn f(git: rollback_git::GitBackend, to: &rollback_core::backend::Instance) {
    /// let places = git.places();
    /// let dir = places(to);
    /// # }
    /// ```
    pub fn places(
        &self,
    ) -> impl Fn(&Instance) -> Option<PathBuf> + Clone + Send + Sync + 'static + use<> {
        let inner = self.inner.clone();
        move |instance| {
            let own = *instance.release.backend() == inner.kind;
            own.then(|| inner.place_of(&instance.handle))
        }
    }

    /// Runs file and git work where it may block. The work owns the context until it has ended,
    /// whatever becomes of this future: until then nobody takes the workload over.
    async fn blocking<T: Send + 'static>(
        &self,
        cx: &Context,
        work: impl FnOnce(&Inner, &Context) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let (inner, cx) = (self.inner.clone(), cx.clone());
        tokio::task::spawn_blocking(move || work(&inner, &cx))
            .await
            .map_err(|e| {
                BackendError::new(BackendErrorKind::Failed, "a step ended abnormally").because(e)
            })?
    }
}

#[async_trait]
impl Backend for GitBackend {
    fn kind(&self) -> BackendKind {
        self.inner.kind.clone()
    }

    fn workload(&self) -> &WorkloadId {
        &self.inner.config.workload
    }

    fn place(&self) -> Place {
        let root: PathBuf = self.inner.config.root.components().collect();
        Place::new("files", root.display().to_string())
    }

    fn rollout(&self) -> Rollout {
        Rollout::Replace
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        let reference = reference.to_owned();
        self.blocking(cx, move |inner, cx| inner.resolve(cx, &reference))
            .await
            .map_err(BackendError::untouched)
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        self.blocking(cx, move |inner, cx| inner.observe(cx))
            .await
            .map_err(BackendError::untouched)
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        let candidate = candidate.clone();
        self.blocking(cx, move |inner, cx| inner.availability(cx, &candidate))
            .await
            .map_err(BackendError::untouched)
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let op = op.clone();
        self.blocking(cx, move |inner, cx| inner.prepare(cx, &op))
            .await
            .map_err(BackendError::untouched)
    }

    async fn start(&self, _cx: &Context, _op: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let deployment = op.deployment.clone();
        let running = self.blocking(cx, move |inner, cx| inner.running(cx, &deployment));
        for deployment in running.await.map_err(BackendError::untouched)? {
            // It would undo what is done now.
            end_leftovers(&deployment)
                .await
                .map_err(|e| e.stops(&deployment))?;
        }
        let own = op.clone();
        let mut swapped = self
            .blocking(cx, move |inner, cx| inner.swap(cx, &own))
            .await?;
        if let Some((argv, dir)) = swapped.command.take() {
            cx.check()?;
            command::run(cx, op, &argv, &dir).await?;
            self.inner.remember(&swapped.state);
        }
        if swapped.rest == Rest::Seal {
            let state = swapped.state.clone();
            self.blocking(cx, move |inner, cx| inner.seal(cx, &state))
                .await?;
        }
        Ok(swapped.evidence())
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        let op = op.clone();
        self.blocking(cx, move |inner, cx| inner.retire(cx, &op))
            .await
    }

    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        let handle = instance.handle.clone();
        self.blocking(cx, move |inner, cx| inner.health(cx, &handle))
            .await
    }

    /// A git release has no configuration but its commit: a change by hand is none.
    async fn configured(
        &self,
        _: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(live.map(|live| Release::new(self.kind(), live.artifact().clone())))
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let window = window.to_vec();
        self.blocking(cx, move |inner, cx| inner.retain(cx, &window))
            .await
    }
}
