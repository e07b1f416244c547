//! Developer commands: `cargo xtask <test|ci|chaos|mutants|bench>`.
//!
//! None of them is needed to use the library.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod install;
mod left_over;
mod mutants;
mod mutations;
mod stages;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  test    install what the tests need (as root on Debian) and run them all
  ci      format, lints, docs, licences, dependencies, test, a little chaos; each stage is timed
  chaos   kill, cut off and damage programs that embed the crates; an unknown argument lists more
  mutants take one safety after the other out of a copy; some test must fail, or this does
  bench   measure against the raw operations; writes target/bench-report.json; of areas, if named
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match command.as_str() {
        "test" => stages::run(&stages::test_stages()),
        "ci" => stages::run(&stages::ci_stages()),
        "chaos" => stages::chaos(&rest),
        "mutants" => mutants::gate(&rest),
        "bench" => stages::bench(&rest),
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
