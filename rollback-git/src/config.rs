//! [`GitConfig`]: where the repository is, where releases go, what to run after a swap.

use std::path::{Path, PathBuf};

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::id::WorkloadId;

/// What one workload's [`GitBackend`](crate::GitBackend) works on.
#[derive(Debug, Clone)]
pub struct GitConfig {
    pub(crate) workload: WorkloadId,
    pub(crate) repository: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) restart: Vec<String>,
    pub(crate) default_reference: Option<String>,
}

impl GitConfig {
    /// A local repository, bare or not, and the deploy root that holds `releases/` and `current`.
    /// Both paths are absolute. One root belongs to one workload.
    pub fn new(
        workload: WorkloadId,
        repository: impl Into<PathBuf>,
        root: impl Into<PathBuf>,
    ) -> Self {
        Self {
            workload,
            repository: repository.into(),
            root: root.into(),
            restart: Vec::new(),
            default_reference: None,
        }
    }

    /// A program and its arguments, run in the release's directory after each swap. No shell
    /// reads it. It must return by itself: start services through their manager.
    ///
    /// Without it nothing is restarted, which is right for files that are read anew each time. For
    /// a service it is not: the checks would judge the process that runs already, and a broken
    /// release would go on record as healthy.
    #[must_use]
    pub fn restart_command<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.restart = argv.into_iter().map(Into::into).collect();
        self
    }

    /// What an empty reference means, such as `main`.
    #[must_use]
    pub fn default_reference(mut self, reference: impl Into<String>) -> Self {
        self.default_reference = Some(reference.into());
        self
    }

    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let bad = |what: &str, subject: &dyn std::fmt::Display| {
            BackendError::new(BackendErrorKind::InvalidReference, what.to_owned())
                .on(subject)
                .untouched()
        };
        for path in [&self.repository, &self.root] {
            if !path.is_absolute() {
                return Err(bad("the path is not absolute", &path.display()));
            }
        }
        if self.root == Path::new("/") {
            return Err(bad("the deploy root cannot be the whole file system", &"/"));
        }
        if self.restart.first().is_some_and(String::is_empty) {
            return Err(bad("the restart command has no program", &"\"\""));
        }
        Ok(())
    }
}
