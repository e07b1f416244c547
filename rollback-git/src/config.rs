//! [`GitConfig`]: where the repository is, where releases go, what to run after a swap.

use std::path::{Path, PathBuf};

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::id::WorkloadId;

use crate::ignore::{Ignored, InvalidPattern};

/// What one workload's [`GitBackend`](crate::GitBackend) works on.
#[derive(Debug, Clone)]
pub struct GitConfig {
    pub(crate) workload: WorkloadId,
    pub(crate) repository: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) restart: Vec<String>,
    pub(crate) stop: Vec<String>,
    pub(crate) ignored: Vec<String>,
    pub(crate) default_reference: Option<String>,
}

impl GitConfig {
    /// A local repository, bare or not, and the deploy root that holds `releases/` and `current`.
    /// Both paths are absolute. One root belongs to one workload; another one's is refused.
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
            stop: Vec::new(),
            ignored: Vec::new(),
            default_reference: None,
        }
    }

    /// A program and its arguments, run in the release's directory after each swap. No shell
    /// reads it. It must return by itself: start services through their manager.
    ///
    /// Without it nothing is restarted, which is right for files that are read anew each time. For
    /// a service it is not: the checks would judge the process that runs already, and a broken
    /// release would go on record as healthy.
    ///
    /// It may build in place: what it writes into the release's directory, and what release tasks
    /// wrote there before the swap, belongs to the release from then on.
    ///
    /// It may restart the very service that this program is a part of: that the service was started
    /// anew since is then proof enough that it was run.
    #[must_use]
    pub fn restart_command<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.restart = argv.into_iter().map(Into::into).collect();
        self
    }

    /// A program and its arguments, run in the former release's directory when nothing is to be live
    /// any more: when a first deployment is undone. Without it the process of that release runs on,
    /// which the deployment then says.
    #[must_use]
    pub fn stop_command<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.stop = argv.into_iter().map(Into::into).collect();
        self
    }

    /// What the service itself writes into its release's directory while it runs, such as
    /// `["*.pyc", "var/cache/**"]`: no drift, and no reason to place a release anew.
    ///
    /// `*` and `?` stay within a name, `**` is any number of names. A pattern without a slash is for
    /// a name wherever it is, one with a slash is for a path from the release's top; what is
    /// below a directory goes with it.
    #[must_use]
    pub fn ignore_changes<S: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = S>,
    ) -> Self {
        self.ignored = patterns.into_iter().map(Into::into).collect();
        self
    }

    /// What an empty reference means, such as `main`.
    #[must_use]
    pub fn default_reference(mut self, reference: impl Into<String>) -> Self {
        self.default_reference = Some(reference.into());
        self
    }

    /// The patterns, if all that is configured can be right.
    pub(crate) fn validate(&self) -> Result<Ignored, BackendError> {
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
        for (what, argv) in [("restart", &self.restart), ("stop", &self.stop)] {
            if argv.first().is_some_and(String::is_empty) {
                return Err(bad(&format!("the {what} command has no program"), &"\"\""));
            }
        }
        Ignored::new(&self.ignored).map_err(|InvalidPattern(pattern)| {
            bad(
                "changes cannot be ignored by this pattern",
                &format!("{pattern:?}"),
            )
            .advice("write a path below the release's top, such as *.pyc or var/cache/**")
        })
    }
}
