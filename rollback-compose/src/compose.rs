//! [`Compose`]: a project's compose, asked what it makes of the files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_process::{Confided, Ending, Program, Unsuccessful};

use crate::tool::{Generation, Tool};

/// Where compose is run, and what it is told besides its arguments. `Debug` shows no value.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("dir", &self.dir)
            .field("socket", &self.socket)
            .field("env", &Vec::from_iter(self.env.keys()))
            .finish()
    }
}

impl Surroundings {
    /// Runs it, without a shell; its answer. No error repeats what it said: of a file that it does not
    /// take it may repeat a value.
    pub(crate) async fn run(
        &self,
        cx: &Context,
        argv: &[String],
        args: &[&str],
    ) -> Result<String, BackendError> {
        let line = || format!("{} {}", argv.join(" "), args.join(" "));
        let Some((program, first)) = argv.split_first() else {
            let what = "there is no program to run";
            return Err(BackendError::new(BackendErrorKind::InvalidReference, what).untouched());
        };
        let all = first.iter().map(String::as_str).chain(args.iter().copied());
        let invalid = |e| {
            let what = "compose cannot be run like this";
            let e = BackendError::new(BackendErrorKind::InvalidReference, what).because(e);
            e.on(line()).untouched()
        };
        let mut program = Program::new(program, all).map_err(invalid)?;
        program = program.dir(&self.dir);
        // Where docker's plugins and contexts are.
        if let Some(home) = std::env::var_os("HOME") {
            program = program.env("HOME", home);
        }
        for (name, value) in &self.env {
            program = program.env(name, value);
        }
        program = program.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        match program.answer_in_confidence(cx).await {
            Ok(Confided::Answer(answer)) => Ok(answer),
            Ok(Confided::Refusal { how, .. }) => Err(BackendError::new(
                BackendErrorKind::Failed,
                "compose failed",
            )
            .on(format!("{}: {how}", line()))
            .advice("run it by hand to see why: what it says may have secrets in it")
            .untouched()),
            Err(e) => Err(not_run(cx, e).on(line()).untouched()),
        }
    }
}

fn not_run(cx: &Context, e: Unsuccessful) -> BackendError {
    match (e.ending, cx.check()) {
        (Ending::Stopped, Err(over)) => over,
        (Ending::NotRun, _) => {
            BackendError::new(BackendErrorKind::NotFound, "compose cannot be run").because(e)
        }
        _ => BackendError::new(BackendErrorKind::Failed, "compose gave no answer").because(e),
    }
}

/// A project's compose.
#[derive(Debug, Clone)]
pub(crate) struct Compose {
    pub(crate) tool: Tool,
    pub(crate) around: Surroundings,
    /// The project's name.
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
        let mut all = vec!["-p".to_owned(), self.project.clone()];
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
