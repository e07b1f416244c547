//! [`Inner`]: what the verbs work on, and those of them that are short.

use std::path::PathBuf;
use std::sync::Mutex;

use rollback_core::backend::{Handle, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, DeploymentId};
use rollback_core::release::{Artifact, ReferenceKind, Release};

use crate::client::Client;
use crate::config::GitConfig;
use crate::ignore::Ignored;
use crate::link::{Current, Link};
use crate::release::{Releases, Switched};
use crate::root::Root;
use crate::scan::Scan;

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

impl Inner {
    pub(crate) fn new(config: GitConfig) -> Result<Self, BackendError> {
        let ignored = config.validate()?;
        let kind = "git".parse().map_err(|e| {
            BackendError::new(BackendErrorKind::Failed, "the backend's name is not valid")
                .because(e)
        })?;
        let root = Root::new(&config);
        Ok(Self {
            releases: Releases::new(root.clone()),
            link: Link::new(&config.root),
            root,
            config,
            kind,
            ignored,
            earlier: Mutex::default(),
            restarted: Mutex::default(),
        })
    }

    pub(crate) fn client(&self) -> Result<Client, BackendError> {
        Client::open(&self.config, &self.root)
    }

    pub(crate) fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
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

    pub(crate) fn health(&self, cx: &Context, handle: &Handle) -> Result<View, BackendError> {
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
    pub(crate) fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
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

    pub(crate) fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
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
    pub(crate) fn running(
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
