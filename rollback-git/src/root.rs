//! [`Root`]: a deploy root, and whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::history::{Fence, HistoryId};
use rollback_core::id::WorkloadId;
use serde::{Deserialize, Serialize};

use crate::config::GitConfig;
use crate::synced::Synced;
use crate::{error, file, json};

/// How long who waits for the root's lock waits between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// The directory of one workload, which holds `releases/`, `current` and our own records.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    path: PathBuf,
    workload: WorkloadId,
    synced: Arc<Synced>,
}

/// Whose a root is. Written when it is first used, and never again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) workload: WorkloadId,
    /// The root's own name, wherever it is moved to.
    pub(crate) root: HistoryId,
}

/// The right to publish in a root: while it is held nobody else does.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

impl Root {
    pub(crate) fn new(config: &GitConfig) -> Self {
        Self {
            path: config.root.clone(),
            workload: config.workload.clone(),
            synced: Arc::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    /// What this process has made durable of it, and of its pins.
    pub(crate) fn synced(&self) -> &Synced {
        &self.synced
    }

    /// Where our own records are.
    pub(crate) fn state(&self) -> PathBuf {
        self.path.join(".rollback")
    }

    /// Its owner, which is this workload; `None` before it is first used. `Denied` if it is
    /// another's: each would remove what the other keeps.
    pub(crate) fn owner(&self) -> Result<Option<Owner>, BackendError> {
        let owner: Option<Owner> = json::read_sound(&self.owner_path())?;
        match owner {
            Some(owner) if owner.workload != self.workload => Err(BackendError::new(
                BackendErrorKind::Denied,
                format!("the deploy root belongs to {}", owner.workload),
            )
            .on(self.path.display())
            .advice(format!("give {} a root of its own", self.workload))
            .untouched()),
            owner => Ok(owner),
        }
    }

    /// Makes the directories that everything else needs, and the root this workload's own. Sweeps
    /// what a killed writer left.
    pub(crate) fn claim(&self, cx: &Context) -> Result<Owner, BackendError> {
        let state = self.state();
        // Asked first: nothing is made in a root of another's.
        self.owner()?;
        for (dir, mode) in [
            (self.path.clone(), 0o755),
            (self.path.join("releases"), 0o755),
            (state.clone(), 0o700),
            (state.join("releases"), 0o700),
            (state.join("trash"), 0o700),
        ] {
            file::make_dir(&dir, mode)?;
        }
        let turn = self.lock(cx)?;
        self.sweep(&turn)?;
        if let Some(owner) = self.owner()? {
            return Ok(owner);
        }
        let owner = Owner {
            workload: self.workload.clone(),
            root: HistoryId::generate()
                .map_err(|e| error::io("the root cannot be named", self.path.display(), e))?,
        };
        json::write(&self.owner_path(), &owner)?;
        Ok(owner)
    }

    /// Begins to clean up: what a killed writer left goes, if anything was ever made here.
    pub(crate) fn tidy(&self, cx: &Context) -> Result<(), BackendError> {
        self.owner()?;
        if !self.state().is_dir() {
            return Ok(());
        }
        let turn = self.lock(cx)?;
        self.sweep(&turn)
    }

    /// In one's turn alone: what looks left may be what somebody writes just now.
    fn sweep(&self, _: &Turn) -> Result<(), BackendError> {
        file::sweep(&self.state())?;
        file::sweep(&self.state().join("releases"))
    }

    /// Waits for one's turn to publish: `Fenced` if somebody who took over has published here since.
    pub(crate) fn lock(&self, cx: &Context) -> Result<Turn, BackendError> {
        let path = self.state().join("lock");
        let fail = |e| error::io("the root cannot be locked", path.display(), e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(file::PRIVATE)
            .open(&path)
            .map_err(fail)?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(PAUSE);
                    cx.check()?;
                }
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
        }
        self.admits(cx)?;
        Ok(Turn { _file: file })
    }

    /// The same, for who publishes now: the token is kept first, so that what is published is never
    /// newer than it. Its name is durable once this directory is: whoever publishes syncs that first,
    /// for what else is written there.
    pub(crate) fn turn(&self, cx: &Context) -> Result<Turn, BackendError> {
        let turn = self.lock(cx)?;
        if let Some(own) = cx.fence()
            && self.published()?.as_ref() != Some(own)
        {
            json::put(&self.fence_path(), own)?;
        }
        Ok(turn)
    }

    /// Refuses who was taken for dead, before anything is done.
    pub(crate) fn admits(&self, cx: &Context) -> Result<(), BackendError> {
        cx.may_publish(self.published()?.as_ref())
    }

    /// The newest token by which something was published here. It is written whole or not at all,
    /// so that no power cut damages it, and a damaged one is not as good as none: a late actor would
    /// be let in, and a history that is behind would not be found out.
    pub(crate) fn published(&self) -> Result<Option<Fence>, BackendError> {
        let path = self.fence_path();
        json::read(&path).map_err(|e| match e.kind() {
            BackendErrorKind::Corrupt => e.advice(format!(
                "look at what is live, remove {}, and adopt what is live",
                path.display()
            )),
            _ => e,
        })
    }

    fn owner_path(&self) -> PathBuf {
        self.state().join("owner.json")
    }

    fn fence_path(&self) -> PathBuf {
        self.state().join("fence.json")
    }
}
