//! The shelf: what the backend keeps at the target, so that every retained release can be put
//! back without anything from outside.
//!
//! ```text
//! fingerprint.key     32 random bytes
//! content/<sha256>    a unit's content, as it was written
//! instances/<handle>  an instance: its release, who made it, whether it was ever live
//! installed           which instance is in place, and the proof of its last restart
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::backend::{Handle, Instance};
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::id::DeploymentId;
use rollback_core::release::Release;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::release::sha256;
use crate::secrets::Key;

/// An instance on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shelved {
    pub(crate) release: Release,
    /// The deployment that made it; `None`: it was found.
    pub(crate) by: Option<DeploymentId>,
    /// Where it was found, below the root.
    pub(crate) found_at: Option<PathBuf>,
    /// What its file led to, if it was found as a link.
    pub(crate) link: Option<PathBuf>,
    /// Whether it was found enabled, in the manager's words.
    pub(crate) enablement: Option<String>,
    pub(crate) was_live: bool,
}

/// What is in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    pub(crate) handle: Handle,
    /// The deployment that put it there.
    pub(crate) by: DeploymentId,
    /// The invocation that its restart made; `None` while that is still to be done.
    pub(crate) invocation: Option<String>,
    /// Drop-ins at that time: later ones are drift.
    pub(crate) drop_ins: BTreeMap<String, String>,
    /// Whether it was enabled after that restart.
    pub(crate) enablement: Option<String>,
}

/// The directory.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    pub(crate) fn open(dir: &Path) -> Result<Self, BackendError> {
        for sub in ["content", "instances"] {
            files::private_dir(&dir.join(sub))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The key for fingerprints, made at the first use.
    pub(crate) fn key(&self) -> Result<Key, BackendError> {
        let path = self.dir.join("fingerprint.key");
        if files::read(&path)?.is_none() {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|e| {
                BackendError::new(Kind::Failed, "no random bytes for the fingerprint key")
                    .because(e)
            })?;
            // Two processes may both be first: one's key stays, and both read that.
            files::write_new(&path, &key)?;
        }
        let key = files::read(&path)?.unwrap_or_default();
        key.try_into().map(Key).map_err(|_| {
            BackendError::new(Kind::Corrupt, "the fingerprint key is not a key")
                .on(path.display())
                .advice(
                    "restore it; if you remove it, every secret will look changed until the \
                     next deployment",
                )
        })
    }

    fn content_path(&self, release: &Release) -> PathBuf {
        let digest = &release.artifact().digest;
        let sha = digest.strip_prefix("sha256:").unwrap_or_default();
        // A digest from a record becomes a file name only if it is one.
        let safe = sha.len() == 64 && sha.bytes().all(|b| b.is_ascii_hexdigit());
        self.dir
            .join("content")
            .join(if safe { sha } else { "not-a-digest" })
    }

    /// A release's content, if it is here and whole.
    pub(crate) fn content(&self, release: &Release) -> Result<Option<Vec<u8>>, BackendError> {
        let content = files::read(&self.content_path(release))?;
        Ok(content.filter(|c| format!("sha256:{}", sha256(c)) == release.artifact().digest))
    }

    pub(crate) fn keep_content(
        &self,
        release: &Release,
        content: &[u8],
    ) -> Result<(), BackendError> {
        if self.content(release)?.is_some() {
            return Ok(());
        }
        files::write(&self.content_path(release), content, 0o600)
    }

    fn instance_path(&self, handle: &Handle) -> Result<PathBuf, BackendError> {
        let name = handle.as_str();
        let safe = !name.is_empty()
            && name.len() < 100
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if safe {
            return Ok(self.dir.join("instances").join(name));
        }
        Err(
            BackendError::new(Kind::Corrupt, "this handle was not made by this backend")
                .on(handle)
                .advice("deploy the release anew"),
        )
    }

    pub(crate) fn get(&self, handle: &Handle) -> Result<Option<Shelved>, BackendError> {
        let path = self.instance_path(handle)?;
        parse(&path, files::read(&path)?)
    }

    pub(crate) fn put(&self, handle: &Handle, shelved: &Shelved) -> Result<(), BackendError> {
        if self.get(handle)?.as_ref() == Some(shelved) {
            return Ok(());
        }
        files::write(&self.instance_path(handle)?, &json(shelved)?, 0o600)
    }

    pub(crate) fn drop_instance(&self, handle: &Handle) -> Result<(), BackendError> {
        files::remove(&self.instance_path(handle)?)
    }

    /// All instances.
    pub(crate) fn all(&self) -> Result<Vec<(Instance, Shelved)>, BackendError> {
        let dir = self.dir.join("instances");
        let fail = |e| crate::error::file_error("the instances cannot be listed", &dir, e);
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let handle = Handle::new(name);
            if let Some(shelved) = self.get(&handle)? {
                let instance = Instance {
                    release: shelved.release.clone(),
                    handle,
                };
                all.push((instance, shelved));
            }
        }
        all.sort_by(|a, b| a.0.handle.cmp(&b.0.handle));
        Ok(all)
    }

    /// Removes contents that no instance needs.
    pub(crate) fn sweep_contents(&self) -> Result<(), BackendError> {
        let needed: Vec<PathBuf> = self
            .all()?
            .iter()
            .map(|(i, _)| self.content_path(&i.release))
            .collect();
        let dir = self.dir.join("content");
        let fail = |e| crate::error::file_error("the contents cannot be listed", &dir, e);
        for entry in fs::read_dir(&dir).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if !needed.contains(&path) {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    pub(crate) fn installed(&self) -> Result<Option<Installed>, BackendError> {
        let path = self.dir.join("installed");
        parse(&path, files::read(&path)?)
    }

    pub(crate) fn set_installed(&self, installed: Option<&Installed>) -> Result<(), BackendError> {
        let path = self.dir.join("installed");
        match installed {
            Some(installed) => files::write(&path, &json(installed)?, 0o600),
            None => files::remove(&path),
        }
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, BackendError> {
    serde_json::to_vec(value).map_err(|e| {
        BackendError::new(
            Kind::Failed,
            "the backend's state cannot be written as JSON",
        )
        .because(e)
    })
}

fn parse<T: for<'de> Deserialize<'de>>(
    path: &Path,
    bytes: Option<Vec<u8>>,
) -> Result<Option<T>, BackendError> {
    let Some(bytes) = bytes else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        BackendError::new(Kind::Corrupt, "the backend's own state does not parse")
            .on(path.display())
            .advice("restore the file, or remove it and adopt what runs")
            .because(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_key_and_a_broken_one_is_said_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&dir.path().join("state")).unwrap();
        let first = std::thread::scope(|s| {
            let keys: Vec<_> = (0..8).map(|_| s.spawn(|| shelf.key().unwrap().0)).collect();
            let keys: Vec<_> = keys.into_iter().map(|k| k.join().unwrap()).collect();
            assert!(keys.iter().all(|k| *k == keys[0]), "they were made at once");
            keys[0]
        });
        assert_eq!(shelf.key().unwrap().0, first);
        let path = dir.path().join("state/fingerprint.key");
        fs::write(&path, "half").unwrap();
        let e = shelf.key().unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt);
        assert!(!format!("{e}{e:?}").contains("half"), "{e}");
        assert_eq!(fs::read(&path).unwrap(), b"half");
    }
}
