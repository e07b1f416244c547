//! [`GitBackend`]: the eight verbs on a deploy root.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::{
    Backend, End, Evidence, Handle, Instance, Observation, Operation, Prepared, Reuse, Rollout,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::health::View;
use rollback_core::id::BackendKind;
use rollback_core::release::{Artifact, ReferenceKind, Release, Restore};

use crate::client::{self, Client};
use crate::config::GitConfig;
use crate::link::{Current, Link};
use crate::release::{Record, Releases, Switched};
use crate::view::HAND_MADE;
use crate::{command, error, tree};

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
    pub(crate) releases: Releases,
    pub(crate) link: Link,
}

impl GitBackend {
    /// A backend for one workload. Reads and writes nothing yet.
    pub fn new(config: GitConfig) -> Result<Self, BackendError> {
        config.validate()?;
        let kind = "git".parse().map_err(|e| {
            BackendError::new(BackendErrorKind::Failed, "the backend's name is not valid")
                .because(e)
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                releases: Releases::new(&config.root),
                link: Link::new(&config.root),
                config,
                kind,
            }),
        })
    }

    /// Runs file and git work where it may block, and waits for its end whatever happens.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner))
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

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        let (cx, reference) = (cx.clone(), reference.to_owned());
        self.blocking(move |inner| inner.resolve(&cx, &reference))
            .await
            .map_err(BackendError::untouched)
    }

    async fn observe(&self, cx: &Context, candidates: &[End]) -> Result<Observation, BackendError> {
        let (cx, candidates) = (cx.clone(), candidates.to_vec());
        self.blocking(move |inner| inner.observe(&cx, &candidates))
            .await
            .map_err(BackendError::untouched)
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let (cx, op) = (cx.clone(), op.clone());
        self.blocking(move |inner| inner.prepare(&cx, &op))
            .await
            .map_err(BackendError::untouched)
    }

    async fn start(&self, _cx: &Context, _op: &Operation) -> Result<Evidence, BackendError> {
        Ok(Evidence::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let (own, task) = (op.clone(), cx.clone());
        let (mut state, dir) = self.blocking(move |inner| inner.swap(&task, &own)).await?;
        if !state.restarted {
            if let Some(dir) = dir {
                cx.check()?;
                command::run(cx, op, &self.inner.config.restart, &dir).await?;
            }
            cx.check()?;
            state.restarted = true;
            let done = state.clone();
            self.blocking(move |inner| inner.releases.write_switched(&done))
                .await?;
        }
        let none = || "nothing".to_owned();
        Ok(Evidence::default()
            .with("release", state.to.unwrap_or_else(none))
            .with("previous", state.previous.unwrap_or_else(none)))
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        let (cx, op) = (cx.clone(), op.clone());
        self.blocking(move |inner| inner.retire(&cx, &op)).await
    }

    async fn health(&self, cx: &Context, op: &Operation) -> Result<View, BackendError> {
        cx.check()?;
        let op = op.clone();
        self.blocking(move |inner| inner.health(&op)).await
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let (cx, window) = (cx.clone(), window.to_vec());
        self.blocking(move |inner| inner.retain(&cx, &window)).await
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }
}

impl Inner {
    fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        cx.check()?;
        let reference = match (&self.config.default_reference, reference) {
            (Some(default), "") => default,
            (_, given) => given,
        };
        let client = Client::open(&self.config)?;
        let (commit, kind) = client.resolve(reference)?;
        client.files(commit)?;
        let commit = commit.to_string();
        Ok(match kind {
            ReferenceKind::Moving => {
                Release::new(self.kind.clone(), Artifact::by_branch(reference, commit))
            }
            _ => self.release(reference, &commit),
        })
    }

    fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        cx.check()?;
        self.link.swappable()?;
        let Some(release) = op.to.release() else {
            return Err(BackendError::new(
                BackendErrorKind::InvalidReference,
                "there is no release to prepare",
            ));
        };
        let client = Client::open(&self.config)?;
        self.releases.make()?;
        cx.check()?;
        let handle = match self.standing(&client, &op.to, may_take(op))? {
            Some(handle) => {
                // The pin may have been lost since; the directory's own deployment holds it.
                if let Some(record) = self.releases.record(handle.as_str())?
                    && let Some(commit) = client::commit_id(&record.commit)
                {
                    client.pin(&record.deployment, commit)?;
                }
                handle
            }
            None => self.build(cx, &client, op, release)?,
        };
        cx.check()?;
        Ok(Prepared {
            rollout: Rollout::Replace,
            to: Instance {
                release: release.clone(),
                handle,
            },
            way_back: self.way_back(&op.from)?,
        })
    }

    fn build(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        release: &Release,
    ) -> Result<Handle, BackendError> {
        let artifact = release.artifact();
        if !release.facets().is_empty() {
            return Err(error::gone(HAND_MADE, artifact.short()));
        }
        let commit = client::commit_id(&artifact.digest)
            .ok_or_else(|| error::gone("its directory is gone or changed", artifact.short()))?;
        cx.say("checking the commit");
        let files = client.files(commit)?;
        let name = self.free_name(op, artifact.short())?;
        cx.check()?;
        self.releases.remove(&name)?;
        let mut record = Record {
            deployment: op.deployment.clone(),
            commit: artifact.digest.clone(),
            reference: artifact.reference.clone(),
            complete: false,
            went_live: false,
            content: None,
        };
        self.releases.write_record(&name, &record)?;
        cx.check()?;
        client.sync_objects(commit, &files)?;
        client.pin(&op.deployment, commit)?;
        cx.check()?;
        cx.say(format!("writing {} files", files.len()));
        let dir = self.releases.dir(&name);
        tree::write(cx, client.repository(), &files, &dir)?;
        cx.check()?;
        if !tree::differences(&files, &dir)?.is_empty() {
            return Err(
                error::corrupt("what was written is not what was read", dir.display())
                    .advice("check the disk"),
            );
        }
        self.releases.publish(&name)?;
        cx.check()?;
        record.complete = true;
        record.content = Some(tree::digest(&dir)?);
        self.releases.write_record(&name, &record)?;
        Ok(Handle::new(name))
    }

    /// A name that is unused, or is a leftover of this very deployment that was never live.
    fn free_name(&self, op: &Operation, short: &str) -> Result<String, BackendError> {
        let base = format!("{}-{short}", op.sequence);
        let id = op.deployment.as_str().rsplit('-').next().unwrap_or("");
        let mut name = base.clone();
        for n in 1u32.. {
            let free = match self.releases.record(&name)? {
                Some(r) => r.deployment == op.deployment && !r.went_live,
                None => self.releases.dir(&name).symlink_metadata().is_err(),
            };
            if free {
                break;
            }
            name = format!("{base}-{id}-{n}");
        }
        Ok(name)
    }

    /// Moves the link. Returns what the switch has done so far, and where to run the restart.
    fn swap(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<(Switched, Option<PathBuf>), BackendError> {
        let untouched = BackendError::untouched;
        cx.check().map_err(untouched)?;
        let current = self.link.swappable().map_err(untouched)?;
        let to = match &op.to {
            End::Nothing => None,
            End::Placed(instance) => Some(instance.handle.clone()),
            End::Planned(release) => {
                return Err(BackendError::new(
                    BackendErrorKind::Failed,
                    "the release was not prepared",
                )
                .on(release)
                .untouched());
            }
        };
        let dir = to.as_ref().map(|to| self.place_of(to));
        if let (Some(to), Some(dir)) = (&to, &dir)
            && !self.is_whole(to, dir).map_err(untouched)?
        {
            return Err(error::gone("the release directory is gone", dir.display()).untouched());
        }
        let there = match (&current, &dir) {
            (Current::Link(at), Some(dir)) => at == dir,
            (Current::Absent, None) => true,
            _ => false,
        };
        let name = to.as_ref().map(|h| h.as_str().to_owned());
        let mut state = match self.releases.switched().map_err(untouched)? {
            Some(s) if s.deployment == op.deployment && s.to == name => s,
            _ => Switched {
                deployment: op.deployment.clone(),
                previous: match &current {
                    Current::Link(at) => Some(self.handle_of(at).as_str().to_owned()),
                    _ => None,
                },
                to: name,
                restarted: false,
            },
        };
        if there && state.restarted {
            return Ok((state, dir));
        }
        // What was said of an earlier swap is void once the link has moved again.
        state.restarted = false;
        self.releases.make().map_err(untouched)?;
        cx.check().map_err(untouched)?;
        self.releases.write_switched(&state).map_err(untouched)?;
        cx.check().map_err(untouched)?;
        if let Some(name) = &state.to
            && let Some(mut record) = self.releases.record(name).map_err(untouched)?
            && !record.went_live
        {
            record.went_live = true;
            self.releases
                .write_record(name, &record)
                .map_err(untouched)?;
        }
        match &dir {
            _ if there => {}
            Some(dir) => self.link.point(dir)?,
            None => self.link.remove()?,
        }
        tracing::debug!(workload = %op.workload, to = ?state.to, "the link was moved");
        Ok((state, dir))
    }

    fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        cx.check()?;
        let keep = op.to.instance().map(|i| i.handle.as_str());
        let live = self.live_name()?;
        for (name, record) in self.releases.records()? {
            if record.deployment != op.deployment {
                continue;
            }
            if record.went_live || Some(name.as_str()) == keep || live.as_ref() == Some(&name) {
                continue;
            }
            cx.check()?;
            // The pin first: once the record is gone nothing would lead back to it.
            self.drop_pin_if_alone(op, &name)?;
            cx.check()?;
            self.releases.remove(&name)?;
        }
        self.releases.empty_trash()
    }

    /// Unpins the deployment unless another of its directories needs the pin.
    fn drop_pin_if_alone(&self, op: &Operation, name: &str) -> Result<(), BackendError> {
        let shared = self
            .releases
            .records()?
            .iter()
            .any(|(n, r)| n != name && r.deployment == op.deployment);
        if shared {
            return Ok(());
        }
        Client::open(&self.config)?.unpin(&op.deployment)
    }

    fn health(&self, op: &Operation) -> Result<View, BackendError> {
        let expected = op.to.instance().map(|i| self.place_of(&i.handle));
        let actual = match self.link.read()? {
            Current::Link(at) if at.is_dir() => Some(at),
            Current::Link(_) | Current::Absent => None,
            Current::Solid => {
                return Ok(View::failed("`current` is not a symbolic link any more"));
            }
        };
        if expected == actual {
            return Ok(View::NoOpinion);
        }
        let show = |p: Option<PathBuf>| p.map_or("nothing".into(), |p| p.display().to_string());
        Ok(View::failed(format!(
            "`current` leads to {}, not to {}",
            show(actual),
            show(expected)
        )))
    }

    fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        cx.check()?;
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
        self.releases.empty_trash()?;
        cx.check()?;
        Client::open(&self.config)?.unpin_others(&|commit| commits.iter().any(|c| c == commit))
    }
}

/// Which release directories an operation may take.
fn may_take(op: &Operation) -> impl Fn(&Record) -> bool {
    let own = op.deployment.clone();
    let reuse = op.reuse;
    move |record| reuse == Reuse::Kept || record.deployment == own
}
