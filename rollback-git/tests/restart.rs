//! The restart command: what a killed engine left of it, and what it does to the engine.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rollback_core::backend::{Backend, End};
use rollback_testkit::world::Build;
use support::other::{Other, say, told};
use support::{GitWorld, Site, cx, sh};

/// Says that it has begun, and would undo much later what is live by then.
fn slow(site: &Site) -> String {
    let script = site.dir.join("slow.sh");
    let text = format!(
        "#!/bin/sh\necho x >> {0}/began\nsleep 2.5\necho v2 > {0}/serves\n",
        site.dir.display()
    );
    fs::write(&script, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).unwrap();
    script.display().to_string()
}

fn served(site: &Site) -> String {
    fs::read_to_string(site.dir.join("serves"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}

/// The ways in which a command becomes another program than it was called.
fn disguises(script: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        words(&format!("/usr/bin/env A=1 {script}")),
        words(&format!("/usr/bin/nice {script}")),
        vec!["/bin/bash".into(), "-c".into(), script.into()],
        sh(&format!("exec {script}")),
    ]
}

/// Not a test by itself: switches to v2, and is killed while the command runs.
#[tokio::test]
async fn child_switches() {
    if let Some((mut site, told)) = told() {
        site.restart = disguises(&slow(&site))[told.parse::<usize>().unwrap()].clone();
        let op = site.prepared(2, End::Nothing, Build::V2).await;
        say("prepared");
        let _ = site.git().switch(&cx(), &op).await;
    }
}

async fn killed_in_a_restart(w: &Site, disguise: usize) {
    let _ = fs::remove_file(w.dir.join("began"));
    let mut other = Other::spawn("child_switches", w);
    other.tell(&disguise.to_string());
    until(|| w.dir.join("began").exists()).await;
    other.kill();
}

#[tokio::test]
async fn a_killed_engines_restart_command_under_another_name_undid_what_was_live() {
    for disguise in 0..4 {
        let mut w = GitWorld::new();
        let two = w.prepared(2, End::Nothing, Build::V2).await;
        killed_in_a_restart(&w, disguise).await;
        w.restart = sh("echo v1 > \"$0\"");
        let serves = w.dir.join("serves").display().to_string();
        w.restart.push(serves);
        // The deployment is finished elsewhere, and another one follows.
        w.git().switch(&cx(), &two).await.unwrap();
        w.deploy(3, two.to, Build::V3).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(served(&w), "v1", "disguise {disguise}");
    }
}

#[tokio::test]
async fn going_back_to_nothing_left_a_killed_engines_restart_command_running() {
    let w = GitWorld::new();
    let op = w.prepared(2, End::Nothing, Build::V2).await;
    killed_in_a_restart(&w, 3).await;
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(served(&w), "");
}

#[tokio::test]
async fn another_deployments_switch_left_a_killed_engines_restart_command_running() {
    let w = GitWorld::new();
    let two = w.prepared(2, End::Nothing, Build::V2).await;
    killed_in_a_restart(&w, 0).await;
    // Its own deployment was left alone: somebody had put something else live.
    w.deploy(3, two.to, Build::V3).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(served(&w), "");
    assert!(Path::new(&w.dir).exists());
}
