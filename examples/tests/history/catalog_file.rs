//! What is wrong with workloads.json: it is in the way of what needs it, and of nothing else.

use std::fs;

use serde_json::json;

use crate::left::Left;

async fn a_broken_workloads_json_is_in_the_way_of_no_reading(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    let id = left.ids().remove(0);
    fs::write(left.kept().join("workloads.json"), "{ not json").unwrap();
    for args in [
        ["list"].as_slice(),
        &["list", "--json"],
        &["show", &id],
        &["compare", &id, &id],
        &["stats"],
        &["status"],
        &["verify"],
        &["pin", &id],
        &["note", &id, "seen"],
        &["rebuild-index"],
    ] {
        let typed = left.type_here(args).ends(0);
        assert!(
            typed.err.contains("workloads.json"),
            "{args:?}: {}",
            typed.err
        );
    }
    for args in [
        ["deploy", "v2", "--yes"].as_slice(),
        &["rollback", "--yes"],
        &["preview"],
        &["adopt"],
        &["configure", "--rollback", "off"],
        &["hold", "why"],
        &["cleanup", "1", "0", "--yes"],
    ] {
        let typed = left.type_here(args).ends(2);
        assert!(
            typed.err.contains("workloads.json"),
            "{args:?}: {}",
            typed.err
        );
        assert_eq!(typed.err.lines().count(), 1, "{}", typed.err);
    }
    assert_eq!(left.live(), "v4");
}

async fn whatever_is_wrong_with_workloads_json_is_wrong_usage(kind: &str) {
    let left = Left::with(kind).await;
    let path = left.kept().join("workloads.json");
    let good = fs::read_to_string(&path).unwrap();
    let twice = |text: &str| {
        let mut all: serde_json::Value = serde_json::from_str(text).unwrap();
        let entry = all["workloads"][0].clone();
        all["workloads"].as_array_mut().unwrap().push(entry);
        all.to_string()
    };
    let with = |name: &str, value: serde_json::Value| {
        let mut all: serde_json::Value = serde_json::from_str(&good).unwrap();
        all["workloads"][0][name] = value;
        all.to_string()
    };
    let mut impatient: serde_json::Value = serde_json::from_str(&good).unwrap();
    impatient["workloads"][0]["gate"]["retries"] = json!(0);
    let impatient = impatient.to_string();
    for (what, text) in [
        ("syntax", "[".to_owned()),
        ("an unknown field", with("colour", json!("red"))),
        ("a bad URL", with("health", json!("ftp//nowhere"))),
        ("a relative path", with("root", json!("site"))),
        ("a bad name", with("workload", json!("../x"))),
        ("a gate of no attempts", impatient),
        ("the same workload twice", twice(&good)),
    ] {
        fs::write(&path, text).unwrap();
        let typed = left.type_here(&["deploy", "v1", "--yes"]);
        assert_eq!(typed.code, 2, "{what}: {}", typed.err);
        assert!(
            typed.err.contains("workloads.json"),
            "{what}: {}",
            typed.err
        );
    }
}

async fn a_bad_reference_is_wrong_usage_and_one_that_is_not_there_is_not_found(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    for bad in ["a b", "v1..v2", "v1^{", ""] {
        let typed = left.type_here(&["deploy", bad, "--yes"]);
        assert_eq!(typed.code, 2, "{bad:?}: {}", typed.err);
    }
    left.type_here(&["deploy", "v9", "--yes"]).ends(7);
}

async fn rollback_may_be_said_as_true_or_false_in_workloads_json(kind: &str) {
    let left = Left::with(kind).await;
    for (said, mode) in [
        (json!(true), "record"),
        (json!(false), "off"),
        (json!("auto"), "auto"),
    ] {
        left.configure(|entry| entry["rollback"] = said);
        let status = left.type_here(&["status"]).ends(0).out;
        assert!(
            status.contains(&format!("rollback      {mode};")),
            "{status}"
        );
    }
}

on_both_stores!(
    a_broken_workloads_json_is_in_the_way_of_no_reading,
    whatever_is_wrong_with_workloads_json_is_wrong_usage,
    a_bad_reference_is_wrong_usage_and_one_that_is_not_there_is_not_found,
    rollback_may_be_said_as_true_or_false_in_workloads_json,
);
