//! A group that is stopped, or left.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::shop::{deploy, groups, live, shop};
use crate::left::{Left, Typed};

/// v4 and v1 were deployed; `api` waits at its gate for as long as a test may take.
async fn patient(kind: &str) -> Left {
    let left = shop(kind).await;
    deploy(&left, ["v4", "v4", "v4"]).ends(0);
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    left.configure(|entry| entry["gate"]["start_period"] = 60_000.into());
    left
}

/// A group that waits for its `api` to become healthy, which it never does.
fn at_the_gate(left: &Left) -> Child {
    let args = ["stack", "deploy", "api@web-1=v3", "db@web-1=v2", "--yes"];
    let mut command = left.command(&left.store, &args);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let start = Instant::now();
    while live(left) != ["v3", "v2", "v1"] {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            live(left)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

fn ctrl_c(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

fn ended(child: Child, code: i32) -> Typed {
    Typed::of(child.wait_with_output().unwrap()).ends(code)
}

async fn ctrl_c_has_all_of_a_group_go_back(kind: &str) {
    let left = patient(kind).await;
    let child = at_the_gate(&left);
    let list = left.type_here(&["stack", "list"]).ends(0).out;
    let first = list.lines().next().unwrap();
    assert!(
        first.contains("  in flight") && first.ends_with(" so far"),
        "{list}"
    );
    let status = left.type_here(&["stack", "status"]).ends(0).out;
    assert!(status.contains("can roll back not now: "), "{status}");
    assert!(status.contains("is busy"), "{status}");
    ctrl_c(&child);
    let told = ended(child, 1);
    assert!(
        told.err.contains("  … asked to stop; another Ctrl-C"),
        "{}",
        told.err
    );
    assert!(
        told.out.contains(": went back, cancelled by ada"),
        "{}",
        told.out
    );
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
    deploy(&left, ["-", "v2", "v2"]).ends(0);
}

async fn one_member_that_is_cancelled_takes_its_group_back(kind: &str) {
    let left = patient(kind).await;
    let child = at_the_gate(&left);
    left.type_here(&["cancel", "db@web-1"]).ends(0);
    let told = ended(child, 1);
    assert!(
        told.out.contains(": went back, cancelled by ada"),
        "{}",
        told.out
    );
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
}

async fn a_second_ctrl_c_leaves_a_group_to_recover(kind: &str) {
    let left = patient(kind).await;
    // What is asked to stop goes back, and that takes a while.
    left.restart_by("[ -e \"$0.slow\" ] && sleep 5\nexec \"$@\"");
    let slow = left.kept().join("restart.sh.slow");
    let child = at_the_gate(&left);
    std::fs::write(&slow, "").unwrap();
    ctrl_c(&child);
    let start = Instant::now();
    while live(&left)[0] != "v1" {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            live(&left)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    ctrl_c(&child);
    let told = ended(child, 130);
    let said = told.err.lines().last().unwrap();
    assert!(said.contains(" was left, "), "{said}");
    assert!(said.contains("api@web-1 while switching back"), "{said}");
    assert!(said.contains("run recover"), "{said}");
    std::fs::remove_file(slow).unwrap();
    left.type_here(&["recover"]).ends(0);
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
}

async fn what_a_crash_left_of_a_group_is_settled_first(kind: &str) {
    let left = patient(kind).await;
    let mut child = at_the_gate(&left);
    child.kill().unwrap();
    child.wait().unwrap();
    let list = left.type_here(&["stack", "list"]).ends(0).out;
    assert!(
        list.contains("; nobody runs it any more: run recover"),
        "{list}"
    );
    left.configure(|entry| entry["gate"]["start_period"] = 500.into());
    let preview = left.type_here(&["stack", "preview", "--undo"]).ends(6);
    assert!(preview.err.contains("run recover"), "{}", preview.err);
    let refused = left
        .type_here(&["stack", "deploy", "web@web-1=v2", "api@web-1=v4"])
        .ends(4);
    assert!(
        refused.err.contains("nobody is here to ask"),
        "{}",
        refused.err
    );
    let typed = deploy(&left, ["v4", "v4", "v4"]).ends(0);
    assert!(
        typed.err.contains("; recovering it first\n"),
        "{}",
        typed.err
    );
    assert_eq!(live(&left), ["v4", "v4", "v4"]);
    assert_eq!(groups(&left)[1]["way"], "back");
    let list = left.type_here(&["stack", "list"]).ends(0).out;
    assert!(list.contains("  went back, interrupted  "), "{list}");
}

on_both_stores!(
    ctrl_c_has_all_of_a_group_go_back,
    one_member_that_is_cancelled_takes_its_group_back,
    a_second_ctrl_c_leaves_a_group_to_recover,
    what_a_crash_left_of_a_group_is_settled_first,
);
