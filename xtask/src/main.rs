//! Developer commands: `cargo xtask <test|ci|api|circles|packages|chaos|mutants|bench>`.
//!
//! None of them is needed to use the library.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod circles;
mod exhaustive;
mod install;
mod lanes;
mod left_over;
mod mutants;
mod mutations;
mod packages;
mod public_api;
mod stages;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

  test      install what the tests need (as root on Debian) and run them all
  ci        format, lints, docs, public API, packages, licences, test, a little chaos; each is timed
  api       what the public API names of other crates, against the list of what it may
  circles   files that need each other in a circle, in crates that have none
  packages  package what is published, and check it as it would be downloaded
  chaos     kill, cut off and damage programs that embed the crates; an unknown argument lists more
  mutants   take one safety after the other out of a copy; some test must fail, or this does
  docker    a docker daemon and a registry with images to play with, until Ctrl-C (as root)
  bench     measure against the raw operations; writes target/bench-report.json; of areas, if named
";

fn main() -> ExitCode {
    if public_api::is_rustdoc() {
        return public_api::run_rustdoc();
    }
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match command.as_str() {
        "test" => stages::run(&stages::test_stages()),
        "ci" => stages::run(&stages::ci_stages()),
        "chaos" => stages::chaos(&rest),
        "mutants" => mutants::gate(&rest),
        "api" => public_api::check(),
        "circles" => circles::check(),
        "packages" => packages::check(),
        "docker" => stages::docker(),
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
