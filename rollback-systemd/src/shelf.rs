//! The shelf: what the backend keeps at the target, so that every retained release can be put
//! back without anything from outside.
//!
//! ```text
//! lock                held while anything here, or the unit's file, is changed
//! published           the newest fencing token that anybody has published with
//! fingerprint.key     32 random bytes
//! format              says how digests are made: with the key, or not yet
//! content/<digest>    a unit's content, as it was written
//! instances/<handle>  an instance: its release, who made it, whether it was ever live
//! installed           which instance is in place, and the proof of its last restart
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::backend::{Handle, Instance};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::history::Fence;
use rollback_core::release::Release;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::key::{Key, digits};
use crate::lock::Held;
use crate::record::{Installed, Shelved};

/// Whether digests that were made here so far have a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// By an earlier version, without. What it found may be on record that way.
    Unkeyed,
    Keyed,
}

/// How many of the units that people made by hand, and deployments overrode, are kept.
const EDITED: usize = 20;

/// The content of `format`.
const KEYED: &[u8] = b"2\n";

/// The directory of contents by digest, instances and keys.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    pub(crate) fn open(dir: &Path) -> Result<Self, BackendError> {
        for sub in ["content", "instances"] {
            files::private_dir(&dir.join(sub))?;
        }
        let shelf = Self {
            dir: dir.to_owned(),
        };
        if files::read(&shelf.key_path())?.is_none() {
            let _held = Held::soon(&shelf.lock_path())?;
            shelf.make_key()?;
        }
        Ok(shelf)
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn key_path(&self) -> PathBuf {
        self.dir.join("fingerprint.key")
    }

    /// Excludes everybody else from the shelf and the unit's file while it lives. Refused where a
    /// later actor has published.
    pub(crate) fn hold(&self, cx: &Context) -> Result<Held, BackendError> {
        let held = Held::acquire(&self.lock_path(), || cx.check())?;
        cx.may_publish(self.published()?.as_ref())?;
        Ok(held)
    }

    /// The same for what publishes, whose token is kept from then on.
    pub(crate) fn publish(&self, cx: &Context) -> Result<Held, BackendError> {
        let held = self.hold(cx)?;
        if let Some(own) = cx.fence()
            && self.published()?.as_ref() != Some(own)
        {
            files::write(&self.dir.join("published"), &json(own)?, 0o600)?;
        }
        Ok(held)
    }

    /// The newest token that anybody has published with.
    pub(crate) fn published(&self) -> Result<Option<Fence>, BackendError> {
        let path = self.dir.join("published");
        parse(&path, files::read(&path)?)
    }

    /// Makes the key, under the lock, where nothing was made with another one.
    fn make_key(&self) -> Result<(), BackendError> {
        if files::read(&self.key_path())?.is_some() || !self.is_empty()? {
            return Ok(());
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|e| {
            BackendError::new(Kind::Failed, "no random bytes for the fingerprint key").because(e)
        })?;
        // First: a directory that has a key and no format is an earlier version's.
        self.set_keyed()?;
        files::write(&self.key_path(), &key, 0o600)
    }

    fn is_empty(&self) -> Result<bool, BackendError> {
        Ok(self.installed()?.is_none() && self.all()?.is_empty())
    }

    /// The key for digests and fingerprints.
    pub(crate) fn key(&self) -> Result<Key, BackendError> {
        let path = self.key_path();
        let broken = |what: &str| {
            BackendError::new(Kind::Corrupt, what)
                .on(path.display())
                .advice(
                    "restore it from a backup; without it no release that was kept here is \
                     recognised: if it is lost, remove the directory around it and adopt what runs",
                )
        };
        let key = files::read(&path)?.ok_or_else(|| broken("the fingerprint key is gone"))?;
        key.try_into()
            .map(Key)
            .map_err(|_| broken("the fingerprint key is not a key"))
    }

    pub(crate) fn format(&self) -> Result<Format, BackendError> {
        Ok(match files::read(&self.dir.join("format"))? {
            None => Format::Unkeyed,
            Some(_) => Format::Keyed,
        })
    }

    /// From now on digests are made with the key, also of what is found.
    pub(crate) fn set_keyed(&self) -> Result<(), BackendError> {
        if self.format()? == Format::Keyed {
            return Ok(());
        }
        files::write(&self.dir.join("format"), KEYED, 0o600)
    }

    fn content_path(&self, release: &Release) -> PathBuf {
        let name = digits(&release.artifact().digest).unwrap_or("not-a-digest");
        self.dir.join("content").join(name)
    }

    /// A release's content, if it is here and whole.
    pub(crate) fn content(&self, release: &Release) -> Result<Option<Vec<u8>>, BackendError> {
        let key = self.key()?;
        let content = files::read(&self.content_path(release))?;
        Ok(content.filter(|c| key.made(&release.artifact().digest, c)))
    }

    /// Removes what killed processes left half-written here, under the lock.
    pub(crate) fn sweep(&self) -> Result<(), BackendError> {
        for dir in ["", "content", "instances"] {
            files::sweep(&self.dir.join(dir), |name| {
                files::temporary_of(name).is_some()
            })?;
        }
        Ok(())
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

    /// All instances that are kept, in no order.
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
                let instance = Instance::new(shelved.release.clone(), handle);
                all.push((instance, shelved));
            }
        }
        all.sort_by(|a, b| a.0.handle.cmp(&b.0.handle));
        Ok(all)
    }

    /// Removes all but the newest of what people made by hand.
    pub(crate) fn forget_edited(&self) -> Result<(), BackendError> {
        let mut edited = Vec::new();
        for (instance, shelved) in self.all()? {
            if shelved.edited {
                let written = fs::metadata(self.instance_path(&instance.handle)?);
                let written = written.and_then(|m| m.modified()).ok();
                edited.push((written, instance.handle));
            }
        }
        edited.sort();
        let many = edited.len().saturating_sub(EDITED);
        for (_, handle) in edited.into_iter().take(many) {
            self.drop_instance(&handle)?;
        }
        Ok(())
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
    use std::collections::BTreeMap;

    use rollback_core::id::DeploymentId;

    use super::*;

    #[test]
    fn there_is_one_key_and_a_broken_one_is_said_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("state");
        let first = std::thread::scope(|s| {
            let open = || Shelf::open(&at).unwrap().key().unwrap().0;
            let keys: Vec<_> = (0..8).map(|_| s.spawn(open)).collect();
            let keys: Vec<_> = keys.into_iter().map(|k| k.join().unwrap()).collect();
            assert!(keys.iter().all(|k| *k == keys[0]), "they were made at once");
            keys[0]
        });
        let shelf = Shelf::open(&at).unwrap();
        assert_eq!(shelf.key().unwrap().0, first);
        assert_eq!(shelf.format().unwrap(), Format::Keyed);
        let path = at.join("fingerprint.key");
        fs::write(&path, "half").unwrap();
        let e = shelf.key().unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt);
        assert!(!format!("{e}{e:?}").contains("half"), "{e}");
        assert_eq!(fs::read(&path).unwrap(), b"half");
    }

    #[test]
    fn a_lost_key_is_not_replaced_where_something_was_made_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path()).unwrap();
        let path = dir.path().join("fingerprint.key");
        fs::remove_file(&path).unwrap();
        // Nothing was: as if the process had died before it wrote the key.
        let shelf = Shelf::open(&shelf.dir).unwrap();
        shelf.key().unwrap();
        let installed = Installed {
            handle: Handle::new("h"),
            by: DeploymentId::generate(rollback_core::time::Clock::now(
                &rollback_core::time::SystemClock,
            )),
            invocation: None,
            drop_ins: BTreeMap::new(),
            enablement: None,
            former: None,
            before: None,
            restarts: None,
            boot: None,
            done: false,
        };
        shelf.set_installed(Some(&installed)).unwrap();
        fs::remove_file(&path).unwrap();
        let e = Shelf::open(&shelf.dir).unwrap().key().unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{e}");
        assert!(!path.exists());
    }
}
