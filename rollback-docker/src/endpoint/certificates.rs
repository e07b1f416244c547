//! [`Certificates`]: the files by which a program and a daemon know each other.

use std::fmt;
use std::path::{Path, PathBuf};

/// Files, in PEM: the CA that the daemon's certificate is of, and a certificate with its key that the
/// daemon's CA has given to this program. Read anew with each connection that is agreed on, so that
/// renewed ones are seen. `Debug` shows the paths alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificates {
    /// These files: absolute paths.
    pub fn new(ca: impl Into<PathBuf>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            ca: ca.into(),
            cert: cert.into(),
            key: key.into(),
        }
    }

    /// `ca.pem`, `cert.pem` and `key.pem` in this directory, as docker's own client has them.
    pub fn in_dir(dir: impl AsRef<Path>) -> Self {
        let file = |name| dir.as_ref().join(name);
        Self::new(file("ca.pem"), file("cert.pem"), file("key.pem"))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.cert, &self.key]
            .into_iter()
            .map(PathBuf::as_path)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.paths()).finish()
    }
}
