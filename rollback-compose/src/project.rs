//! [`ComposeProject`]: whose files, and as what they are read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::compose::Compose;
use crate::dotenv::Dotenv;
use crate::file::File;
use crate::service::ComposeService;
use crate::surroundings::Surroundings;
use crate::tool::{Generation, Tool};

/// How long compose may take to read its files.
const PATIENCE: Duration = Duration::from_secs(60);

/// A project of compose's: its files, and what else decides how they are read. It has to be what a
/// person's `up` is given, or that would find something to change. `Debug` shows no value.
#[derive(Clone)]
pub struct ComposeProject {
    dir: PathBuf,
    files: Vec<PathBuf>,
    name: Option<String>,
    profiles: Vec<String>,
    env: BTreeMap<String, String>,
    socket: PathBuf,
    program: Option<Vec<String>>,
}

impl fmt::Debug for ComposeProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComposeProject")
            .field("dir", &self.dir)
            .field("files", &self.files)
            .field("name", &self.name)
            .field("profiles", &self.profiles)
            .field("env", &Vec::from_iter(self.env.keys()))
            .field("socket", &self.socket)
            .field("program", &self.program)
            .finish()
    }
}

impl ComposeProject {
    /// The project in this directory, which has to be absolute: its `docker-compose.yml` or whatever
    /// compose looks for, with the override file beside it.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            files: Vec::new(),
            name: None,
            profiles: Vec::new(),
            env: BTreeMap::new(),
            socket: "/var/run/docker.sock".into(),
            program: None,
        }
    }

    /// A file, in the directory unless it is absolute; the next one overrides it (`-f`).
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// The project's name (`-p`), where it is not what compose takes for it: `COMPOSE_PROJECT_NAME` as
    /// given here or in `.env`, or the directory's name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A profile (`--profile`).
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profiles.push(name.into());
        self
    }

    /// A variable for compose to put in. Of this process's own environment it sees only `PATH` and
    /// `HOME`; it reads `.env` itself.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The daemon's Unix socket; `/var/run/docker.sock` unless said otherwise.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// The compose that is run, and its first arguments: `["docker", "compose"]`, or
    /// `["docker-compose"]`. Unless said otherwise the plugin where there is one, else the program.
    #[must_use]
    pub fn program<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.program = Some(argv.into_iter().map(Into::into).collect());
        self
    }

    /// Has compose read the files, and takes one service of them. Where they change, they are read
    /// again by calling this again.
    ///
    /// # Errors
    ///
    /// [`NotFound`](BackendErrorKind::NotFound) without compose, a file or the service;
    /// [`Failed`](BackendErrorKind::Failed) for files that compose does not take;
    /// [`InvalidReference`](BackendErrorKind::InvalidReference) for a directory that is not absolute;
    /// [`Unsupported`](BackendErrorKind::Unsupported) for an answer of compose's that is not understood.
    /// None of them has what the files say.
    pub async fn read(&self, service: &str) -> Result<ComposeService, BackendError> {
        let cx = &Context::new(PATIENCE);
        if !self.dir.is_absolute() {
            return Err(BackendError::new(
                BackendErrorKind::InvalidReference,
                "the directory is not absolute",
            )
            .on(self.dir.display())
            .untouched());
        }
        let around = Surroundings {
            dir: self.dir.clone(),
            socket: self.socket.clone(),
            env: self.env.clone(),
        };
        let tool = Tool::find(cx, self.program.as_deref(), &around).await?;
        let files = self.absolute(tool.generation)?;
        let place = files.first().and_then(|file| file.parent());
        let dotenv = Dotenv::beside(place.unwrap_or(&self.dir)).await?;
        self.refuse_listed(&dotenv)?;
        let mut compose = Compose {
            asked: self.name.clone(),
            project: String::new(),
            tool,
            around,
            files,
            profiles: self.profiles.clone(),
        };
        let read = compose.config(cx).await?;
        let file = File::parse(&read, compose.tool.generation)?;
        compose.project = match (compose.tool.generation, file.project()) {
            (_, Some(project)) => project.to_owned(),
            (Generation::First, None) => self.project_name(&dotenv)?,
            (Generation::Second, None) => {
                let what = "compose does not say what the project is called";
                return Err(BackendError::new(BackendErrorKind::Unsupported, what).untouched());
            }
        };
        ComposeService::new(compose, file, service)
    }

    /// Compose would read what this lists, and is told of what was found instead.
    fn refuse_listed(&self, dotenv: &Dotenv) -> Result<(), BackendError> {
        const FILES: &str = "COMPOSE_FILE";
        if !self.files.is_empty() {
            return Ok(());
        }
        let own = self.env.get(FILES).is_some_and(|files| !files.is_empty());
        if own || dotenv.value(FILES)?.is_some_and(|files| !files.is_empty()) {
            let what = "the project's files are listed where they are not looked for";
            return Err(BackendError::new(BackendErrorKind::Unsupported, what)
                .on(FILES)
                .advice("name each of them (`file`)")
                .untouched());
        }
        Ok(())
    }

    /// The files that are read, as compose would choose them.
    fn absolute(&self, generation: Generation) -> Result<Vec<PathBuf>, BackendError> {
        let missing = |what: String| {
            BackendError::new(BackendErrorKind::NotFound, "there is no such compose file")
                .on(what)
                .untouched()
        };
        if !self.files.is_empty() {
            let files = self.files.iter().map(|file| self.dir.join(file));
            let files: Vec<PathBuf> = files.collect();
            let gone = files.iter().find(|file| !file.is_file());
            return match gone {
                Some(gone) => Err(missing(gone.display().to_string())),
                None => Ok(files),
            };
        }
        let mut stems = ["docker-compose", "compose"];
        if generation == Generation::Second {
            stems.reverse();
        }
        let of = |stem: &str, part: &str| {
            let names = ["yml", "yaml"].map(|ext| self.dir.join(format!("{stem}{part}.{ext}")));
            names.into_iter().find(|file| file.is_file())
        };
        let main = stems.iter().find_map(|stem| of(stem, ""));
        let main = main.ok_or_else(|| missing(self.dir.display().to_string()))?;
        let more = stems.iter().find_map(|stem| of(stem, ".override"));
        Ok(std::iter::once(main).chain(more).collect())
    }

    /// As version 1 finds it, which does not say it.
    fn project_name(&self, dotenv: &Dotenv) -> Result<String, BackendError> {
        const NAME: &str = "COMPOSE_PROJECT_NAME";
        let own = match (&self.name, self.env.get(NAME)) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(name)) => Some(name.clone()),
            (None, None) => dotenv.value(NAME)?,
        };
        let own = own.filter(|name| !name.is_empty());
        let dir = || {
            let first = self.files.first().map(|file| self.dir.join(file));
            let dir = first.as_deref().and_then(Path::parent);
            let name = dir.unwrap_or(&self.dir).file_name();
            name.map(|name| name.to_string_lossy().into_owned())
        };
        let name = own.or_else(dir).unwrap_or_default().to_lowercase();
        let is_kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(*c);
        let name: String = name.chars().filter(is_kept).collect();
        Ok(match name.is_empty() {
            true => "default".to_owned(),
            false => name,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_project_is_called_what_compose_calls_it() {
        let project = ComposeProject::at("/srv/My Shop.2");
        let none = Dotenv::default();
        assert_eq!(project.project_name(&none).unwrap(), "myshop2");
        let other = Dotenv::of("A=1\nCOMPOSE_PROJECT_NAME=\"other\"\n");
        assert_eq!(project.project_name(&other).unwrap(), "other");
        let project = project.env("COMPOSE_PROJECT_NAME", "third");
        assert_eq!(project.project_name(&other).unwrap(), "third");
        let project = project.name("Fourth");
        assert_eq!(project.project_name(&other).unwrap(), "fourth");
    }

    #[test]
    fn a_list_of_files_that_is_not_followed_is_refused() {
        let listed = Dotenv::of("COMPOSE_FILE=a.yml:b.yml\n");
        let project = ComposeProject::at("/srv/shop");
        assert!(project.refuse_listed(&Dotenv::default()).is_ok());
        assert!(project.refuse_listed(&listed).is_err());
        assert!(project.clone().file("a.yml").refuse_listed(&listed).is_ok());
        let project = project.env("COMPOSE_FILE", "a.yml");
        assert!(project.refuse_listed(&Dotenv::default()).is_err());
    }

    #[test]
    fn the_files_are_those_that_compose_looks_for() {
        let dir = tempfile::tempdir().unwrap();
        let names = |generation| -> Vec<String> {
            let files = ComposeProject::at(dir.path()).absolute(generation);
            let files = files.unwrap_or_default();
            let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
            files.iter().map(name).collect()
        };
        assert!(names(Generation::First).is_empty());
        for file in ["compose.yaml", "docker-compose.yml", "compose.override.yml"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let first = ["docker-compose.yml", "compose.override.yml"];
        assert_eq!(names(Generation::First), first);
        let second = ["compose.yaml", "compose.override.yml"];
        assert_eq!(names(Generation::Second), second);
    }
}
