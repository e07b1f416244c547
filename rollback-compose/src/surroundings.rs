//! [`Surroundings`]: where compose is run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_process::{Confided, Ending, Program, Unsuccessful};

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
        match program.long_answer_in_confidence(cx).await {
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
