//! Policies, holds and marks: what is set, what is taken back, and what is in the way.

use std::process::Command;

use serde_json::Value;

use crate::left::{Left, Typed, program};

async fn a_reset_sets_nothing_beside(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["configure", "--rollback", "off"]).ends(0);
    for other in [
        ["--rollback", "auto"],
        ["--keep-records", "3"],
        ["--keep-days", "3"],
        ["--hold-after-rollback", "true"],
    ] {
        let args = ["configure", "--reset", other[0], other[1]];
        let refused = left.type_here(&args).ends(2);
        assert!(refused.err.contains(other[0]), "{}", refused.err);
        assert!(refused.err.contains("cannot be used with"));
    }
    assert!(
        left.type_here(&["status"])
            .out
            .contains("rollback      off")
    );
    left.type_here(&["configure", "--reset", "--dry-run"])
        .ends(0);
    left.type_here(&["configure", "--reset"]).ends(0);
    assert!(
        left.type_here(&["status"])
            .out
            .contains("rollback      auto")
    );
}

fn type_as(left: &Left, user: &str, args: &[&str]) -> Typed {
    let args = [args, &["--user", user]].concat();
    let mut command = Command::new(program("history"));
    command.args(["--store", &left.store]).args(args);
    Typed::of(command.output().unwrap())
}

async fn a_second_mark_says_what_it_replaces(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    let id = &left.ids()[0];
    let first = left.type_here(&["mark-bad", id, "leaks"]).ends(0);
    assert_eq!(first.out.lines().count(), 1, "{}", first.out);
    let second = type_as(&left, "bob", &["mark-bad", id, "leaks and crashes"]).ends(0);
    let said = "\nThis replaces what ada (cli) said just now: leaks\n";
    assert!(second.out.ends_with(said), "{}", second.out);
}

async fn a_second_hold_says_what_it_replaces_or_stays_out(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["hold", "freeze"]).ends(0);
    let second = left.type_here(&["hold", "fair"]).ends(0);
    let said = "\nThis replaces your hold of just now: freeze\n";
    assert!(second.out.ends_with(said), "{}", second.out);
    let other = type_as(&left, "bob", &["hold", "mine"]).ends(4);
    assert_eq!(
        other.err,
        "history: api@web-1 is held already, by ada (cli): fair; that stays as it is (lift-hold \
         ends it)\n"
    );
    assert!(
        left.type_here(&["status"])
            .out
            .contains("by ada (cli): fair")
    );
}

/// Who a deployment is said to be by, typed by somebody with only these variables.
fn recorded(left: &Left, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(program("history"));
    command.args(["--store", &left.store, "redeploy", &left.ids()[0], "--yes"]);
    for name in ["USER", "SUDO_USER", "LOGNAME"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    Typed::of(command.output().unwrap()).ends(0);
    let list = left.type_here(&["list", "--json"]).ends(0).out;
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    list[0]["user"].as_str().unwrap().to_owned()
}

async fn somebody_is_always_recorded(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    let uid = format!("uid {}", rustix::process::getuid().as_raw());
    for (variables, user) in [
        ([].as_slice(), &*uid),
        (&[("USER", "")], &uid),
        (&[("LOGNAME", "eve")], "eve"),
        (&[("LOGNAME", "eve"), ("SUDO_USER", "dan")], "dan"),
        (&[("SUDO_USER", "dan"), ("USER", "bob")], "bob"),
    ] {
        assert_eq!(recorded(&left, variables), user);
    }
}

on_both_stores!(
    a_reset_sets_nothing_beside,
    a_second_mark_says_what_it_replaces,
    a_second_hold_says_what_it_replaces_or_stays_out,
    somebody_is_always_recorded,
);
