//! Commands as hooks: real programs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use rollback_core::backend::{End, Handle, Instance, Operation};
use rollback_core::error::HookErrorKind;
use rollback_core::guard::{ReleaseTask, Remediation, Restart};
use rollback_core::history::Sequence;
use rollback_core::prelude::*;
use rollback_health::CommandHook;

fn operation() -> Operation {
    let release = Release::new("git".parse().unwrap(), Artifact::new("v2", "abc123"));
    Operation::new(
        "api@web-1".parse().unwrap(),
        "deploy-20260315-143022-a3f2".parse().unwrap(),
        Sequence(7),
        End::Nothing,
        End::Placed(Instance::new(release, Handle::new("/srv/api/releases/7"))),
    )
}

fn cx() -> Context {
    Context::new(Duration::from_secs(10))
}

#[tokio::test]
async fn a_hook_is_told_what_it_is_for_and_nothing_else() {
    // It says no, so that its output is shown.
    let hook = CommandHook::new("/bin/sh", ["-c", "/usr/bin/env | sort; exit 3"]).unwrap();
    let said = ReleaseTask::run(&hook, &cx(), &operation())
        .await
        .unwrap_err();
    for line in [
        "exit status: 3",
        "ROLLBACK_WORKLOAD=api@web-1",
        "ROLLBACK_DEPLOYMENT=deploy-20260315-143022-a3f2",
        "ROLLBACK_ARTIFACT=abc123",
        "ROLLBACK_HANDLE=/srv/api/releases/7",
    ] {
        assert!(said.to_string().contains(line), "{line}: {said}");
    }
    assert!(!said.to_string().contains("HOME="), "{said}");
}

#[tokio::test]
async fn a_task_could_not_find_the_release_and_ran_in_the_embedders_directory() {
    let release = tempfile::tempdir().unwrap();
    let there = release.path().canonicalize().unwrap();
    let script = "pwd -P; echo $ROLLBACK_RELEASE_DIR; echo built > built; exit 3";
    let hook = || CommandHook::new("/bin/sh", ["-c", script]).unwrap();
    let place = |at: &std::path::Path| {
        let at = at.to_owned();
        move |_: &Instance| Some(at.clone())
    };
    let run = async |hook: CommandHook| ReleaseTask::run(&hook, &cx(), &operation()).await;
    let said = run(hook().in_release(place(&there))).await.unwrap_err();
    assert_eq!(said.kind(), HookErrorKind::Failed);
    assert_eq!(said.what(), "exit status: 3");
    let twice = format!("{0}\n{0}", there.display());
    assert!(said.to_string().contains(&twice), "{said}");
    assert!(there.join("built").exists());
    // Where it is told to be goes first.
    let elsewhere = tempfile::tempdir().unwrap();
    let said = run(hook().dir(elsewhere.path()).in_release(place(&there))).await;
    assert!(
        said.unwrap_err()
            .to_string()
            .contains(&there.display().to_string())
    );
    assert!(elsewhere.path().join("built").exists());
    let said = run(hook().in_release(|_| None)).await.unwrap_err();
    assert!(said.to_string().contains("no directory"), "{said}");
}

#[tokio::test]
async fn a_secret_given_to_a_hook_is_masked_in_what_it_says() {
    let hook = CommandHook::new("/bin/sh", ["-c", "echo $TOKEN; exit 1"]).unwrap();
    let hook = hook.env("TOKEN", "s3cret-value");
    let said = Restart::restart(&hook, &cx(), &operation())
        .await
        .unwrap_err();
    assert!(!said.to_string().contains("s3cret"), "{said}");
    assert!(!format!("{hook:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_remediation_says_what_it_did_and_one_that_hangs_is_killed() {
    let hook = CommandHook::new("/bin/true", [] as [&str; 0]).unwrap();
    let did = hook.attempt(&cx(), &operation(), "500").await.unwrap();
    assert_eq!(did, "command /bin/true exited with 0");
    let hook = CommandHook::new("/bin/sleep", ["60"]).unwrap();
    let began = Instant::now();
    let short = Context::new(Duration::from_millis(200));
    let said = hook.attempt(&short, &operation(), "500").await.unwrap_err();
    assert!(
        said.to_string()
            .contains("did not end in time and was killed"),
        "{said}"
    );
    assert_eq!(said.kind(), HookErrorKind::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_hook_declares_whether_it_runs_on_a_rollback() {
    let new = || CommandHook::new("/bin/true", [] as [&str; 0]).unwrap();
    let runs = |hook: &CommandHook, trigger| ReleaseTask::runs_on(hook, trigger);
    let (deploy, back, auto) = (
        TriggerKind::Deploy,
        TriggerKind::Rollback,
        TriggerKind::AutomaticRollback,
    );
    assert!(runs(&new(), deploy) && !runs(&new(), back) && !runs(&new(), auto));
    assert!(runs(&new().on_every_trigger(), back) && runs(&new().on_every_trigger(), auto));
    let only_back = new().on([back]);
    assert!(runs(&only_back, back) && !runs(&only_back, deploy));
}
