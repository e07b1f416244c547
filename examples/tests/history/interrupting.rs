//! Ctrl-C while something is deployed.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::in_flight::{id, newest, once, patient};
use crate::left::{Left, Typed};

fn deploy(left: &Left) -> Child {
    let mut command = left.command(&left.store, &["deploy", "v3", "--yes"]);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn ctrl_c(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

async fn ctrl_c_stops_a_deployment_as_cancel_does(kind: &str) {
    let left = patient(kind).await;
    let child = deploy(&left);
    once(&left, "switched");
    ctrl_c(&child);
    let told = Typed::of(child.wait_with_output().unwrap()).ends(1);
    assert!(
        told.out.contains("did not go live: cancelled"),
        "{}",
        told.out
    );
    assert!(told.err.contains("asked to stop"), "{}", told.err);
    assert_eq!(newest(&left)["status"], "cancelled");
    assert_eq!(left.live(), "v4");
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
}

async fn a_second_ctrl_c_says_what_it_leaves(kind: &str) {
    let left = patient(kind).await;
    // What is asked to stop goes back, and that takes a while.
    left.restart_by("[ -e \"$0.slow\" ] && sleep 5\nexec \"$@\"");
    let child = deploy(&left);
    once(&left, "switched");
    std::fs::write(left.kept().join("restart.sh.slow"), "").unwrap();
    ctrl_c(&child);
    once(&left, "switch_back_intended");
    let begun = Instant::now();
    ctrl_c(&child);
    let told = Typed::of(child.wait_with_output().unwrap()).ends(130);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    let left_over = id(&newest(&left));
    let said = told.err.lines().last().unwrap();
    assert!(said.contains(&left_over), "{said}");
    assert!(said.contains("switching back"), "{said}");
    assert!(said.contains("run recover"), "{said}");
    std::fs::remove_file(left.kept().join("restart.sh.slow")).unwrap();
    left.type_here(&["recover"]).ends(0);
    assert_eq!(left.live(), "v4");
    let help = left.type_here(&["--help"]).ends(0).out;
    assert!(help.contains("\n  130  "), "{help}");
}

on_both_stores!(
    ctrl_c_stops_a_deployment_as_cancel_does,
    a_second_ctrl_c_says_what_it_leaves,
);
