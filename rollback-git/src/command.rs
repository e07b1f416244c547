//! The restart and the stop command: a program and its arguments, no shell.

use std::path::Path;

use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_process::{Ending, Program};

/// Runs it in `dir` until it ends, the deadline passes or the call is cancelled. Nothing of it
/// runs on after this has returned with a deadline or a cancellation; nor does what a killed
/// process left of it while this one runs.
pub(crate) async fn run(
    cx: &Context,
    op: &Operation,
    argv: &[String],
    dir: &Path,
) -> Result<(), BackendError> {
    let Some((program, args)) = argv.split_first() else {
        return Ok(());
    };
    let failed = |why: String| {
        BackendError::new(BackendErrorKind::Failed, why)
            .on(program)
            .advice(format!("run it by hand in {}", dir.display()))
    };
    let command = Program::new(program, args)
        .map_err(|e| failed(format!("the command cannot be run: {e}")))?
        .inheriting()
        .in_release(dir);
    match command.run_for(cx, op).await {
        Ok(()) => Ok(()),
        Err(e) if e.ending == Ending::Stopped => Err(match cx.check() {
            Err(e) => e.on(program),
            Ok(()) => {
                BackendError::new(BackendErrorKind::DeadlineExceeded, e.to_string()).on(program)
            }
        }),
        Err(e) => Err(failed(format!("the command failed: {e}"))),
    }
}
