//! [`CommandCheck`]: a program's exit status.

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::health::{Aim, HealthCheck, Healthy, Probe, Unhealthy};

use crate::error::InvalidCheck;
use crate::within::not_over;
use rollback_process::Program;

/// Healthy when a program exits with 0. No shell: the arguments reach the program as they are.
/// A program that overruns the deadline is killed, with what it started, and waited for. When it
/// says no, the last 4 KiB of its output are the diagnostic.
///
/// Its environment is `PATH`, what is given, and
///
/// | variable | is |
/// |---|---|
/// | `ROLLBACK_WORKLOAD` | the workload, `api@web-1` |
/// | `ROLLBACK_SITE` | `live`, or `beside` what is live |
/// | `ROLLBACK_ARTIFACT` | the digest of what is looked at |
/// | `ROLLBACK_HANDLE` | the backend's handle of it |
/// | `ROLLBACK_ADDRESS_HTTP` | beside: where its port `http` answers, `host:port`; so for each port |
/// | `ROLLBACK_ADDRESS` | the same where it has one port only |
#[derive(Debug, Clone)]
pub struct CommandCheck {
    program: Program,
    aim: Aim,
}

impl CommandCheck {
    /// Runs `program` with `args`.
    ///
    /// # Errors
    ///
    /// [`Program`](crate::InvalidCheckKind::Program) without a program, or for a NUL in its name or
    /// an argument.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, InvalidCheck> {
        Ok(Self {
            program: Program::new(program, args)?,
            aim: Aim::Live,
        })
    }

    /// Sets a variable, `PATH` too. Its value is not shown, and masked in the program's output if
    /// it is four bytes or longer.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// The program looks at what its environment names, and so can judge a successor that runs beside
    /// what is live. Unless this is said it is not asked about one: it would look at what is live.
    #[must_use]
    pub fn looks_beside(mut self) -> Self {
        self.aim = Aim::Instance;
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

    fn aim(&self) -> Aim {
        self.aim.clone()
    }

    async fn check(&self, cx: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        not_over(cx)?;
        match self.program.run_at(cx, probe).await {
            Ok(()) => Ok(Healthy::yes()),
            Err(why) => Err(Unhealthy::new(why.to_string())),
        }
    }
}
