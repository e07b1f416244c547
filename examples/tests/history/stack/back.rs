//! Where a stack goes back to.

use super::shop::{deploy, groups, id, live, shop};
use crate::left::Left;

/// v1 and v2 were deployed to all, and v4 to `web`: three groups, oldest first.
async fn deployed(kind: &str) -> (Left, [String; 3]) {
    let left = shop(kind).await;
    for versions in [["v1", "v1", "v1"], ["v2", "v2", "v2"], ["-", "-", "v4"]] {
        deploy(&left, versions).ends(0);
    }
    let groups: Vec<String> = groups(&left).iter().rev().map(id).collect();
    (left, groups.try_into().unwrap())
}

async fn every_goal_of_a_stack_can_be_typed(kind: &str) {
    let (left, [first, second, _]) = deployed(kind).await;
    let list = groups(&left);
    let when = list[1]["opened_at"].as_str().unwrap();
    for (goal, said) in [
        ([].as_slice(), "the last group in which all were healthy"),
        (&["--previous"], "what was live before the last group"),
        (&["--at", when], "what was live at "),
        (&["--undo"], "what was live before the last change"),
        (&[&first], &*format!("what {first} left")),
        (
            &["--before", &second],
            &*format!("what was live before {second}"),
        ),
    ] {
        let mut args = vec!["stack", "preview"];
        args.extend(goal);
        let plan = left.type_here(&args).ends(0).out;
        let begins = format!("Roll shop back to {said}");
        assert!(plan.starts_with(&begins), "{goal:?}: {plan}");
    }
    assert_eq!(live(&left), ["v2", "v2", "v4"], "a preview moves nothing");
    for (goal, expected) in [
        ([].as_slice(), ["v2", "v2", "v2"]),
        (&["--at", when], ["v1", "v1", "v1"]),
        (&[&second], ["v2", "v2", "v2"]),
        (&["--before", &second], ["v1", "v1", "v1"]),
        (&["--previous"], ["v2", "v2", "v2"]),
    ] {
        let mut args = vec!["stack", "rollback", "--yes"];
        args.extend(goal);
        left.type_here(&args).ends(0);
        assert_eq!(live(&left), expected, "{goal:?}");
    }
    for both in [
        ["--previous", &first].as_slice(),
        &["--previous", "--before", &first],
        &["--at", "2026-03-15T14:30:22Z", &first],
        &["--at", "yesterday"],
        &["--undo", "--redo"],
        &["--undo", &first],
        &["--yes"],
    ] {
        let mut args = vec!["stack", "preview"];
        args.extend(both);
        left.type_here(&args).ends(2);
    }
}

async fn any_member_tells_its_group(kind: &str) {
    let (left, [first, ..]) = deployed(kind).await;
    let list = left.type_here(&["stack", "list"]).ends(0).out;
    let of_db = list.lines().filter(|l| l.contains("  db@web-1   v1 ("));
    let of_db: Vec<&str> = of_db
        .map(|l| l.split_whitespace().next().unwrap())
        .collect();
    let [of_db] = of_db[..] else { panic!("{list}") };
    assert!(
        !first.contains(of_db),
        "it is not the one that names the group"
    );
    let shown = left.type_here(&["stack", "show", of_db]).ends(0).out;
    assert_eq!(shown.lines().next(), Some(&*first));
    left.type_here(&["stack", "rollback", of_db, "--yes"])
        .ends(0);
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
}

async fn a_stack_is_undone_and_done_again(kind: &str) {
    let (left, _) = deployed(kind).await;
    left.type_here(&["deploy", "v1", "--workload", "db@web-1", "--yes"])
        .ends(0);
    for expected in [["v2", "v2", "v4"], ["v2", "v2", "v2"], ["v1", "v1", "v1"]] {
        left.type_here(&["stack", "undo", "--yes"]).ends(0);
        assert_eq!(live(&left), expected);
    }
    let refused = left.type_here(&["stack", "undo", "--yes"]).ends(4);
    assert!(
        refused.err.contains("nothing was changed"),
        "{}",
        refused.err
    );
    for expected in [["v2", "v2", "v2"], ["v2", "v2", "v4"], ["v2", "v1", "v4"]] {
        left.type_here(&["stack", "redo", "--yes"]).ends(0);
        assert_eq!(live(&left), expected);
    }
    let refused = left.type_here(&["stack", "redo", "--yes"]).ends(4);
    assert!(
        refused.err.contains("there is nothing to redo on shop: "),
        "{}",
        refused.err
    );
    let list = left.type_here(&["stack", "list"]).ends(0).out;
    let whats = ["  undo  ", "  redo  "].map(|what| list.matches(what).count());
    assert_eq!(whats, [3, 3], "{list}");
}

async fn nothing_is_there_to_go_back_to_at_first(kind: &str) {
    let left = shop(kind).await;
    for (goal, said) in [
        (
            [].as_slice(),
            "shop has no earlier group in which all were healthy; ",
        ),
        (&["--previous"], "no group of shop has gone forward; "),
    ] {
        let mut args = vec!["stack", "rollback", "--yes"];
        args.extend(goal);
        let refused = left.type_here(&args).ends(4);
        let begins = format!("history: {said}nothing was changed; ");
        assert!(refused.err.starts_with(&begins), "{}", refused.err);
    }
    let refused = left.type_here(&["stack", "undo", "--yes"]).ends(4);
    assert!(
        refused
            .err
            .starts_with("history: there is nothing to undo on shop; ")
    );
}

on_both_stores!(
    every_goal_of_a_stack_can_be_typed,
    any_member_tells_its_group,
    a_stack_is_undone_and_done_again,
    nothing_is_there_to_go_back_to_at_first,
);
