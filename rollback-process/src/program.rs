//! [`Program`]: a program with its arguments, run to its end, or to the deadline's.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::health::Probe;
use rollback_core::masking::Secrets;
use tokio::process::Command;

use crate::confided::Confided;
use crate::confidence::{self, Environment};
use crate::group::Begun;
use crate::leftovers::end_leftovers;
use crate::output::{
    Last, MAX_ANSWER, MAX_OUTPUT, MAX_SAID, forgetting, overflow, said, secret_file, unnamed_file,
    whole,
};
use crate::told::{self, Variable};
use crate::unsuccessful::{Ending, InvalidProgram, Unsuccessful};

/// A program to run. No shell: the arguments reach it as they are. Its environment is empty but
/// for `PATH` and what is given; it reads nothing but [what it is given](Self::input). What it says goes
/// to a file that has no name, and of which only the end is kept while it runs: a service that it starts,
/// and that goes on, should be given an output of its own.
#[derive(Clone)]
pub struct Program {
    program: OsString,
    args: Vec<OsString>,
    environment: Environment,
    env: Vec<(OsString, OsString)>,
    secrets: Secrets,
    input: Vec<u8>,
    dir: Option<PathBuf>,
    release: Option<PathBuf>,
}

/// What is wanted of a program besides its success.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Nothing,
    /// What it says on its standard output.
    Answer,
    /// The same, and it is a secret.
    Confidence,
}

impl Program {
    /// Runs `program` with `args`.
    ///
    /// # Errors
    ///
    /// [`InvalidProgram`] without a program, or for a NUL in its name or an argument.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, InvalidProgram> {
        let program = program.into();
        if program.is_empty() {
            return Err(InvalidProgram::new(
                "there is no program to run; name one, such as /usr/bin/pg_isready",
            ));
        }
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        if args.iter().chain([&program]).any(has_nul) {
            return Err(InvalidProgram::new(
                "the program's name or an argument contains a NUL, which no program can be given",
            ));
        }
        Ok(Self {
            program,
            args,
            environment: Environment::Path,
            env: Vec::new(),
            secrets: Secrets::default(),
            input: Vec::new(),
            dir: None,
            release: None,
        })
    }

    /// Sets a variable, `PATH` too. Its value is shown nowhere, and [masked](Secrets::given) in the
    /// program's output if it is four bytes or longer.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let value = value.into();
        self.secrets = self.secrets.given(value.to_string_lossy());
        self.env.push((name.into(), value));
        self
    }

    /// Gives it all that this process has in its environment. Of its output, the rest of a line that
    /// follows a name such as `token` is then [hidden](Secrets::unlisted), and where it fails, what
    /// the variables are set to.
    #[must_use]
    pub fn inheriting(mut self) -> Self {
        self.environment = Environment::Inherited;
        self.secrets = self.secrets.unlisted();
        self
    }

    /// Masks these in its output as well: it was not given them, and may come upon them.
    #[must_use]
    pub fn masking(mut self, secrets: &Secrets) -> Self {
        self.secrets = self.secrets.and(secrets);
        self
    }

    /// What it reads on its standard input, as it is; nothing unless said otherwise. Masked in
    /// its output.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self.secrets = self.secrets.given(String::from_utf8_lossy(&self.input));
        self
    }

    /// Runs it there.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Tells it where the release is, as `ROLLBACK_RELEASE_DIR`, when it is run for a deployment;
    /// it is run there, if not elsewhere.
    #[must_use]
    pub fn in_release(mut self, dir: impl Into<PathBuf>) -> Self {
        self.release = Some(dir.into());
        self
    }

    /// What it is called. Arguments may carry secrets; the program alone tells what it is.
    pub fn name(&self) -> String {
        format!("command {}", self.program.to_string_lossy())
    }

    /// Runs it. One that overruns the deadline, or is cancelled, is killed with what it started,
    /// and waited for; so it is, but for the waiting, when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`Unsuccessful`], and how it ended:
    ///
    /// - [`NotRun`](Ending::NotRun): it cannot be started, or the context was over before.
    /// - [`Stopped`](Ending::Stopped): it was killed, at the deadline or because it was cancelled.
    /// - [`Failed`](Ending::Failed): it ended by itself, not with 0, or its end is not known.
    pub async fn run(&self, cx: &Context) -> Result<(), Unsuccessful> {
        self.run_with(cx, &[], Wanted::Nothing).await.map(drop)
    }

    /// The same for one that is asked something: what it said on its standard output, the last
    /// [`MAX_ANSWER`] bytes of it, what is secret masked. What it said besides, on its standard error,
    /// is told only of one that did not succeed.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`Stopped`](Ending::Stopped) for one that says more than 4 MiB: it is
    /// killed.
    pub async fn answer(&self, cx: &Context) -> Result<String, Unsuccessful> {
        self.run_with(cx, &[], Wanted::Answer).await
    }

    /// The same for one whose answer is a secret: it comes as it is, the whole of it, and neither it
    /// nor what a refusal says is in any error.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), without output, but never [`Failed`](Ending::Failed) for one that ended by
    /// itself; [`Stopped`](Ending::Stopped) also for one that says more than 4 MiB, and
    /// [`Failed`](Ending::Failed) for one that says more than [`MAX_ANSWER`] bytes, or no text.
    pub async fn answer_in_confidence(&self, cx: &Context) -> Result<Confided, Unsuccessful> {
        self.confided(cx, MAX_ANSWER).await
    }

    /// The same for a long answer, of up to 4 MiB.
    ///
    /// # Errors
    ///
    /// As [`answer_in_confidence`](Self::answer_in_confidence), but for that length.
    pub async fn long_answer_in_confidence(&self, cx: &Context) -> Result<Confided, Unsuccessful> {
        self.confided(cx, MAX_SAID).await
    }

    async fn confided(&self, cx: &Context, most: usize) -> Result<Confided, Unsuccessful> {
        let (status, mut output, _) = self.run_to_end(cx, &[], Wanted::Confidence).await?;
        let said = whole(&mut output, most);
        let said = said.map_err(|e| Unsuccessful::new(Ending::Failed, e.to_string()))?;
        Ok(match status.success() {
            true => Confided::Answer(said),
            false => Confided::Refusal {
                how: status.to_string(),
                said,
            },
        })
    }

    /// The same for a deployment, of which it is told `ROLLBACK_WORKLOAD`, `ROLLBACK_DEPLOYMENT`,
    /// `ROLLBACK_ENGINE`, `ROLLBACK_ARTIFACT` (the digest of what is to be live), `ROLLBACK_HANDLE`
    /// (the backend's, of where that is) and `ROLLBACK_RELEASE_DIR`
    /// ([`in_release`](Self::in_release)). First [`end_leftovers`].
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`NotRun`](Ending::NotRun) while what a dead process left cannot
    /// be ended.
    pub async fn run_for(&self, cx: &Context, op: &Operation) -> Result<(), Unsuccessful> {
        let gone = end_leftovers(&op.deployment).await;
        gone.map_err(|e| Unsuccessful::new(Ending::NotRun, e.to_string()))?;
        let told = told::of_operation(op, self.release.as_deref());
        self.run_with(cx, &told, Wanted::Nothing).await.map(drop)
    }

    /// The same for a look at an instance, of which it is told `ROLLBACK_WORKLOAD`, `ROLLBACK_SITE`
    /// (`live`, or `beside` what is live), `ROLLBACK_ARTIFACT`, `ROLLBACK_HANDLE`, and, beside what is
    /// live, where it answers: `ROLLBACK_ADDRESS_` and the port's name in capitals, `host:port`, and
    /// `ROLLBACK_ADDRESS` where there is only one.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_at(&self, cx: &Context, probe: &Probe) -> Result<(), Unsuccessful> {
        let told = told::of_probe(probe);
        self.run_with(cx, &told, Wanted::Nothing).await.map(drop)
    }

    async fn run_with(
        &self,
        cx: &Context,
        told: &[Variable],
        wanted: Wanted,
    ) -> Result<String, Unsuccessful> {
        let (status, mut output, mut errors) = self.run_to_end(cx, told, wanted).await?;
        if !status.success() {
            // By a signal somebody else has killed it.
            let last = status.code().map_or(Last::Broken, |_| Last::Whole);
            let failed = Unsuccessful::new(Ending::Failed, status.to_string());
            return Err(failed.saying(self.words(&mut output, &mut errors, last)));
        }
        Ok(match wanted {
            Wanted::Nothing => String::new(),
            _ => said(&mut output, Last::Whole, &self.secrets, MAX_ANSWER),
        })
    }

    /// Runs it until it ends by itself; what it said as output and as errors.
    async fn run_to_end(
        &self,
        cx: &Context,
        told: &[Variable],
        wanted: Wanted,
    ) -> Result<(ExitStatus, File, File), Unsuccessful> {
        not_over(cx)?;
        let not_run = |e| Unsuccessful::new(Ending::NotRun, format!("it cannot be run: {e}"));
        // A file, not a pipe: what it starts and leaves must neither keep us waiting for the end of
        // the output, nor die of a pipe that nobody reads any more.
        let file = match wanted {
            Wanted::Nothing | Wanted::Answer => unnamed_file,
            Wanted::Confidence => secret_file,
        };
        let mut output = file().map_err(not_run)?;
        // Warnings are no part of an answer, and one in the midst of a secret would break it in two
        // that nobody recognises.
        let mut errors = match wanted {
            Wanted::Nothing => output.try_clone(),
            Wanted::Answer | Wanted::Confidence => file(),
        }
        .map_err(not_run)?;
        let mut child = self
            .command(told, &output, &errors)
            .and_then(|mut command| command.spawn())
            .map_err(not_run)?;
        // If this future is dropped, this ends what the program started, too.
        let begun = Begun::of(&child);
        let ended = tokio::select! {
            biased;
            status = child.wait() => Ok(status),
            () = cx.cancellation().cancelled() => Err("it was cancelled, and killed"),
            () = tokio::time::sleep(cx.remaining()) => {
                Err("it did not end in time and was killed")
            }
            () = overflow([&output, &errors]), if !matches!(wanted, Wanted::Nothing) => {
                Err("it said more than 4 MiB and was killed")
            }
            never = forgetting(&output), if matches!(wanted, Wanted::Nothing) => match never {},
        };
        match ended {
            Ok(status) => {
                begun.ended();
                let unknown =
                    |e| Unsuccessful::new(Ending::Failed, format!("its end is unknown: {e}"));
                Ok((status.map_err(unknown)?, output, errors))
            }
            Err(why) => {
                let stopped = |how: &str| Unsuccessful::new(Ending::Stopped, how);
                Err(match (begun.kill(&mut child).await, wanted) {
                    (Ok(()), Wanted::Confidence) => stopped(why),
                    (Ok(()), _) => {
                        stopped(why).saying(self.words(&mut output, &mut errors, Last::Broken))
                    }
                    (Err(e), _) => stopped(&format!("it cannot be killed: {e}")),
                })
            }
        }
    }

    /// Of one that did not succeed: why, if it says so where errors are said.
    fn words(&self, output: &mut File, errors: &mut File, last: Last) -> String {
        // An answer is asked for with the arguments, and may have to repeat them; a failure need not.
        let all = self.secrets.clone();
        let all = all.and(&confidence::of(&self.args, self.environment));
        match said(errors, last, &all, MAX_OUTPUT) {
            nothing if nothing.is_empty() => said(output, last, &all, MAX_OUTPUT),
            words => words,
        }
    }

    fn command(&self, told: &[Variable], output: &File, errors: &File) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if matches!(self.environment, Environment::Path) {
            command.env_clear();
            if let Some(path) = std::env::var_os("PATH") {
                command.env("PATH", path);
            }
        }
        command.envs(told.iter().map(|(k, v)| (k, v)));
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = self.dir.as_ref().or(self.release.as_ref()) {
            command.current_dir(dir);
        }
        command
            .stdin(self.stdin()?)
            .stdout(output.try_clone()?)
            .stderr(errors.try_clone()?)
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// A file too: one that does not read all of it keeps nobody waiting.
    fn stdin(&self) -> io::Result<Stdio> {
        if self.input.is_empty() {
            return Ok(Stdio::null());
        }
        let mut file = secret_file()?;
        file.write_all(&self.input)?;
        file.rewind()?;
        Ok(file.into())
    }
}

/// One that should have ended already does not begin.
fn not_over(cx: &Context) -> Result<(), Unsuccessful> {
    let why = if cx.cancellation().is_cancelled() {
        "cancelled before it was run"
    } else if cx.remaining().is_zero() {
        "no time was left to run it"
    } else {
        return Ok(());
    };
    Err(Unsuccessful::new(Ending::NotRun, why))
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Program")
            .field("program", &self.program)
            .field("env", &names)
            .finish_non_exhaustive()
    }
}

fn has_nul(text: &OsString) -> bool {
    text.as_encoded_bytes().contains(&0)
}
