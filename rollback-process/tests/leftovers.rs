//! A program outlives the process that ran it, and is ended before the deployment goes on.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rollback_core::history::Sequence;
use rollback_core::prelude::*;
use rollback_process::{Program, end_leftovers};

/// Where the child process writes, and for which deployment; set in it alone.
const CHILD: &str = "ROLLBACK_PROCESS_CHILD";
const FOR: &str = "ROLLBACK_PROCESS_CHILD_FOR";
const SCRIPT: &str = "ROLLBACK_PROCESS_CHILD_SCRIPT";

fn operation(id: &str) -> Operation {
    Operation::new(
        "api@web-1".parse().unwrap(),
        id.parse().unwrap(),
        Sequence(1),
        End::Nothing,
        End::Nothing,
    )
}

fn cx() -> Context {
    Context::new(Duration::from_secs(30))
}

/// What a deployment runs: it says that it is there, leaves a service, and takes its time to
/// overwrite what is live.
fn slow(dir: &Path, daemon: &str) -> Program {
    let live = dir.join("live");
    let script = format!(
        "touch {dir}/began; {daemon}; sleep 1.5; echo old > {live}",
        dir = dir.display(),
        live = live.display(),
    );
    Program::new("/bin/sh", ["-c".to_owned(), script]).unwrap()
}

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let daemon = format!("setsid sleep 61.125 & echo $! > {}/daemon", dir.display());
    let _ = slow(&dir, &daemon)
        .run_for(&cx(), &operation(&std::env::var(FOR).unwrap()))
        .await;
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}

/// Kills the process that runs the program.
async fn killed(dir: &Path, id: &str) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env(CHILD, dir)
        .env(FOR, id)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until(|| dir.join("daemon").exists()).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_killed_engines_program_outlived_it_and_undid_what_was_live_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let id = "deploy-20261121-080000-0123456789abcdef";
    killed(dir.path(), id).await;
    // The deployment goes on elsewhere.
    let live = dir.path().join("live");
    let script = format!("echo new > {}", live.display());
    let next = Program::new("/bin/sh", ["-c".to_owned(), script]).unwrap();
    next.run_for(&cx(), &operation(id)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(std::fs::read_to_string(&live).unwrap(), "new\n");
    // A service that it has started, and that leads a session of its own, is none of ours.
    let daemon = std::fs::read_to_string(dir.path().join("daemon")).unwrap();
    let daemon = daemon.trim();
    assert!(Path::new("/proc").join(daemon).exists());
    Program::new("/bin/kill", [daemon.to_owned()])
        .unwrap()
        .run(&cx())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_living_process_runs_and_what_runs_for_another_deployment_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let id = "deploy-20261121-080000-aaaaaaaaaaaaaaaa";
    killed(dir.path(), id).await;
    let other = "deploy-20261121-080000-fedcba9876543210";
    assert_eq!(end_leftovers(&other.parse().unwrap()).await, Ok(0));
    assert_eq!(end_leftovers(&id.parse().unwrap()).await, Ok(1));
    assert_eq!(end_leftovers(&id.parse().unwrap()).await, Ok(0));

    let dir = tempfile::tempdir().unwrap();
    let program = slow(dir.path(), "true");
    let op = operation(other);
    let running = tokio::spawn(async move { program.run_for(&cx(), &op).await });
    until(|| dir.path().join("began").exists()).await;
    assert_eq!(end_leftovers(&other.parse().unwrap()).await, Ok(0));
    running.await.unwrap().unwrap();
    assert!(dir.path().join("live").exists());
}

#[tokio::test]
async fn a_service_that_kept_the_output_died_of_a_pipe_that_nobody_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alive");
    // It goes on saying something once its starter has ended.
    let script = format!(
        "(sleep 0.3; echo log; echo log; touch {}) & echo started",
        file.display()
    );
    let program = Program::new("/bin/sh", ["-c".to_owned(), script]).unwrap();
    program.run(&cx()).await.unwrap();
    until(|| file.exists()).await;
}

#[tokio::test]
async fn a_service_in_a_group_of_its_own_was_killed_by_the_next_hook() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let id = "deploy-20261121-080000-bbbbbbbbbbbbbbbb";
    let script = format!("set -m; sleep 8.25 & echo $! > {}", pid.display());
    let hook = Program::new("/bin/bash", ["-c".to_owned(), script]).unwrap();
    hook.run_for(&cx(), &operation(id)).await.unwrap();
    let next = Program::new("/bin/true", [] as [&str; 0]).unwrap();
    next.run_for(&cx(), &operation(id)).await.unwrap();
    let service = std::fs::read_to_string(&pid).unwrap();
    assert!(Path::new("/proc").join(service.trim()).exists());
    let end = Program::new("/bin/kill", [service.trim().to_owned()]).unwrap();
    end.run(&cx()).await.unwrap();
}

/// Not a test by itself: runs a script until it is killed.
#[tokio::test]
async fn child_of_a_script() {
    let (Some(dir), Ok(script)) = (std::env::var_os(CHILD), std::env::var(SCRIPT)) else {
        return;
    };
    let script = format!("touch {}/began; {script}", PathBuf::from(dir).display());
    let program = Program::new("/bin/sh", ["-c".to_owned(), script]).unwrap();
    let op = operation(&std::env::var(FOR).unwrap());
    let _ = program.run_for(&cx(), &op).await;
}

#[tokio::test]
async fn a_killed_engines_program_under_another_name_outlived_it() {
    for (n, script) in [
        "exec /usr/bin/env A=1 sleep 31",
        "exec /usr/bin/nice sleep 31",
        "exec /bin/bash -c 'sleep 31; true'",
        "exec sleep 31",
    ]
    .iter()
    .enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        let id = format!("deploy-20261121-080000-ccccccccccccccc{n}");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_of_a_script"])
            .env(CHILD, dir.path())
            .env(FOR, &id)
            .env(SCRIPT, script)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until(|| dir.path().join("began").exists()).await;
        // Until it has become the other one.
        tokio::time::sleep(Duration::from_millis(200)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let id = id.parse().unwrap();
        assert_eq!(end_leftovers(&id).await, Ok(1), "{script}");
        assert_eq!(end_leftovers(&id).await, Ok(0), "{script}");
    }
}

/// A command that is a program of this deployment's, by the marks of a process that is dead.
fn left(command: &mut std::process::Command, id: &str) {
    use std::os::unix::process::CommandExt as _;
    command
        .env("ROLLBACK_DEPLOYMENT", id)
        .env("ROLLBACK_ENGINE", "1:1:another-start-of-the-machine")
        .process_group(0);
}

#[tokio::test]
async fn a_program_that_nobody_waited_for_kept_its_deployment_from_going_on_for_good() {
    let id = "deploy-20261121-080000-dddddddddddddddd";
    let mut sleeping = std::process::Command::new("/bin/sleep");
    left(sleeping.arg("31"), id);
    let mut child = sleeping.spawn().unwrap();
    assert_eq!(end_leftovers(&id.parse().unwrap()).await, Ok(1));
    assert!(!child.wait().unwrap().success());
}

/// Not a test by itself: an engine that a hook of a dead one's has become.
#[tokio::test]
async fn child_that_goes_on() {
    let (None, Ok(id)) = (std::env::var_os(CHILD), std::env::var(FOR)) else {
        return;
    };
    assert_eq!(end_leftovers(&id.parse().unwrap()).await, Ok(0));
}

#[tokio::test]
async fn an_engine_that_a_hook_had_become_ended_itself() {
    let id = "deploy-20261121-080000-eeeeeeeeeeeeeeee";
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap());
    left(&mut engine, id);
    let engine = engine.args(["--exact", "child_that_goes_on"]).env(FOR, id);
    let ended = engine.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}
