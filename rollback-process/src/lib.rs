//! Programs that rollback runs for a deployment: hooks, restart commands, checks.
//!
//! No shell: arguments reach a program as they are. It runs in a process group of its own, which is
//! ended at the deadline, when it is cancelled, and when its future is dropped. What a killed engine
//! left running is ended before the same deployment runs a program again ([`end_leftovers`]):
//! otherwise it would do, minutes later, what has been undone meanwhile.
//!
//! ```
//! use rollback_process::Program;
//! # async fn f(cx: &rollback_core::context::Context) -> Result<(), Box<dyn std::error::Error>> {
//! let program = Program::new("/usr/bin/systemctl", ["is-active", "api"])?;
//! program.run(cx).await?;
//! # Ok(())
//! # }
//! ```

mod confided;
mod confidence;
mod engine;
mod group;
mod leftovers;
mod output;
mod program;
mod stat;
mod told;
mod unsuccessful;

pub use confided::Confided;
pub use engine::Engine;
pub use leftovers::{StillRunning, end_leftovers};
pub use output::{MAX_ANSWER, MAX_OUTPUT};
pub use program::Program;
pub use unsuccessful::{Ending, InvalidProgram, Unsuccessful};

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
