//! The stages of `test`, `ci` and `bench`, each timed.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::install;
use crate::left_over::Before;

/// Most crates that core may pull in, itself left out.
const CORE_CRATES: usize = 40;

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
        stage("doctests", || cargo(&["test", "--workspace", "--doc"], &[])),
    ]
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
        stage("core's dependencies", core_dependencies),
        stage("cargo-deny", deny),
    ];
    stages.extend(test_stages());
    stages
}

/// The measurements.
pub(crate) fn bench_stages() -> Vec<Stage> {
    vec![stage("bench", || {
        cargo(&["run", "--release", "--package", "rollback-benches"], &[])
    })]
}

/// Runs stages in order, stops at the first that fails, and prints what each took.
pub(crate) fn run(stages: &[Stage]) -> Result<(), String> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut failed = None;
    for stage in stages {
        println!("==> {}", stage.name);
        let began = Instant::now();
        let result = (stage.run)();
        times.push((stage.name, began.elapsed()));
        if let Err(why) = result {
            failed = Some(format!("{}: {why}", stage.name));
            break;
        }
    }
    println!();
    for (name, took) in &times {
        println!("{name:<22} {:>7.1} s", took.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, took)| *took).sum();
    println!("{:<22} {:>7.1} s", "in all", total.as_secs_f64());
    failed.map_or(Ok(()), Err)
}

fn tests() -> Result<(), String> {
    let before = Before::look();
    let result = cargo(
        &[
            "test",
            "--workspace",
            "--all-features",
            "--lib",
            "--bins",
            "--tests",
        ],
        &[],
    );
    let clean = before.compare();
    result.and(clean)
}

fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    println!("cargo {}", args.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(args)
        .envs(env.iter().copied())
        .status()
        .map_err(|e| format!("cargo cannot be run: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} failed", args.join(" ")))
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
    let crates: BTreeSet<&str> = text
        .lines()
        .filter_map(|l| l.split_whitespace().next())
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
        cargo(&["install", "cargo-deny", "--locked"], &[])?;
    }
    cargo(&["deny", "check", "licenses", "bans", "sources"], &[])
}
