//! What is said of groups, and of those who moved with others.

use serde_json::Value;

use super::shop::{deploy, groups, id, shop};

async fn the_list_has_a_line_for_a_group_and_its_members_below(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    deploy(&left, ["v3", "v2", "-"]).ends(3);
    let list = left.type_here(&["stack", "list", "shop"]).ends(0).out;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 8, "{list}");
    assert!(
        lines[0].contains("  ada  deploy  went back because of api@web-1  "),
        "{list}"
    );
    assert!(lines[4].contains("  ada  deploy  went forward "), "{list}");
    for (line, begins) in [
        (1, "api@web-1  v3 ("),
        (2, "db@web-1   v2 ("),
        (5, "api@web-1  v1 ("),
    ] {
        assert!(
            lines[line].starts_with("  ") && lines[line].contains(begins),
            "{list}"
        );
    }
    assert!(
        lines[1].contains("  failed and rolled back  unhealthy"),
        "{list}"
    );
    assert_eq!(
        lines[3],
        "  -         web@web-1  left alone: nothing was asked for it"
    );
    let one = left
        .type_here(&["stack", "list", "--limit", "1"])
        .ends(0)
        .out;
    assert!(one.ends_with("\n\nMore: --limit 2\n"), "{one}");
    assert!(!one.contains("went forward"), "{one}");
}

async fn one_group_is_shown_in_full(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    deploy(&left, ["v3", "v2", "-"]).ends(3);
    let ids: Vec<String> = groups(&left).iter().map(id).collect();
    let shown = left.type_here(&["stack", "show", &ids[0]]).ends(0).out;
    for said in [
        "\nstack           shop\n",
        "\nway             went back because of api@web-1\n",
        "\ndecision        all go back: api@web-1 did not go live: unhealthy: ",
        "\n  outcome       failed and rolled back\n",
        "\nweb@web-1       left alone: nothing was asked for it\n  live          v1 (",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let shown = left.type_here(&["stack", "show", &ids[1]]).ends(0).out;
    assert!(
        shown.contains("\ndecision        all go forward, after "),
        "{shown}"
    );
    let json = left
        .type_here(&["stack", "show", &ids[1], "--json"])
        .ends(0)
        .out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["way"], "forward");
    assert_eq!(json["records"]["api@web-1"]["id"], ids[1].as_str());
    assert!(json["duration_ms"].is_u64(), "{json}");
    // Who can no longer say how it is deployed can still read it.
    std::fs::remove_file(left.kept().join("workloads.json")).unwrap();
    left.type_here(&["stack", "show", &ids[1]]).ends(0);
}

async fn status_says_whether_a_stack_can_go_back_and_to_where(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    let said = left.type_here(&["stack", "status"]).ends(0).out;
    let no = "\n  can roll back no: shop has no earlier group in which all were healthy\n";
    assert!(said.ends_with(no), "{said}");
    deploy(&left, ["v2", "v2", "-"]).ends(0);
    let said = left.type_here(&["stack", "status", "shop"]).ends(0).out;
    for line in [
        "\n  on record     v2 (",
        "\n  newest group  deploy by ada just now: went forward\n",
        "\n  can roll back yes\n",
        "\n                api@web-1 to v1 (",
        "\n                web@web-1 stays as it is: it is live already\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let json = left.type_here(&["stack", "status", "--json"]).ends(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rollback"]["can"], "yes");
    assert_eq!(json["newest_group"]["id"], id(&groups(&left)[0]));
    assert_eq!(json["workloads"].as_array().unwrap().len(), 3);
}

async fn who_moved_with_others_is_marked(kind: &str) {
    let left = shop(kind).await;
    let alone = ["deploy", "v4", "--workload", "db@web-1", "--yes"];
    left.type_here(&alone).ends(0);
    let list = left.type_here(&["list"]).ends(0).out;
    assert!(!list.contains('&'), "{list}");
    deploy(&left, ["v1", "v1", "-"]).ends(0);
    left.type_here(&["stack", "undo", "--yes"]).ends(4);
    deploy(&left, ["v2", "v2", "-"]).ends(0);
    left.type_here(&["stack", "undo", "--yes"]).ends(0);
    let typed = left.type_here(&["list"]).ends(0);
    let rows: Vec<&str> = typed
        .out
        .lines()
        .skip(1)
        .take_while(|l| !l.is_empty())
        .collect();
    let marked = rows.iter().filter(|row| row.contains(" & ")).count();
    assert_eq!((rows.len(), marked), (7, 6), "{}", typed.out);
    assert!(
        typed.out.contains("\n& moved with others, as one"),
        "{}",
        typed.out
    );
    let group = id(&groups(&left)[0]);
    let undone = id(&groups(&left)[1]);
    for member in &typed.shown_ids()[..2] {
        let shown = left.type_here(&["show", member]).ends(0).out;
        let of = format!("\ngroup           {group}, of shop; stack show has all of it\n");
        assert!(shown.contains(&of), "{shown}");
        assert!(
            shown.contains("\npurpose         undoes deploy-"),
            "{shown}"
        );
    }
    let shown = left.type_here(&["show", &group]).ends(0).out;
    assert!(
        shown.contains(&format!("purpose         undoes {undone}\n")),
        "{shown}"
    );
}

on_both_stores!(
    the_list_has_a_line_for_a_group_and_its_members_below,
    one_group_is_shown_in_full,
    status_says_whether_a_stack_can_go_back_and_to_where,
    who_moved_with_others_is_marked,
);
