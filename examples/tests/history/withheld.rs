//! Recalls, the floor, and requests that are sent again.

use crate::left::Left;

async fn what_is_recalled_is_gone_to_only_by_force(kind: &str) {
    let left = Left::with(kind).await;
    for release in ["v1", "v2", "v4"] {
        left.type_here(&["deploy", release, "--yes"]).ends(0);
    }
    let list = left.type_here(&["list", "--json"]).ends(0).out;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let artifact = list[1]["to"]["planned"]["artifact"]["digest"].as_str();
    let artifact = artifact.unwrap();
    let said = left.type_here(&["recall", artifact, "it leaks"]).ends(0);
    assert!(said.out.contains("is recalled on"), "{}", said.out);
    assert!(!said.out.contains("No deployment"), "{}", said.out);
    let status = left.type_here(&["status"]).ends(0).out;
    assert!(status.contains("it leaks"), "{status}");
    let second = &left.ids()[1];
    let refused = left.type_here(&["rollback", second, "--yes"]).ends(4);
    assert!(
        refused.err.contains("guard recall refuses"),
        "{}",
        refused.err
    );
    let forced = ["rollback", second, "--yes", "--force", "recall"];
    left.type_here(&forced).ends(0);
    left.type_here(&["clear-recall", artifact]).ends(0);
    let again = left.type_here(&["clear-recall", artifact]).ends(0);
    assert!(again.out.contains("was not recalled"), "{}", again.out);
}

async fn a_tag_was_recalled_and_seemed_to_be_withheld(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    let said = left.type_here(&["recall", "v1", "it leaks"]).ends(0);
    assert!(
        said.out.contains("No deployment there has it"),
        "{}",
        said.out
    );
}

async fn below_the_floor_is_gone_only_by_force(kind: &str) {
    let left = Left::with(kind).await;
    for release in ["v1", "v2", "v4"] {
        left.type_here(&["deploy", release, "--yes"]).ends(0);
    }
    let ids = left.ids();
    left.type_here(&["floor", &ids[1], "the schema was split"])
        .ends(0);
    let refused = left.type_here(&["rollback", &ids[2], "--yes"]).ends(4);
    assert!(
        refused.err.contains("guard floor refuses"),
        "{}",
        refused.err
    );
    left.type_here(&["clear-floor"]).ends(0);
    left.type_here(&["rollback", &ids[2], "--yes"]).ends(0);
}

async fn a_deploy_that_is_sent_again_deploys_nothing(kind: &str) {
    let left = Left::with(kind).await;
    let deploy = ["deploy", "v1", "--yes", "--idempotency-key", "job/7"];
    left.type_here(&deploy).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    let before = left.ids();
    left.type_here(&deploy).ends(0);
    assert_eq!(left.ids(), before);
    let other = ["deploy", "v3", "--yes", "--idempotency-key", "job/7"];
    let refused = left.type_here(&other);
    assert!(refused.err.contains("is the key of"), "{}", refused.err);
    assert_eq!(left.ids(), before);
}

on_both_stores!(
    what_is_recalled_is_gone_to_only_by_force,
    a_tag_was_recalled_and_seemed_to_be_withheld,
    below_the_floor_is_gone_only_by_force,
    a_deploy_that_is_sent_again_deploys_nothing,
);
