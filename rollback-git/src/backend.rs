//! [`GitBackend`]: the verbs on a deploy root.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Handle, Instance, Observation, Operation, Place,
    Prepared, Rollout, Started,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, DeploymentId, WorkloadId};
use rollback_core::release::{Artifact, ReferenceKind, Release, Restore};
use rollback_process::end_leftovers;

use crate::client::Client;
use crate::command;
use crate::config::GitConfig;
use crate::ignore::Ignored;
use crate::link::{Current, Link};
use crate::release::{Releases, Switched};
use crate::root::Root;
use crate::scan::Scan;

/// Makes commits of a local repository live under a deploy root.
#[derive(Debug, Clone)]
pub struct GitBackend {
    inner: Arc<Inner>,
}

/// What the verbs work on, where they may block.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: GitConfig,
    pub(crate) kind: BackendKind,
    pub(crate) root: Root,
    pub(crate) releases: Releases,
    pub(crate) link: Link,
    pub(crate) ignored: Ignored,
    /// A directory that has no seal, as it was when it was last looked at.
    pub(crate) earlier: Mutex<Option<(PathBuf, Scan)>>,
    /// A switch whose command has succeeded, which need not be on record yet.
    pub(crate) restarted: Mutex<Option<Switched>>,
}

impl GitBackend {
    /// A backend for one workload. Reads and writes nothing yet.
    pub fn new(config: GitConfig) -> Result<Self, BackendError> {
        let ignored = config.validate()?;
        let kind = "git".parse().map_err(|e| {
            BackendError::new(BackendErrorKind::Failed, "the backend's name is not valid")
                .because(e)
        })?;
        let root = Root::new(&config);
        Ok(Self {
            inner: Arc::new(Inner {
                releases: Releases::new(root.clone()),
                link: Link::new(&config.root),
                root,
                config,
                kind,
                ignored,
                earlier: Mutex::default(),
                restarted: Mutex::default(),
            }),
        })
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
            end_running(&deployment).await?;
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
        let state = swapped.state.clone();
        self.blocking(cx, move |inner, cx| inner.seal(cx, &state))
            .await?;
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

/// Ends what a killed process left running for a deployment: it would undo what is done now.
async fn end_running(deployment: &DeploymentId) -> Result<(), BackendError> {
    end_leftovers(deployment).await.map(|_| ()).map_err(|e| {
        BackendError::new(BackendErrorKind::Failed, e.to_string())
            .on(deployment)
            .untouched()
    })
}

impl Inner {
    pub(crate) fn client(&self) -> Result<Client, BackendError> {
        Client::open(&self.config, &self.root)
    }

    fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        cx.check()?;
        let reference = match (&self.config.default_reference, reference) {
            (Some(default), "") => default,
            (_, given) => given,
        };
        let client = self.client()?;
        let (commit, kind) = client.resolve(reference)?;
        client.files(cx, commit)?;
        let commit = commit.to_string();
        Ok(match kind {
            ReferenceKind::Moving => {
                Release::new(self.kind.clone(), Artifact::by_branch(reference, commit))
            }
            _ => self.release(reference, &commit),
        })
    }

    fn health(&self, cx: &Context, handle: &Handle) -> Result<View, BackendError> {
        cx.check()?;
        let expected = self.place_of(handle);
        let actual = match self.link.read()? {
            Current::Link(at) if at.is_dir() => Some(at),
            Current::Link(_) | Current::Absent => None,
            Current::Solid => {
                return Ok(View::failed("`current` is not a symbolic link any more"));
            }
        };
        if actual.as_ref() == Some(&expected) {
            return Ok(View::NoOpinion);
        }
        let actual = actual.map_or("nothing".into(), |at| at.display().to_string());
        Ok(View::failed(format!(
            "`current` leads to {actual}, not to {}",
            expected.display()
        )))
    }

    /// Removes what the deployment made and never made live.
    fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        cx.check()?;
        self.root.tidy(cx)?;
        let keep = op.to.instance().map(|i| i.handle.as_str());
        let live = self.live_name()?;
        let (mut gone, mut stays) = (Vec::new(), false);
        for (name, record) in self.releases.records()? {
            if record.deployment != op.deployment {
                continue;
            }
            if record.went_live || Some(name.as_str()) == keep || live.as_ref() == Some(&name) {
                stays = true;
            } else {
                gone.push(name);
            }
        }
        if !stays && !gone.is_empty() {
            cx.check()?;
            // The pin first: once the record is gone nothing would lead back to it.
            self.client()?.pins(&self.root).remove(&op.deployment)?;
        }
        for name in gone {
            cx.check()?;
            self.releases.remove(&name)?;
        }
        self.releases.empty_trash(cx);
        Ok(())
    }

    fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        cx.check()?;
        self.root.tidy(cx)?;
        let live = self.live_name()?;
        let kept = |name: &str| {
            live.as_deref() == Some(name) || window.iter().any(|i| i.handle.as_str() == name)
        };
        let mut commits: Vec<String> = window
            .iter()
            .map(|i| i.release.artifact().digest.clone())
            .collect();
        for (name, record) in self.releases.records()? {
            if kept(&name) {
                commits.push(record.commit);
                continue;
            }
            cx.check()?;
            self.releases.remove(&name)?;
        }
        cx.check()?;
        self.releases.empty_trash(cx);
        cx.check()?;
        let client = self.client()?;
        let pins = client.pins(&self.root);
        pins.remove_others(&|commit| commits.iter().any(|c| c == commit))
    }

    /// The deployments that a dead process may have left a command running for: the last whose
    /// command was begun and is not known to have ended, and this one with it. None where that is
    /// known of the last, for no command is run before it is on record; to look for what runs means
    /// to look at every process.
    fn running(
        &self,
        cx: &Context,
        deployment: &DeploymentId,
    ) -> Result<Vec<DeploymentId>, BackendError> {
        self.root.owner()?;
        self.root.admits(cx)?;
        let last = self.releases.switched()?;
        if last.as_ref().is_some_and(|last| !last.is_half_way()) {
            return Ok(Vec::new());
        }
        let mut all = vec![deployment.clone()];
        all.extend(last.map(|s| s.deployment).filter(|d| d != deployment));
        Ok(all)
    }
}
