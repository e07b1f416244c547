//! [`Compose`]: a project's compose, asked what it makes of the files.

use std::path::PathBuf;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::surroundings::Surroundings;
use crate::tool::{Generation, Tool};

/// A project's compose.
#[derive(Debug, Clone)]
pub(crate) struct Compose {
    pub(crate) tool: Tool,
    pub(crate) around: Surroundings,
    /// What the project is to be called, where that is not for compose to find: a name that it is given
    /// wins over the files' own.
    pub(crate) asked: Option<String>,
    /// What it is called.
    pub(crate) project: String,
    /// Absolute, in the order in which one overrides the other.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) profiles: Vec<String>,
}

impl Compose {
    /// What it says with these arguments, after those that name the project.
    pub(crate) async fn ask(
        &self,
        cx: &Context,
        more: Option<&str>,
        args: &[&str],
    ) -> Result<String, BackendError> {
        let mut all = Vec::new();
        if let Some(name) = &self.asked {
            all.extend(["-p".to_owned(), name.clone()]);
        }
        let files = self.files.iter().map(|file| file.display().to_string());
        for file in files.chain(more.map(str::to_owned)) {
            all.extend(["-f".to_owned(), file]);
        }
        for profile in &self.profiles {
            all.extend(["--profile".to_owned(), profile.clone()]);
        }
        let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
        all.extend(args);
        self.around.run(cx, &self.tool.argv, &all).await
    }

    /// The files as it reads them, in one.
    pub(crate) async fn config(&self, cx: &Context) -> Result<String, BackendError> {
        match self.tool.generation {
            Generation::First => self.ask(cx, None, &["config"]).await,
            Generation::Second => self.ask(cx, None, &["config", "--format", "json"]).await,
        }
    }

    /// By what it tells whether a service's container is what the files say.
    pub(crate) async fn hash(&self, cx: &Context, service: &str) -> Result<String, BackendError> {
        let answer = self.ask(cx, None, &["config", "--hash", service]).await?;
        let hash = answer.lines().find_map(|line| {
            let (name, hash) = line.trim().rsplit_once(' ')?;
            let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            (name.trim() == service && is_hash).then(|| hash.to_owned())
        });
        hash.ok_or_else(|| {
            BackendError::new(
                BackendErrorKind::Unsupported,
                "compose gives no hash of the service",
            )
            .on(service)
            .untouched()
        })
    }
}
