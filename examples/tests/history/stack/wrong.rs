//! What is typed wrongly is said, and changes nothing.

use serde_json::json;

use super::shop::{change, deploy, groups, id, live, shop};

async fn what_does_not_belong_is_refused_by_name(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "-"]).ends(0);
    change(&left, |all| {
        all["stacks"][0]["workloads"] = json!(["api@web-1", "db@web-1"]);
    });
    for (args, code, said) in [
        (
            ["deploy", "web@web-1=v1"].as_slice(),
            2,
            "web@web-1 belongs to no stack; nothing was changed; deploy it by itself",
        ),
        (
            &["deploy", "api@web-1=v2", "web@web-1=v2"],
            2,
            "web@web-1 does not belong to shop, which has api@web-1, db@web-1; nothing was changed",
        ),
        (
            &["undo", "--without-way-back", "web@web-1"],
            2,
            "web@web-1 does not belong to shop",
        ),
        (
            &["deploy", "foo@bar=v2"],
            7,
            "workloads.json has no foo@bar; it has api@web-1",
        ),
        (
            &["deploy", "api@web-1=v9"],
            7,
            "no such tag, branch or commit",
        ),
        (
            &["deploy", "api@web-1=v1", "api@web-1=v2"],
            2,
            "api@web-1 is named twice",
        ),
        (
            &["deploy", "api@web-1"],
            2,
            "write WORKLOAD=REFERENCE, such as api@web-1=v2",
        ),
        (&["deploy"], 2, "WORKLOAD=REFERENCE"),
        (
            &["deploy", "api@web-1=v1"],
            4,
            "nothing would move (api@web-1: it is live already",
        ),
        (
            &["rollback", "--stack", "shpo"],
            7,
            "workloads.json has no stack shpo; it has shop",
        ),
    ] {
        let mut args = [["stack"].as_slice(), args].concat();
        args.push("--yes");
        let refused = left.type_here(&args).ends(code);
        assert!(refused.err.contains(said), "{args:?}: {}", refused.err);
        assert_eq!(refused.out, "", "{args:?}");
    }
    for args in [["list", "shpo"], ["status", "shpo"]] {
        let refused = left
            .type_here(&[&["stack"], args.as_slice()].concat())
            .ends(7);
        assert!(
            refused.err.contains("has no stack shpo; it has shop"),
            "{}",
            refused.err
        );
    }
    assert_eq!(live(&left), ["v1", "v1", "nothing"]);
    assert_eq!(groups(&left).len(), 1);
}

async fn a_group_that_is_not_there_is_no_such_thing(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    let alone = ["deploy", "v2", "--workload", "web@web-1", "--yes"];
    left.type_here(&alone).ends(0);
    let newest = &left.ids()[0];
    for args in [
        ["show", "ffff"].as_slice(),
        &["rollback", "ffff", "--yes"],
        &["preview", "--before", "ffff"],
        &["redeploy", "ffff", "--yes"],
    ] {
        let refused = left.type_here(&[&["stack"], args].concat()).ends(7);
        assert!(
            refused.err.contains("nothing was changed; the newest are"),
            "{}",
            refused.err
        );
    }
    for args in [["show", newest].as_slice(), &["rollback", newest, "--yes"]] {
        let refused = left.type_here(&[&["stack"], args].concat()).ends(7);
        let said = format!("history: {newest} moved alone, and is no group; nothing was changed");
        assert!(refused.err.starts_with(&said), "{}", refused.err);
    }
    assert_eq!(live(&left), ["v1", "v1", "v2"]);
}

async fn one_of_two_stacks_has_to_be_named(kind: &str) {
    let left = shop(kind).await;
    change(&left, |all| {
        all["stacks"] = json!([
            { "stack": "shop", "workloads": ["api@web-1", "db@web-1"] },
            { "stack": "site", "workloads": ["web@web-1"] },
        ]);
    });
    for args in [["list"].as_slice(), &["status"]] {
        let refused = left.type_here(&[&["stack"], args].concat()).ends(2);
        assert_eq!(refused.err, "history: name one of the stacks shop, site\n");
    }
    for args in [
        ["preview"].as_slice(),
        &["preview", "--undo"],
        &["rollback", "--yes"],
        &["undo", "--yes"],
        &["redo", "--yes"],
    ] {
        let refused = left.type_here(&[&["stack"], args].concat()).ends(2);
        let said = "history: name one of the stacks shop, site with --stack\n";
        assert_eq!(refused.err, said);
    }
    // Workloads and groups tell their stack.
    deploy(&left, ["v1", "v1", "-"]).ends(0);
    deploy(&left, ["-", "-", "v1"]).ends(0);
    let across = deploy(&left, ["v2", "-", "v2"]).ends(2);
    assert!(
        across.err.contains("web@web-1 does not belong to shop"),
        "{}",
        across.err
    );
    deploy(&left, ["v2", "v2", "-"]).ends(0);
    let list = left
        .type_here(&["stack", "list", "shop", "--json"])
        .ends(0)
        .out;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let first = id(&list[1]);
    let other = ["stack", "rollback", &first, "--stack", "site", "--yes"];
    let refused = left.type_here(&other).ends(7);
    let said = format!("history: {first} moved shop, not site; nothing was changed\n");
    assert_eq!(refused.err, said);
    left.type_here(&["stack", "rollback", &first, "--yes"])
        .ends(0);
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
}

on_both_stores!(
    what_does_not_belong_is_refused_by_name,
    a_group_that_is_not_there_is_no_such_thing,
    one_of_two_stacks_has_to_be_named,
);
