//! [`ComposeService`]: one service of a project, and the configuration that it is.

use std::fmt;
use std::path::PathBuf;

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::id::WorkloadId;
use rollback_docker::DockerConfig;
use serde_json::{Map, Value};

use crate::compose::Compose;
use crate::file::File;
use crate::labels::ComposeLabels;
use crate::settings::{self, Source};
use crate::text::{self, COMPOSE};
use crate::tool::Generation;

/// One service of a compose project, as compose reads its files. `Debug` shows no value.
#[derive(Clone)]
pub struct ComposeService {
    compose: Compose,
    file: File,
    name: String,
    /// What of it becomes the container's settings.
    said: Map<String, Value>,
    image: String,
}

impl fmt::Debug for ComposeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComposeService")
            .field("compose", &self.compose)
            .field("name", &self.name)
            .field("settings", &Vec::from_iter(self.said.keys()))
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

impl ComposeService {
    pub(crate) fn new(mut compose: Compose, file: File, name: &str) -> Result<Self, BackendError> {
        if let Some(project) = file.project() {
            project.clone_into(&mut compose.project);
        }
        let Some(said) = file.service(name).cloned() else {
            return Err(BackendError::new(
                BackendErrorKind::NotFound,
                "the compose file has no such service",
            )
            .on(name)
            .advice(format!("it has {}", file.services().join(", ")))
            .untouched());
        };
        let between = between(&compose);
        let image = said.get("image").and_then(Value::as_str);
        let image = image.map_or_else(
            || format!("{}{between}{name}", compose.project),
            str::to_owned,
        );
        Ok(Self {
            compose,
            file,
            name: name.to_owned(),
            said,
            image,
        })
    }

    /// The image that the file names: what to deploy for the file to be true. Of a service that is
    /// only built it is what compose calls the image it builds.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.compose.project
    }

    /// What compose calls the service's container.
    pub fn container(&self) -> String {
        let own = self.said.get("container_name").and_then(Value::as_str);
        own.map_or_else(
            || {
                let (project, between) = (self.project(), between(&self.compose));
                let project = project.trim_start_matches(['-', '_']);
                format!("{project}{between}{}{between}1", self.name)
            },
            str::to_owned,
        )
    }

    /// Leaves out what no container can be made with here: a setting, `deploy`, or an entry of one,
    /// `environment.DEBUG`, `volumes./cache`. The live container is without it; compose, which knows
    /// only its files, finds nothing to change all the same.
    ///
    /// # Errors
    ///
    /// [`NotFound`](BackendErrorKind::NotFound) if the file does not say it.
    pub fn without(mut self, setting: &str) -> Result<Self, BackendError> {
        match settings::without(&mut self.said, setting) {
            true => Ok(self),
            false => Err(BackendError::new(
                BackendErrorKind::NotFound,
                "the compose file does not say this of the service",
            )
            .on(setting)
            .untouched()),
        }
    }

    /// The configuration of a workload that is this service. All of it is compose's: nothing is taken
    /// over from a container that was made by hand. How images are pulled, and with which credentials,
    /// is for the program to add.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](BackendErrorKind::Unsupported), by its name, for a setting that no container can
    /// be made with; [`InvalidReference`](BackendErrorKind::InvalidReference) for one that docker does
    /// not take; [`NotFound`](BackendErrorKind::NotFound) for a directory to be mounted that does not
    /// exist.
    pub fn config(
        &self,
        workload: WorkloadId,
        state_dir: impl Into<PathBuf>,
    ) -> Result<DockerConfig, BackendError> {
        let has_env_file = self
            .said
            .get("env_file")
            .is_some_and(|said| !said.is_null());
        if self.compose.tool.generation == Generation::Second && has_env_file {
            return Err(settings::unsupported("env_file"));
        }
        let source = Source {
            file: &self.file,
            generation: self.compose.tool.generation,
            project: self.project(),
            service: &self.name,
        };
        let config = DockerConfig::new(workload, self.container(), state_dir)
            .socket(&self.compose.around.socket)
            .complete();
        let config = settings::apply(&self.said, source, config)?;
        Ok(config
            .text(COMPOSE, text::of(&self.said)?)
            .live_labels(ComposeLabels {
                compose: self.compose.clone(),
                service: self.name.clone(),
                file: self.file.clone(),
                image: self.image.clone(),
            }))
    }
}

/// What compose writes between the parts of a name.
fn between(compose: &Compose) -> char {
    match compose.tool.generation {
        Generation::First => '_',
        Generation::Second => '-',
    }
}
