//! Stacks in workloads.json.

use serde_json::{Value, json};

use super::shop::{change, shop};
use crate::left::Left;

async fn whatever_is_wrong_with_a_stack_in_workloads_json_is_wrong_usage(kind: &str) {
    let left = shop(kind).await;
    for (stacks, said) in [
        (
            json!([{ "stack": "shop", "workloads": [] }]),
            "a stack has no workload: shop",
        ),
        (
            json!([{ "stack": "shop", "workloads": ["foo@bar"] }]),
            "foo@bar is not in the catalog: shop; add it to workloads.json",
        ),
        (
            json!([
                { "stack": "shop", "workloads": ["api@web-1"] },
                { "stack": "site", "workloads": ["api@web-1"] },
            ]),
            "api@web-1 belongs to shop already: site",
        ),
        (
            json!([
                { "stack": "shop", "workloads": ["api@web-1"] },
                { "stack": "shop", "workloads": ["db@web-1"] },
            ]),
            "a stack is there twice: shop",
        ),
        (
            json!([{ "stack": "shop", "colour": "red", "workloads": ["db@web-1"] }]),
            "colour",
        ),
        (
            json!([{ "stack": "../x", "workloads": ["db@web-1"] }]),
            "workloads.json",
        ),
        (json!([{ "workloads": ["db@web-1"] }]), "stack"),
    ] {
        change(&left, |all| all["stacks"] = stacks.clone());
        let typed = left
            .type_here(&["stack", "deploy", "db@web-1=v1", "--yes"])
            .ends(2);
        assert!(
            typed.err.contains("workloads.json"),
            "{stacks}: {}",
            typed.err
        );
        assert!(typed.err.contains(said), "{stacks}: {}", typed.err);
    }
}

async fn without_stacks_it_is_said_how_to_write_one(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    for args in [
        ["list"].as_slice(),
        &["status"],
        &["preview"],
        &["undo", "--yes"],
        &["deploy", "api@web-1=v2", "--yes"],
    ] {
        let refused = left.type_here(&[&["stack"], args].concat()).ends(7);
        assert!(
            refused.err.contains("workloads.json has no stacks; "),
            "{}",
            refused.err
        );
        let (_, example) = refused.err.split_once("as \"stacks\": ").unwrap();
        let example = example.trim().replace(", …", "");
        serde_json::from_str::<Value>(&example).unwrap();
    }
    assert_eq!(left.live(), "v1");
}

on_both_stores!(
    whatever_is_wrong_with_a_stack_in_workloads_json_is_wrong_usage,
    without_stacks_it_is_said_how_to_write_one,
);
