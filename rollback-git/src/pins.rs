//! [`Pins`]: commits that git keeps, because they stand in a deploy root.
//!
//! A pin is a linked worktree of the repository, locked: git keeps what a worktree has checked
//! out, and neither prunes a locked one nor lists it among the references that
//! `git remote update --prune` makes equal to a remote's. It is put in place and taken away by one
//! rename each, so it needs none of git's locks, and a kill leaves none behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;
use rollback_core::error::BackendError;
use rollback_core::history::HistoryId;
use rollback_core::id::{DeploymentId, WorkloadId};
use serde::{Deserialize, Serialize};

use crate::file::{self, PUBLIC, absent_is_fine, sync_dir};
use crate::root::{Owner, Root};
use crate::{error, json};

/// How the names of our worktrees begin.
const PREFIX: &str = "rollback-";

/// The pins of one deploy root in one repository.
pub(crate) struct Pins<'a> {
    repository: PathBuf,
    root: &'a Root,
}

/// Whose a pin is, and of what: beside what git reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    workload: WorkloadId,
    /// The root's own name, and where it was: either tells whose it is.
    root: HistoryId,
    path: PathBuf,
    deployment: DeploymentId,
    commit: String,
}

impl<'a> Pins<'a> {
    /// Of this root, in a repository's common directory.
    pub(crate) fn new(repository: &Path, root: &'a Root) -> Self {
        Self {
            repository: repository.to_owned(),
            root,
        }
    }

    fn worktrees(&self) -> PathBuf {
        self.repository.join("worktrees")
    }

    /// Where they are made and unmade: below the repository, because they are renamed.
    fn workshop(&self, owner: &Owner) -> PathBuf {
        self.repository.join("rollback").join(owner.root.as_str())
    }

    /// Keeps the commit from git's cleaning, durably.
    pub(crate) fn add(
        &self,
        owner: &Owner,
        deployment: &DeploymentId,
        commit: Oid,
    ) -> Result<(), BackendError> {
        let name = format!("{PREFIX}{}-{deployment}", owner.root);
        let place = self.worktrees().join(&name);
        let fail = |e| error::io("the commit cannot be pinned", place.display(), e);
        self.sweep(owner)?;
        let there = fs::read_to_string(place.join("HEAD"));
        if there.is_ok_and(|head| head.trim_end() == commit.to_string()) {
            // Whoever put it there may not have lived to make it durable.
            return self.root.synced().name(&place);
        }
        let workshop = self.workshop(owner);
        file::make_dir(&workshop, 0o755)?;
        file::make_dir(&self.worktrees(), 0o755)?;
        let next = workshop.join(&name);
        file::make_dir(&next, 0o755)?;
        let pin = Pin {
            workload: self.root.workload().clone(),
            root: owner.root.clone(),
            path: self.root.path().to_owned(),
            deployment: deployment.clone(),
            commit: commit.to_string(),
        };
        let pin = serde_json::to_vec(&pin).map_err(|e| fail(e.into()))?;
        // No checkout stands there, nor ever will: git has only to keep the commit.
        let nowhere = self.root.state().join("pins").join(deployment.as_str());
        for (file, text) in [
            ("HEAD", format!("{commit}\n")),
            ("commondir", "../..\n".to_owned()),
            ("gitdir", format!("{}\n", nowhere.join(".git").display())),
            (
                "locked",
                format!("kept by rollback for {}\n", self.root.workload()),
            ),
        ] {
            file::new(&next.join(file), PUBLIC, text.as_bytes()).map_err(fail)?;
        }
        file::new(&next.join("rollback.json"), PUBLIC, &pin).map_err(fail)?;
        sync_dir(&next)?;
        if place.exists() {
            self.take_away(owner, &name)?;
        }
        fs::rename(&next, &place).map_err(fail)?;
        self.root.synced().name(&place)
    }

    /// Lets go of what a deployment pinned.
    pub(crate) fn remove(&self, deployment: &DeploymentId) -> Result<(), BackendError> {
        self.remove_all(|pin| pin.deployment == *deployment)
    }

    /// Lets go of every commit that `keep` does not name.
    pub(crate) fn remove_others(&self, keep: &dyn Fn(&str) -> bool) -> Result<(), BackendError> {
        self.remove_all(|pin| !keep(&pin.commit))
    }

    fn remove_all(&self, which: impl Fn(&Pin) -> bool) -> Result<(), BackendError> {
        let Some(owner) = self.root.owner()? else {
            // Nothing was ever pinned for a root that is not there.
            return Ok(());
        };
        self.sweep(&owner)?;
        for (name, pin) in self.all()? {
            if self.is_own(&pin, Some(&owner)) && which(&pin) {
                self.take_away(&owner, &name)?;
            }
        }
        self.sweep(&owner)
    }

    /// The commits that are pinned for this root: all that they need is durable.
    pub(crate) fn commits(&self) -> Result<Vec<Oid>, BackendError> {
        let owner = self.root.owner()?;
        let pins = self.all()?.into_iter();
        let own = pins.filter(|(_, pin)| self.is_own(pin, owner.as_ref()));
        Ok(own
            .filter_map(|(_, pin)| Oid::from_str(&pin.commit).ok())
            .collect())
    }

    fn is_own(&self, pin: &Pin, owner: Option<&Owner>) -> bool {
        pin.workload == *self.root.workload()
            && (pin.path == self.root.path() || owner.is_some_and(|o| o.root == pin.root))
    }

    /// Every pin in the repository, whoever made it.
    fn all(&self) -> Result<Vec<(String, Pin)>, BackendError> {
        let dir = self.worktrees();
        let fail = |e| error::io("the pins cannot be listed", dir.display(), e);
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fail)?,
        };
        let mut pins = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            if let Some(name) = entry.file_name().to_str()
                && name.starts_with(PREFIX)
                && let Some(pin) = json::read_sound(&entry.path().join("rollback.json"))?
            {
                pins.push((name.to_owned(), pin));
            }
        }
        Ok(pins)
    }

    /// Git never sees half of one.
    fn take_away(&self, owner: &Owner, name: &str) -> Result<(), BackendError> {
        let place = self.worktrees().join(name);
        let gone = self.workshop(owner).join(format!("{name}.gone"));
        let fail = |e| error::io("the pin cannot be removed", place.display(), e);
        file::make_dir(&self.workshop(owner), 0o755)?;
        absent_is_fine(fs::remove_dir_all(&gone)).map_err(fail)?;
        absent_is_fine(fs::rename(&place, &gone)).map_err(fail)?;
        sync_dir(&self.worktrees())
    }

    /// Removes what somebody who was killed had half made or half removed. It is all our own.
    fn sweep(&self, owner: &Owner) -> Result<(), BackendError> {
        let workshop = self.workshop(owner);
        let fail = |e| error::io("cannot sweep what was left", workshop.display(), e);
        let entries = match fs::read_dir(&workshop) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            absent_is_fine(fs::remove_dir_all(entry.map_err(fail)?.path())).map_err(fail)?;
        }
        Ok(())
    }
}
