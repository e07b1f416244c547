//! The dockerd of these tests leaves nothing behind, neither files nor processes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn kill(signal: &str, pid_file: &Path) {
    let pid = fs::read_to_string(pid_file).unwrap();
    let done = Command::new("kill").args([signal, pid.trim()]).status();
    assert!(done.unwrap().success());
}

fn stacks(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    all.filter(|p| p.to_string_lossy().ends_with(".stacks.log"))
        .collect()
}

#[test]
fn what_a_slow_containerd_writes_is_left_in_the_temporary_directory() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    // What dockerd does to one that is slow.
    let pid = fixture.dir().join("x/containerd/containerd.pid");
    let own = format!(
        "containerd.{}.stacks.log",
        fs::read_to_string(&pid).unwrap()
    );
    kill("-USR1", &pid);
    let end = Instant::now() + Duration::from_secs(60);
    while stacks(&fixture.dir().join("t")).is_empty() && Instant::now() < end {
        assert!(!std::env::temp_dir().join(&own).exists(), "{own}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(stacks(&fixture.dir().join("t")).len(), 1);
}

#[test]
fn a_daemon_that_was_killed_leaves_containers_running() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    let (dir, port) = (fixture.dir().to_owned(), support::free_port());
    let env = format!("PORT={port}");
    let run = ["run", "-d", "--network", "host", "-e", &env];
    fixture.must(&[&run[..], &["rollback-test/base"]].concat());
    let at = format!("127.0.0.1:{port}");
    while fixture.http(&at, "GET", "/").is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let process = fixture.must(&["ps", "-q", "--no-trunc"]);
    let format = "{{.State.Pid}}";
    let process = fixture.must(&["inspect", "-f", format, process.trim()]);
    let line = Path::new("/proc").join(process.trim()).join("cmdline");
    // One that has ended and waits for init has none.
    let runs = || fs::read(&line).is_ok_and(|line| !line.is_empty());
    assert!(runs());
    kill("-KILL", &dir.join("pid"));
    drop(fixture);
    assert!(!runs(), "the container runs on");
    assert!(!dir.exists(), "its directory is still there");
    let name = dir.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
    let lines = fs::read_dir("/proc").unwrap().flatten();
    let left: Vec<String> = lines
        .filter_map(|e| fs::read(e.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(&name))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
