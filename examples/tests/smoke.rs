//! The example programs do what they say, and leave nothing behind.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::service::unavailable;
use tempfile::TempDir;

fn example(name: &str, tmp: &Path) -> Command {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        program.exists(),
        "run `cargo build -p rollback-examples --examples` first"
    );
    let mut command = Command::new(program);
    command.env("TMPDIR", tmp).stdin(Stdio::null());
    command
}

/// The command lines of processes that have to do with this directory.
fn running(tmp: &Path) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().flatten();
    lines
        .filter_map(|p| fs::read(p.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(tmp.to_str().unwrap()))
        .collect()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(90), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn nothing_is_left(tmp: &Path) {
    wait_for("a process was left running", || running(tmp).is_empty());
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0, "files were left");
}

fn tells(name: &str, in_order: &[&str]) {
    tells_with(name, &[], in_order);
}

fn tells_with(name: &str, env: &[(&str, &str)], in_order: &[&str]) {
    tells_of(name, &[], env, in_order);
}

fn tells_of(name: &str, args: &[&str], env: &[(&str, &str)], in_order: &[&str]) {
    let tmp = TempDir::new().unwrap();
    let mut command = example(name, tmp.path());
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(args)
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{out}{err}");
    let mut rest = out.as_ref();
    for line in in_order {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("no {line:?} in its place in\n{out}"));
        rest = &rest[at + line.len()..];
    }
    nothing_is_left(tmp.path());
}

#[test]
fn quickstart_deploys_goes_back_by_itself_rolls_back_and_goes_on() {
    tells(
        "quickstart",
        &[
            "answers: v1",
            "was adopted",
            "== Deploy v2",
            "answers: v2",
            "failed and rolled back",
            "answered 500",
            "answers: v2",
            "== Preview",
            "live now:   v2",
            "== Carry",
            "answers: v1",
            "answers: v4",
            "automatic rollback",
        ],
    );
}

#[test]
fn custom_store_is_opened_again_and_goes_back() {
    tells(
        "custom_store",
        &[
            "calm.conf (27a12c6c0ef4) is live and healthy.",
            "busy.conf (235e42012006) is live and healthy.",
            "== Another engine opens the file",
            "calm.conf (27a12c6c0ef4) is live and healthy.",
            "1   deploy ",
            "3   rollback ",
        ],
    );
}

#[test]
fn custom_backend_goes_back_by_itself_and_rolls_back() {
    tells(
        "custom_backend",
        &[
            "says: workers = 2\n",
            "says: workers = 16",
            "failed and rolled back",
            "says: workers = 16",
            "== Roll back",
            "says: workers = 2\n",
        ],
    );
}

#[test]
fn stack_rollback_moves_all_or_none() {
    tells(
        "stack_rollback",
        &[
            "answers v1; the proxy has workers = 2, the queue workers = 2.",
            "== Deploy v3",
            "api@shop-1: v3",
            "answered 500",
            "api@shop-1, which it moves with, did not go live",
            "answers v1; the proxy has workers = 2, the queue workers = 2.",
            "queue@shop-1 stays as it is: it is live already",
            "answers v2; the proxy has workers = 16, the queue workers = 2.",
            "== Roll back",
            "answers v1; the proxy has workers = 2",
            "answers v2; the proxy has workers = 16",
            "answers v1; the proxy has workers = 2",
            "went back",
        ],
    );
}

#[test]
fn crash_recovery_finishes_what_was_killed() {
    tells(
        "crash_recovery",
        &[
            "answers: v1",
            "ended by signal 9",
            "answers: v1",
            "is dead",
            "- switch-intended\n\n",
            "- taken-over: the switch was begun",
            "answers: v2",
            "Left to recover: 0",
        ],
    );
}

#[test]
fn docker_swap_shows_what_is_pulled_goes_back_by_itself_and_rolls_back() {
    let docker = match DockerFixture::start() {
        Ok(docker) => docker,
        Err(why) => return unavailable(&why),
    };
    let images = [("v1", ""), ("v2", ""), ("v3", "sick")].map(|(version, mode)| {
        let image = format!("{}/demo:{version}", docker.registry());
        let line = format!("ENV VERSION={version} MODE={mode}");
        docker.publish_large(&image, &[&line], &[8]).unwrap();
        image
    });
    let host = format!("unix://{}", docker.socket().display());
    let client = docker.dir().join("client").display().to_string();
    let before = image_ids(&docker);
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    tells_of(
        "docker_swap",
        &images,
        &[("DOCKER_HOST", &host), ("DOCKER_CONFIG", &client)],
        &[
            "demo:v1",
            "pulling [",
            "of 8.3 MB",
            "docker shows: v1 is running, healthy; 0 kept",
            "demo:v2",
            "pulling [",
            "docker shows: v2 is running, healthy; 1 kept",
            "failed and rolled back",
            "docker shows: v2 is running, healthy",
            "== Roll back to the first one",
            "docker shows: v1 is running, healthy",
            "5   rollback ",
        ],
    );
    assert_eq!(docker.must(&["ps", "-aq"]), "", "containers were left");
    assert_eq!(image_ids(&docker), before, "images were left");
}

/// As a set: those of one second dockerd lists in any order.
fn image_ids(docker: &DockerFixture) -> BTreeSet<String> {
    let all = docker.must(&["image", "ls", "-aq"]);
    all.lines().map(str::to_owned).collect()
}

#[test]
fn docker_swap_says_what_it_needs() {
    let tmp = TempDir::new().unwrap();
    let mut command = example("docker_swap", tmp.path());
    command
        .args(["a:v1", "a:v2"])
        .env("DOCKER_HOST", "unix:///nowhere");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let err = String::from_utf8_lossy(&output.stderr);
    // In words, and not as programmers see an error.
    assert!(err.starts_with("error: this example needs"), "{err}");
    assert!(err.contains("cargo xtask docker"), "{err}");
    nothing_is_left(tmp.path());
}

#[test]
fn swarm_service_fails_its_check_goes_back_by_itself_and_rolls_back() {
    let docker = match DockerFixture::with_swarm() {
        Ok(docker) => docker,
        Err(why) => return unavailable(&why),
    };
    let host = format!("unix://{}", docker.socket().display());
    let client = docker.dir().join("client").display().to_string();
    let before = image_ids(&docker);
    tells_with(
        "swarm_service",
        &[
            ("DOCKER_HOST", &host),
            ("DOCKER_CONFIG", &client),
            ("DOCKER_BUILDKIT", "0"),
        ],
        &[
            "== Deploy v1",
            "Swarm shows: v1, 2/2 tasks run",
            "== Deploy v2",
            "Swarm shows: v2, 2/2 tasks run",
            "== Deploy v3",
            "failed and rolled back",
            "its log: this is v3",
            "Swarm shows: v2, 2/2 tasks run",
            "== Roll back",
            "Swarm shows: v1, 2/2 tasks run",
            "4   rollback ",
        ],
    );
    for list in [
        ["service", "ls", "-q"],
        ["config", "ls", "-q"],
        ["ps", "-a", "-q"],
    ] {
        assert_eq!(docker.must(&list), "", "{list:?} were left");
    }
    assert_eq!(image_ids(&docker), before, "images were left");
}

#[test]
fn swarm_service_says_what_it_needs() {
    let tmp = TempDir::new().unwrap();
    for host in ["unix:///nowhere", "tcp://127.0.0.1:1"] {
        let mut command = example("swarm_service", tmp.path());
        let output = command.env("DOCKER_HOST", host).output().unwrap();
        assert!(!output.status.success());
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("docker swarm init"), "{err}");
        nothing_is_left(tmp.path());
    }
}

#[test]
fn compose_service_is_taken_over_goes_back_by_itself_and_is_up_to_date_for_compose() {
    let docker = match DockerFixture::with_networks() {
        Ok(docker) => docker,
        Err(why) => return unavailable(&why),
    };
    let host = format!("unix://{}", docker.socket().display());
    let client = docker.dir().join("client").display().to_string();
    tells_with(
        "compose_service",
        &[
            ("DOCKER_HOST", &host),
            ("DOCKER_CONFIG", &client),
            ("DOCKER_BUILDKIT", "0"),
        ],
        &[
            "== Before rollback",
            "v1 runs, compose counts 1",
            "== Adopt",
            "== Deploy v2",
            "v2 runs, compose counts 1",
            "shop_api_1 is up-to-date",
            "== Deploy v3",
            "failed and rolled back",
            "v2 runs, compose counts 1",
            "shop_api_1 is up-to-date",
            "== Roll back",
            "shop_api_1 is up-to-date",
            "v1 runs, compose counts 1",
            "5   rollback ",
        ],
    );
    for list in [["ps", "-a", "-q"], ["volume", "ls", "-q"]] {
        assert_eq!(docker.must(&list), "", "{list:?} were left");
    }
    let networks = ["network", "ls", "--filter", "type=custom", "-q"];
    assert_eq!(docker.must(&networks), "", "networks were left");
}

#[test]
fn compose_service_says_what_it_needs() {
    let tmp = TempDir::new().unwrap();
    let mut command = example("compose_service", tmp.path());
    let output = command.env("DOCKER_HOST", "unix:///nowhere").output();
    let output = output.unwrap();
    assert!(!output.status.success());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("docker-compose"), "{err}");
    nothing_is_left(tmp.path());
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn quickstart_leaves_nothing_when_it_is_terminated_half_way() {
    let tmp = TempDir::new().unwrap();
    let mut child = Killed(
        example("quickstart", tmp.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for("the service never ran", || !running(tmp.path()).is_empty());
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(!child.0.wait().unwrap().success());
    nothing_is_left(tmp.path());
}

#[test]
fn quickstart_keeps_its_files_where_it_is_told_to() {
    let tmp = TempDir::new().unwrap();
    let dir = tmp.path().join("kept");
    let run = || {
        example("quickstart", tmp.path())
            .arg("--keep")
            .arg(&dir)
            .output()
            .unwrap()
    };
    assert!(run().status.success());
    assert_eq!(
        fs::read_to_string(dir.join("site/current/version")).unwrap(),
        "v4"
    );
    assert!(dir.join("history.db").exists());
    wait_for("a process was left running", || {
        running(tmp.path()).is_empty()
    });
    assert!(!run().status.success(), "a used directory is refused");
}
