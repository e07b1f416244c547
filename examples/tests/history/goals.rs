//! Where a rollback goes, and what is said where it does not.

use serde_json::Value;

use crate::left::Left;

/// v1, v2 and v4 were deployed.
async fn deployed(kind: &str) -> Left {
    let left = Left::with(kind).await;
    for version in ["v1", "v2", "v4"] {
        left.type_here(&["deploy", version, "--yes"]).ends(0);
    }
    left
}

async fn every_goal_can_be_typed(kind: &str) {
    let left = deployed(kind).await;
    let ids = left.ids();
    let list: Vec<Value> =
        serde_json::from_str(&left.type_here(&["list", "--json"]).ends(0).out).unwrap();
    let first = list[2]["events"].as_array().unwrap().last().unwrap()["at"].clone();
    for (goal, release) in [
        ([].as_slice(), "v2 ("),
        (&["--previous"], "v2 ("),
        (&["--before", &ids[1]], "v1 ("),
        (&["--at", first.as_str().unwrap()], "v1 ("),
        (&[&ids[2]], "v1 ("),
    ] {
        let mut args = vec!["preview"];
        args.extend(goal);
        let said = left.type_here(&args).ends(0).out;
        let back = format!("Roll api@web-1 back to {release}");
        assert!(said.starts_with(&back), "{goal:?}: {said}");
    }
    left.type_here(&["rollback", "--before", &ids[1], "--yes"])
        .ends(0);
    assert_eq!(left.live(), "v1");
    for both in [
        ["--previous", &ids[0]].as_slice(),
        &["--previous", "--before", &ids[0]],
        &["--at", "2026-03-15T14:30:22Z", &ids[0]],
        &["--at", "yesterday"],
        &["--yes"],
    ] {
        let mut args = vec!["preview"];
        args.extend(both);
        left.type_here(&args).ends(2);
    }
}

async fn advice_is_what_can_be_typed(kind: &str) {
    let left = deployed(kind).await;
    let ids = left.ids();
    let live = left.type_here(&["rollback", &ids[0], "--yes"]).ends(4);
    assert!(
        live.err.contains("(--reapply puts it in place anew)"),
        "{}",
        live.err
    );
    left.type_here(&["rollback", &ids[0], "--reapply", "--yes"])
        .ends(0);
    let adopted = left.type_here(&["adopt"]).ends(4);
    assert!(adopted.err.contains("nothing to adopt"), "{}", adopted.err);
    for args in [
        ["deploy", "v1", "--workload", "foo@bar"].as_slice(),
        &["rollback", "--workload", "foo@bar"],
        &["adopt", "--workload", "foo@bar"],
        &["hold", "freeze", "--workload", "foo@bar"],
        &["configure", "--workload", "foo@bar"],
    ] {
        let refused = left.type_here(args).ends(7);
        let said = "workloads.json has no foo@bar; it has api@web-1\n";
        assert!(refused.err.ends_with(said), "{}", refused.err);
    }
    left.type_here(&["hold", "freeze"]).ends(0);
    let held = left.type_here(&["deploy", "v1", "--yes"]).ends(4);
    assert!(held.err.contains("freeze; lift-hold lets them through"));
    left.type_here(&["deploy", "v1", "--yes", "--force", "hold"])
        .ends(0);
}

on_both_stores!(every_goal_can_be_typed, advice_is_what_can_be_typed);
