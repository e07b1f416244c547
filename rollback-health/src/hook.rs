//! [`CommandHook`]: a program as release task, restart or remediation.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::{Instance, Operation};
use rollback_core::context::Context;
use rollback_core::deployment::TriggerKind;
use rollback_core::error::HookError;
use rollback_core::guard::{ReleaseTask, Remediation, Restart};
use rollback_process::{Ending, Program, end_leftovers};

use crate::error::InvalidCheck;

/// A program that the engine runs: to migrate, to build in place, to restart, to heal.
///
/// No shell; the arguments reach the program as they are. Its environment is `PATH`, what is
/// given, and
///
/// | variable | is |
/// |---|---|
/// | `ROLLBACK_WORKLOAD` | the workload, `api@web-1` |
/// | `ROLLBACK_DEPLOYMENT` | the deployment's id |
/// | `ROLLBACK_ENGINE` | who runs it: for recovery |
/// | `ROLLBACK_ARTIFACT` | the digest of what is to be live |
/// | `ROLLBACK_HANDLE` | the backend's handle of it: release directory, container |
/// | `ROLLBACK_RELEASE_DIR` | its directory, with [`in_release`](Self::in_release) |
///
/// It succeeds by exiting with 0. One that overruns its deadline is killed, with what it started.
/// One that a killed engine left running is ended before the deployment goes on: by recovery, or
/// before the next hook. That is whoever still leads the process group that it was given: a service
/// that a hook starts and that is to stay leads a session of its own (`setsid`), as one that its
/// manager starts does.
///
/// A service that it starts should have its own output: it inherits a file that nobody sees and
/// that grows with what it says.
///
/// ```
/// use rollback_core::deployment::TriggerKind;
/// use rollback_health::CommandHook;
/// // Runs on deploys and redeploys; never on a rollback unless it is said.
/// let sync = CommandHook::new("/usr/bin/uv", ["sync", "--frozen"])?;
/// let restart = CommandHook::new("/usr/bin/systemctl", ["restart", "api"])?.on_every_trigger();
/// let heal = CommandHook::new("/usr/local/bin/clear-cache", [] as [&str; 0])?;
/// # Ok::<(), rollback_health::InvalidCheck>(())
/// ```
#[derive(Debug, Clone)]
pub struct CommandHook {
    program: Program,
    triggers: Triggers,
    place: Option<Place>,
}

type DirOf = dyn Fn(&Instance) -> Option<PathBuf> + Send + Sync;

/// Tells where an instance is.
#[derive(Clone)]
struct Place(Arc<DirOf>);

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(..)")
    }
}

/// When a hook runs.
#[derive(Debug, Clone)]
enum Triggers {
    Every,
    These(Vec<TriggerKind>),
}

impl CommandHook {
    /// Runs `program` with `args`, on deploys and redeploys.
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
            triggers: Triggers::These(vec![TriggerKind::Deploy, TriggerKind::Redeploy]),
            place: None,
        })
    }

    /// Runs it on rollbacks too, by hand and automatic, and on whatever else there is.
    #[must_use]
    pub fn on_every_trigger(mut self) -> Self {
        self.triggers = Triggers::Every;
        self
    }

    /// Runs it for deployments set off by these, and no others.
    #[must_use]
    pub fn on(mut self, triggers: impl IntoIterator<Item = TriggerKind>) -> Self {
        self.triggers = Triggers::These(triggers.into_iter().collect());
        self
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

    /// Runs it in the directory of the release that is to be live, unless [`dir`](Self::dir) says
    /// elsewhere, and tells it that directory as `ROLLBACK_RELEASE_DIR`. `place` gives it, as
    /// the git backend's `places()` do; where it gives none, the hook fails and is not run.
    ///
    /// ```
    /// # fn f(places: impl Fn(&rollback_core::backend::Instance) -> Option<std::path::PathBuf>
    /// #     + Send + Sync + 'static) -> Result<(), rollback_health::InvalidCheck> {
    /// use rollback_health::CommandHook;
    /// let sync = CommandHook::new("/usr/bin/uv", ["sync", "--frozen"])?.in_release(places);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_release(
        mut self,
        place: impl Fn(&Instance) -> Option<PathBuf> + Send + Sync + 'static,
    ) -> Self {
        self.place = Some(Place(Arc::new(place)));
        self
    }

    fn is_for(&self, trigger: TriggerKind) -> bool {
        match &self.triggers {
            Triggers::Every => true,
            Triggers::These(these) => these.contains(&trigger),
        }
    }

    async fn for_operation(&self, cx: &Context, op: &Operation) -> Result<(), HookError> {
        let mut program = self.program.clone();
        if let Some(Place(place)) = &self.place {
            let dir = op.to.instance().and_then(|to| place(to));
            program = program.in_release(dir.ok_or("the release has no directory to run it in")?);
        }
        let done = program.run_for(cx, op).await;
        done.map_err(|e| {
            let why = match e.ending {
                Ending::Stopped => HookError::cancelled(e.how),
                _ => HookError::new(e.how),
            };
            why.with_output(e.output)
        })
    }
}

#[async_trait]
impl ReleaseTask for CommandHook {
    fn name(&self) -> String {
        self.program.name()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        self.is_for(trigger)
    }

    async fn run(&self, cx: &Context, op: &Operation) -> Result<(), HookError> {
        self.for_operation(cx, op).await
    }

    async fn abandon(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        abandon(op).await
    }
}

#[async_trait]
impl Restart for CommandHook {
    fn name(&self) -> String {
        self.program.name()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        self.is_for(trigger)
    }

    async fn restart(&self, cx: &Context, op: &Operation) -> Result<(), HookError> {
        self.for_operation(cx, op).await
    }
}

#[async_trait]
impl Remediation for CommandHook {
    fn name(&self) -> String {
        self.program.name()
    }

    async fn abandon(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        abandon(op).await
    }

    async fn attempt(&self, cx: &Context, op: &Operation, _: &str) -> Result<String, HookError> {
        self.for_operation(cx, op).await?;
        Ok(format!("{} exited with 0", self.program.name()))
    }
}

async fn abandon(op: &Operation) -> Result<(), HookError> {
    let ended = end_leftovers(&op.deployment).await;
    ended.map(drop).map_err(|e| HookError::new(e.to_string()))
}
