//! The stages of `test` and `ci`, each timed, and the commands that need none.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::install;
use crate::left_over::Playground;
use crate::{circles, lanes, packages, public_api};

/// Most crates that core may pull in, itself left out.
const CORE_CRATES: usize = 40;

/// Installed where there is none: a newer one may want a newer compiler.
const CARGO_DENY: &str = "0.20.2";

/// One stage: its name and what it does.
pub(crate) struct Stage {
    name: &'static str,
    run: fn() -> Result<(), String>,
}

const fn stage(name: &'static str, run: fn() -> Result<(), String>) -> Stage {
    Stage { name, run }
}

/// The README's test command.
pub(crate) fn test_stages() -> Vec<Stage> {
    vec![
        stage("install", install::what_tests_need),
        stage("tests", tests),
        stage("doctests", doctests),
    ]
}

/// A little of each kind of chaos, the same in each run. See `docs/crash-testing.md` for more.
const CHAOS: &[(&str, &str)] = &[
    // The longest first.
    ("faults", "9"),
    ("power", "8"),
    ("prove", "1"),
    ("kill", "12"),
    ("sync", "1"),
    ("damage", "12"),
];

/// All of it, two kinds at a time: most of what it does is to wait.
fn all_chaos() -> Result<(), String> {
    let program = chaos_program()?;
    leaving_nothing(|dir| {
        let left = Mutex::new(CHAOS.iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let lane = || {
            let mut failed = Vec::new();
            while let Some((kind, rounds)) = next() {
                let args = ["--kind", kind, "--rounds", rounds, "--seed", "1"];
                println!("chaos {}", args.join(" "));
                let began = Instant::now();
                let ran = Command::new(&program)
                    .args(args)
                    .env("TMPDIR", dir)
                    .output();
                let took = began.elapsed().as_secs_f64();
                let text = |of: &[u8]| String::from_utf8_lossy(of).into_owned();
                let (said, well) = match ran {
                    Ok(o) => (text(&o.stdout) + &text(&o.stderr), o.status.success()),
                    Err(e) => (format!("it cannot be run: {e}\n"), false),
                };
                println!("\n--- chaos {kind}, {took:.1} s\n{said}");
                failed.extend((!well).then_some(*kind));
            }
            failed
        };
        let failed = std::thread::scope(|scope| {
            let beside = scope.spawn(lane);
            let mut failed = lane();
            failed.extend(beside.join().unwrap_or_else(|_| vec!["a lane of it"]));
            failed
        });
        match failed.is_empty() {
            true => Ok(()),
            false => Err(format!("these failed: {}", failed.join(", "))),
        }
    })
}

/// Runs the chaos program of `rollback-testkit` with these arguments.
pub(crate) fn chaos(args: &[String]) -> Result<(), String> {
    let program = chaos_program()?;
    leaving_nothing(|dir| {
        println!("chaos {}", args.join(" "));
        run_to_end(Command::new(&program).args(args).env("TMPDIR", dir))
    })
}

/// Builds it, and says where it is.
fn chaos_program() -> Result<PathBuf, String> {
    // With the whole workspace, so that the tests' own build of every crate is used again.
    cargo(
        &[
            "build",
            "--workspace",
            "--all-features",
            "--example",
            "chaos",
        ],
        &[],
    )?;
    let own = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    Ok(own.with_file_name("examples").join("chaos"))
}

/// Becomes a daemon to play with: what is at the other end of Ctrl-C has to clean up.
pub(crate) fn docker() -> Result<(), String> {
    let example = ["-p", "rollback-testkit", "--example", "throwaway_docker"];
    cargo(&[&["build", "-q"], &example[..]].concat(), &[])?;
    let own = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    let program = own.with_file_name("examples").join("throwaway_docker");
    let failed = Command::new(&program).exec();
    Err(format!("{}: {failed}", program.display()))
}

/// Everything that must pass.
pub(crate) fn ci_stages() -> Vec<Stage> {
    let mut stages = vec![
        stage("format", || cargo(&["fmt", "--all", "--check"], &[])),
        stage("clippy", || {
            cargo(
                &[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--all-features",
                    "--",
                    "-D",
                    "warnings",
                ],
                &[],
            )
        }),
        stage("docs", || {
            cargo(
                &["doc", "--workspace", "--no-deps", "--all-features"],
                &[("RUSTDOCFLAGS", "-D warnings")],
            )
        }),
        stage("public API", public_api::check),
        stage("circles", circles::check),
        stage("packages", packages::check),
        stage("core's dependencies", core_dependencies),
        stage("cargo-deny", deny),
    ];
    stages.extend(test_stages());
    stages.push(stage("chaos", all_chaos));
    stages
}

/// The measurements, of these areas alone if there are any.
pub(crate) fn bench(areas: &[String]) -> Result<(), String> {
    let run = ["run", "--release", "--package", "rollback-benches", "--"];
    let areas = areas.iter().map(String::as_str);
    cargo(&run.into_iter().chain(areas).collect::<Vec<_>>(), &[])
}

/// Runs stages in order, stops at the first that fails, and prints what each took.
pub(crate) fn run(stages: &[Stage]) -> Result<(), String> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut result = Ok(());
    for stage in stages {
        println!("==> {}", stage.name);
        let began = Instant::now();
        let ended = (stage.run)();
        times.push((stage.name, began.elapsed()));
        if let Err(why) = ended {
            result = Err(format!("{} failed: {why}", stage.name));
            break;
        }
    }
    println!();
    let total: Duration = times.iter().map(|(_, took)| *took).sum();
    for (name, took) in times.iter().chain([&("in all", total)]) {
        println!("{name:<22} {:>7.1} s", took.as_secs_f64());
    }
    if result.is_err() {
        let skipped: Vec<&str> = stages[times.len()..].iter().map(|s| s.name).collect();
        println!("not run: {}", skipped.join(", "));
    }
    result
}

fn tests() -> Result<(), String> {
    // The examples' tests run the programs themselves; selecting tests does not build those.
    cargo(
        &["build", "--workspace", "--all-features", "--examples"],
        &[],
    )?;
    leaving_nothing(lanes::run)
}

fn doctests() -> Result<(), String> {
    let args = ["test", "--workspace", "--all-features", "--doc"];
    leaving_nothing(|dir| cargo(&args, &[("TMPDIR", dir)]))
}

/// Runs something that is told where to put its files, and fails too if it leaves one behind.
fn leaving_nothing(run: impl FnOnce(&str) -> Result<(), String>) -> Result<(), String> {
    let playground = Playground::make()?;
    let dir = playground.dir().display().to_string();
    let result = run(&dir);
    let clean = playground.close();
    match (result, clean) {
        (Err(failed), Err(left)) => Err(format!("{failed}; {left}")),
        (result, clean) => result.and(clean),
    }
}

/// Runs cargo with these variables added to its environment.
pub(crate) fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    println!("cargo {}", args.join(" "));
    let mut command = Command::new(env!("CARGO"));
    run_to_end(command.args(args).envs(env.iter().copied()))
        .map_err(|e| format!("cargo {}: {e}", args.join(" ")))
}

/// Runs a program, and fails if it does.
pub(crate) fn run_to_end(command: &mut Command) -> Result<(), String> {
    let status = command.status();
    let status = status.map_err(|e| format!("it cannot be run: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("it failed, {status}"))
    }
}

fn core_dependencies() -> Result<(), String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "rollback-core",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .map_err(|e| format!("cargo cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // A crate that is pulled in twice, in two versions, costs twice.
    let crates: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()))
        .collect();
    let count = crates.len().saturating_sub(1);
    println!("rollback-core pulls in {count} crates, at most {CORE_CRATES} are allowed");
    if count > CORE_CRATES {
        Err("too many".into())
    } else {
        Ok(())
    }
}

fn deny() -> Result<(), String> {
    let there = Command::new(env!("CARGO"))
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    if !there {
        let version = format!("cargo-deny@{CARGO_DENY}");
        cargo(&["install", "--locked", &version], &[])?;
    }
    cargo(&["deny", "check", "licenses", "bans", "sources"], &[])
}
