//! The restart command: what a killed engine left of it, and what it does to the engine.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rollback_core::backend::{Backend, End};
use rollback_git::GitBackend;
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

#[tokio::test]
async fn going_back_to_nothing_ran_no_command_and_the_process_served_on() {
    let mut w = GitWorld::new();
    w.restart = sh("echo v2 > ../../../serves");
    let op = w.prepared(1, End::Nothing, Build::V2).await;
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(served(&w), "v2");
    // Without a stop command it is said.
    let said = w.git().switch(&cx(), &op.reversed()).await.unwrap();
    let said = said.0.get("restart").cloned().unwrap_or_default();
    assert!(said.contains("runs on"), "{said}");
    w.git().switch(&cx(), &op).await.unwrap();
    let stop = sh("test -f version.txt && rm ../../../serves && echo x >> ../../../stopped");
    let git = GitBackend::new(w.config().stop_command(stop)).unwrap();
    for _ in 0..2 {
        git.switch(&cx(), &op.reversed()).await.unwrap();
        assert_eq!(served(&w), "");
    }
    let stopped = fs::read_to_string(w.dir.join("stopped")).unwrap();
    assert_eq!(stopped.lines().count(), 1, "once");
    // What was never begun is not stopped.
    let op = w.prepared(2, End::Nothing, Build::V2).await;
    git.switch(&cx(), &op.reversed()).await.unwrap();
    let stopped = fs::read_to_string(w.dir.join("stopped")).unwrap();
    assert_eq!(stopped.lines().count(), 1);
}

/// Not a test by itself: an engine whose restart command ends it.
#[tokio::test]
async fn child_restarts_itself() {
    if let Some((mut site, told)) = told() {
        site.restart = sh("echo x >> ../../../began; kill -9 $PPID; sleep 5");
        site.restart.push(told);
        let op = site.prepared(2, End::Nothing, Build::V2).await;
        match site.git().switch(&cx(), &op).await {
            Ok(evidence) => say(evidence.0.get("restart").map_or("done", String::as_str)),
            Err(e) => say(&e.to_string()),
        }
    }
}

/// Starts the engine again and again, as its manager does, until it does not die of its command:
/// how often that was begun, and what it said in the end.
fn started_until_it_lives(w: &Site, group: Option<&Group>, name: &str) -> (usize, String) {
    for n in 1..20 {
        let invocation = format!("INVOCATION_ID={n}");
        let by: &[&str] = if group.is_some() {
            &["env", &invocation]
        } else {
            &[]
        };
        let mut other = Other::through(by, "child_restarts_itself", w).unwrap();
        if let Some(group) = group {
            group.take(other.id());
        }
        other.tell(name);
        let said = other.hear();
        other.wait();
        if let Some(said) = said {
            let began = fs::read_to_string(w.dir.join("began")).unwrap();
            return (began.lines().count(), said);
        }
    }
    panic!("it restarts itself for ever");
}

/// A control group that is called as a service's is.
struct Group(std::path::PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("rollback-test-{}.service", std::process::id());
        for top in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            let dir = Path::new(top).join(&name);
            let unified = Path::new(top).join("cgroup.procs").exists();
            if unified && fs::create_dir(&dir).is_ok() {
                return Some(Self(dir));
            }
        }
        rollback_testkit::service::unavailable("control groups cannot be made");
        None
    }

    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was in it was killed, and goes.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn an_engine_whose_command_restarts_its_own_service_did_so_for_ever() {
    let Some(group) = Group::new() else { return };
    for (named, deaths) in [(group.name(), 1), ("a script that hides it", 2)] {
        let w = GitWorld::new();
        let (began, said) = started_until_it_lives(&w, Some(&group), named);
        assert!(
            said.contains("restarted the engine's own service"),
            "{said}"
        );
        assert_eq!(began, deaths, "{named}");
        assert_eq!(w.serves().as_deref(), Some("v2"));
    }
}

#[test]
fn a_command_that_kills_whoever_runs_it_was_run_for_ever() {
    let w = GitWorld::new();
    let (began, said) = started_until_it_lives(&w, None, "");
    assert_eq!(began, 5);
    assert!(said.contains("5 engines in a row have died"), "{said}");
}
