//! [`Key`]: keyed fingerprints of values, so that a record tells whether one changed and never
//! what it is.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rollback_core::error::{BackendError, BackendErrorKind};
use sha2::Sha256;

use crate::error;

/// The secret that fingerprints are made with. Lives in the state directory, 0600.
#[derive(Clone)]
pub(crate) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Key {
    /// The same as [`load`](Self::load), without holding up the runtime.
    pub(crate) async fn of_dir(dir: &Path) -> Result<Self, BackendError> {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || Self::load(&dir))
            .await
            .map_err(|e| {
                BackendError::new(BackendErrorKind::Failed, "a step ended abnormally").because(e)
            })?
    }

    /// Reads the key of this directory, or makes one. Two processes that race get the same.
    pub(crate) fn load(dir: &Path) -> Result<Self, BackendError> {
        let path = dir.join("fingerprint.key");
        let fail = |e| error::io("cannot use the fingerprint key", path.display(), e).untouched();
        if let Some(key) = read(&path).map_err(fail)? {
            return Self::parse(key, &path);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(fail)?;
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|e| fail(io::Error::other(e.to_string())))?;
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(fail)?;
        file.write_all(&fresh).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {}
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(fail(e.error)),
        }
        File::open(dir).and_then(|d| d.sync_all()).map_err(fail)?;
        match read(&path).map_err(fail)? {
            Some(key) => Self::parse(key, &path),
            None => Err(fail(io::ErrorKind::NotFound.into())),
        }
    }

    fn parse(bytes: Vec<u8>, path: &Path) -> Result<Self, BackendError> {
        bytes.try_into().map(Self).map_err(|_| {
            BackendError::new(
                BackendErrorKind::Corrupt,
                "the fingerprint key is not 32 bytes",
            )
            .on(path.display())
            .advice("restore it, or remove it: every variable will then look changed once")
            .untouched()
        })
    }

    /// HMAC-SHA-256 over the name and the value, each with its length, in 32 hex digits.
    pub(crate) fn of(&self, name: &str, value: &str) -> String {
        // As HMAC does with a short key: the type takes whole blocks alone, and cannot refuse one.
        let mut key = [0; 64];
        key[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        for part in [name, value] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex(&mac.finalize().into_bytes()[..16])
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = Key::load(&state).unwrap();
        let again = Key::load(&state).unwrap();
        assert_eq!(first.of("A", "x"), again.of("A", "x"));
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&state.join("fingerprint.key")), 0o600);
        let other = Key::load(&dir.path().join("other")).unwrap();
        assert_ne!(first.of("A", "x"), other.of("A", "x"));
    }

    #[test]
    fn name_and_value_cannot_be_shifted_into_one_another() {
        let key = Key([7; 32]);
        assert_ne!(key.of("AB", "C"), key.of("A", "BC"));
        assert_ne!(key.of("A", "x"), key.of("A", "y"));
        assert_eq!(key.of("A", "x").len(), 32);
    }

    #[test]
    fn a_fingerprint_is_the_one_that_older_records_have() {
        let print = Key([7; 32]).of("DATABASE_URL", "postgres://db");
        assert_eq!(print, "d2e88f1dd4cc3a8434a4161a635fd2dd");
    }

    #[test]
    fn a_broken_key_is_said_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("fingerprint.key"), "short").unwrap();
        let e = Key::load(dir.path()).unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Corrupt);
        assert_eq!(
            fs::read(dir.path().join("fingerprint.key")).unwrap(),
            b"short"
        );
    }
}
