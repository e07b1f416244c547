//! [`Program`]: a program with its arguments, run to its end, or to the deadline's.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rollback_core::context::Context;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use crate::error::{InvalidCheck, InvalidCheckKind};
use crate::output::{Secrets, Tail, said};
use crate::within::not_over;

/// A program to run. No shell: the arguments reach it as they are. Its environment is empty but
/// for `PATH` and what is given.
#[derive(Clone)]
pub(crate) struct Program {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    said: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

impl Program {
    pub(crate) fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, InvalidCheck> {
        let program = program.into();
        if program.is_empty() {
            return Err(InvalidCheck::new(
                InvalidCheckKind::Program,
                "there is no program to run; name one, such as /usr/bin/pg_isready",
            ));
        }
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        if args.iter().chain([&program]).any(has_nul) {
            return Err(InvalidCheck::new(
                InvalidCheckKind::Program,
                "the program's name or an argument contains a NUL, which no program can be given",
            ));
        }
        Ok(Self {
            program,
            args,
            env: Vec::new(),
            said: Vec::new(),
            dir: None,
        })
    }

    pub(crate) fn env(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.env.push((name.into(), value.into()));
    }

    /// Sets a variable that is no secret.
    pub(crate) fn say(&mut self, name: &str, value: String) {
        self.said.push((name.into(), value.into()));
    }

    pub(crate) fn dir(&mut self, dir: impl Into<PathBuf>) {
        self.dir = Some(dir.into());
    }

    /// Arguments may carry secrets; the program alone tells what it is.
    pub(crate) fn name(&self) -> String {
        format!("command {}", self.program.to_string_lossy())
    }

    /// Runs it. `Err` says how it ended and shows the last of its output, secrets masked. One
    /// that overruns the deadline, or is cancelled, is killed with what it started, and waited
    /// for.
    pub(crate) async fn run(&self, cx: &Context) -> Result<(), String> {
        not_over(cx).map_err(|e| e.diagnostic)?;
        let mut child = self
            .command()
            .spawn()
            .map_err(|e| format!("it cannot be run: {e}"))?;
        // If this future is dropped, this ends what the program started, too.
        let group = Group::of(&child);
        let secrets = Secrets::new(self.env.iter().map(|(_, value)| value.as_os_str()));
        let (mut out, mut err) = (Tail::default(), Tail::default());
        let ended = tokio::select! {
            biased;
            status = run(&mut child, &mut out, &mut err, &secrets) => Some(status),
            () = cx.cancellation().cancelled() => None,
            () = tokio::time::sleep(cx.remaining()) => None,
        };
        let Some(status) = ended else {
            // Killed and waited for, so that it does nothing after we have said no.
            drop(group);
            return Err(match child.kill().await {
                Ok(()) => format!(
                    "it did not end in time and was killed\n{}",
                    said(&out, &err, &secrets)
                )
                .trim_end()
                .to_owned(),
                Err(e) => format!("it did not end in time, nor be killed: {e}"),
            });
        };
        group.ended();
        let status = status.map_err(|e| format!("its end is unknown: {e}"))?;
        if status.success() {
            return Ok(());
        }
        let said = said(&out, &err, &secrets);
        Err(format!("{status}\n{said}").trim_end().to_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.said.iter().map(|(k, v)| (k, v)));
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
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

/// Waits for the end. Reading goes on beside: a full pipe would stop the program, and one that a
/// grandchild keeps open must not keep the check.
async fn run(
    child: &mut Child,
    out: &mut Tail,
    err: &mut Tail,
    secrets: &Secrets,
) -> std::io::Result<ExitStatus> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::join!(out.read(stdout, secrets), err.read(stderr, secrets)) };
    let mut reading = std::pin::pin!(reading);
    tokio::select! {
        _ = &mut reading => child.wait().await,
        status = child.wait() => {
            let _ = tokio::time::timeout(Duration::from_millis(100), reading).await;
            status
        }
    }
}

/// The processes that a program and its children form; killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        // The program leads a group of its own number.
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        )
    }

    /// The program ended by itself, and its number may be another's by now.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

fn has_nul(text: &OsString) -> bool {
    text.as_encoded_bytes().contains(&0)
}
