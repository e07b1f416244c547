//! Developer commands: `cargo xtask <test|ci|bench>`.
//!
//! None of them is needed to use the library.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod install;
mod left_over;
mod stages;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  test    install what the tests need (as root on Debian) and run them all
  ci      format, lints, docs, licences, dependencies, then test; prints the time of each stage
  bench   measure against the raw operations; writes target/bench-report.json
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let result = match command.as_str() {
        "test" => stages::run(&stages::test_stages()),
        "ci" => stages::run(&stages::ci_stages()),
        "bench" => stages::run(&stages::bench_stages()),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
