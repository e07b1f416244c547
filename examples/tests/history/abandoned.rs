//! What a rollback went past says so, and by which rollback; one record says all that it knows.

use serde_json::Value;

use crate::left::Left;

fn field<'a>(shown: &'a str, label: &str) -> Option<&'a str> {
    let mut lines = shown.lines();
    lines.find_map(|l| Some(l.strip_prefix(label)?.trim_start()))
}

async fn what_was_abandoned_names_the_rollback_and_not_what_came_next(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    // Sick: it replaces v2, and v2 comes back by itself.
    left.type_here(&["deploy", "v3", "--yes"]).ends(3);
    let ids = left.ids();
    let [back, sick, v2, v1, _adopted] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    let shown = left.type_here(&["show", v2]).ends(0).out;
    assert_eq!(field(&shown, "replaced by"), Some(&**sick), "{shown}");
    assert_eq!(field(&shown, "abandoned by"), None, "{shown}");
    let shown = left.type_here(&["show", sick]).ends(0).out;
    assert_eq!(field(&shown, "abandoned by"), Some(&**back), "{shown}");
    left.type_here(&["rollback", v1, "--yes"]).ends(0);
    let rollback = &left.ids()[0];
    let shown = left.type_here(&["show", v2]).ends(0).out;
    assert_eq!(field(&shown, "abandoned by"), Some(&**rollback), "{shown}");
    assert_eq!(field(&shown, "replaced by"), Some(&**sick), "{shown}");
    let json = left.type_here(&["show", v2, "--json"]).ends(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["abandoned_by"], rollback.as_str());
    assert_eq!(json["replaced_by"], sick.as_str());
}

async fn a_deployment_that_was_rolled_back_says_so_in_the_list(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    let [_, v1, _] = left.ids().try_into().unwrap();
    left.type_here(&["rollback", &v1, "--yes"]).ends(0);
    let list = left.type_here(&["list"]).ends(0).out;
    let rows: Vec<&str> = list.lines().skip(1).collect();
    assert!(rows[1].contains("v2 ("), "{list}");
    assert!(rows[1].contains("  succeeded, rolled back  "), "{list}");
    assert!(rows[2].contains("  succeeded  "), "{list}");
}

async fn show_says_which_backend_and_what_was_live_before(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    let shown = left.type_here(&["show", &left.ids()[0]]).ends(0).out;
    assert_eq!(field(&shown, "backend"), Some("git"), "{shown}");
    let before = field(&shown, "was live").unwrap();
    assert!(before.contains("v4 ("), "{shown}");
}

#[tokio::test]
async fn one_thing_that_is_wrong_is_one_thing() {
    let left = Left::with("json").await;
    left.type_here(&["adopt"]).ends(0);
    let stray = left.kept().join("empty.json/workloads/no workload");
    std::fs::create_dir(stray).unwrap();
    let said = left.type_here(&["verify"]).ends(1);
    assert!(
        said.err.ends_with("history: 1 thing is wrong\n"),
        "{}",
        said.err
    );
}

on_both_stores!(
    what_was_abandoned_names_the_rollback_and_not_what_came_next,
    a_deployment_that_was_rolled_back_says_so_in_the_list,
    show_says_which_backend_and_what_was_live_before,
);
