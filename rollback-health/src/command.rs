//! [`CommandCheck`]: a program's exit status.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::health::{HealthCheck, Probe, Unhealthy};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::error::{InvalidCheck, InvalidCheckKind};

/// Most of a program's output that a diagnostic shows, in bytes, from the end: 4 KiB.
pub const MAX_OUTPUT: usize = 4 * 1024;

/// Healthy when a program exits with 0. No shell: the arguments reach the program as they are.
/// Its environment is empty but for `PATH` and what is given; a program that overruns the
/// deadline is killed and waited for.
#[derive(Clone)]
pub struct CommandCheck {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

impl CommandCheck {
    /// Runs `program` with `args`.
    pub fn new<A: Into<OsString>>(
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
        let args = args.into_iter().map(Into::into).collect();
        Ok(Self {
            program,
            args,
            env: Vec::new(),
            dir: None,
        })
    }

    /// Sets a variable. Its value is shown nowhere.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it there.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }
}

impl std::fmt::Debug for CommandCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("CommandCheck")
            .field("program", &self.program)
            .field("env", &names)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl HealthCheck for CommandCheck {
    fn name(&self) -> String {
        // Arguments may carry secrets; the program alone tells which check it is.
        format!("command {}", self.program.to_string_lossy())
    }

    async fn check(&self, cx: &Context, _: &Probe) -> Result<(), Unhealthy> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // If this future is dropped all the same, nothing stays behind.
        command.kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|e| Unhealthy::new(format!("it cannot be run: {e}")))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut output = (Vec::new(), Vec::new());
        let ended = {
            let run = async {
                // Reading goes on beside the wait: a full pipe would stop the program, and a
                // grandchild that keeps the pipe open must not keep the check.
                let reading =
                    async { tokio::join!(tail(out, &mut output.0), tail(err, &mut output.1)) };
                let mut reading = std::pin::pin!(reading);
                tokio::select! {
                    _ = &mut reading => child.wait().await,
                    status = child.wait() => {
                        let grace = std::time::Duration::from_millis(100);
                        let _ = tokio::time::timeout(grace, reading).await;
                        status
                    }
                }
            };
            tokio::select! {
                biased;
                status = run => Some(status),
                () = cx.cancellation().cancelled() => None,
                () = tokio::time::sleep(cx.remaining()) => None,
            }
        };
        let Some(status) = ended else {
            // Killed and waited for, so that it does nothing after we have said no.
            if let Err(e) = child.kill().await {
                return Err(Unhealthy::new(format!(
                    "it did not end in time, nor be killed: {e}"
                )));
            }
            return Err(Unhealthy::new("it did not end in time and was killed"));
        };
        let status = status.map_err(|e| Unhealthy::new(format!("its end is unknown: {e}")))?;
        if status.success() {
            return Ok(());
        }
        let text = [output.0, output.1].concat();
        let text = String::from_utf8_lossy(&text);
        Err(Unhealthy::new(
            format!("{status}\n{}", text.trim_end())
                .trim_end()
                .to_owned(),
        ))
    }
}

/// Reads to the end and keeps the last [`MAX_OUTPUT`] bytes.
async fn tail(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 1024];
    while let Ok(n) = pipe.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        kept.extend_from_slice(&buffer[..n]);
        let surplus = kept.len().saturating_sub(MAX_OUTPUT);
        kept.drain(..surplus);
    }
}
