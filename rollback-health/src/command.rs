//! [`CommandCheck`]: a program's exit status.

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::health::{HealthCheck, Healthy, Probe, Unhealthy};

use crate::error::InvalidCheck;
use crate::within::not_over;
use rollback_process::Program;

/// Healthy when a program exits with 0. No shell: the arguments reach the program as they are.
/// Its environment is empty but for `PATH` and what is given; a program that overruns the
/// deadline is killed, with what it started, and waited for. When it says no, the last 4 KiB of
/// its output are the diagnostic.
#[derive(Debug, Clone)]
pub struct CommandCheck {
    program: Program,
}

impl CommandCheck {
    /// Runs `program` with `args`.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, InvalidCheck> {
        Ok(Self {
            program: Program::new(program, args)?,
        })
    }

    /// Sets a variable, `PATH` too. Its value is not shown, and masked in the program's output if
    /// it is four bytes or longer.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// Runs it there.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.program = self.program.dir(dir);
        self
    }
}

#[async_trait]
impl HealthCheck for CommandCheck {
    fn name(&self) -> String {
        self.program.name()
    }

    async fn check(&self, cx: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        not_over(cx)?;
        match self.program.run(cx).await {
            Ok(()) => Ok(Healthy::yes()),
            Err(why) => Err(Unhealthy::new(why.to_string())),
        }
    }
}
