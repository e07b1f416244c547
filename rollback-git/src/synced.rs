//! [`Synced`]: names that need not be made durable again.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rollback_core::error::BackendError;

use crate::error;
use crate::file::sync_dir;

/// What has a name: another one's number or time would be another.
type Id = (u64, u64, i64, i64);

/// Names that this process has made durable itself, with what had them then. Whoever else wrote one
/// need not have lived to do so.
#[derive(Debug, Default)]
pub(crate) struct Synced(Mutex<HashMap<PathBuf, Id>>);

impl Synced {
    /// Makes the name of what is there durable, unless this process has done that before.
    pub(crate) fn name(&self, path: &Path) -> Result<(), BackendError> {
        let found = fs::symlink_metadata(path)
            .map_err(|e| error::io("cannot look at what is to last", path.display(), e))?;
        let id = (found.dev(), found.ino(), found.ctime(), found.ctime_nsec());
        if self.names().get(path) == Some(&id) {
            return Ok(());
        }
        sync_dir(path.parent().unwrap_or(path))?;
        self.names().insert(path.to_owned(), id);
        Ok(())
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_as_long_as_it_leads_to_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (path, synced) = (dir.path().join("note"), Synced::default());
        let known = || synced.names().get(&path).copied();
        fs::write(&path, "one").unwrap();
        synced.name(&path).unwrap();
        let one = known().unwrap();
        synced.name(&path).unwrap();
        assert_eq!(known(), Some(one));
        fs::write(dir.path().join("next"), "two").unwrap();
        fs::rename(dir.path().join("next"), &path).unwrap();
        synced.name(&path).unwrap();
        assert_ne!(known(), Some(one));
        fs::remove_file(&path).unwrap();
        synced.name(&path).unwrap_err();
    }
}
