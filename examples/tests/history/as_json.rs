//! Everything that answers can answer a program: one JSON value, whose shape is promised.

use serde_json::Value;

use crate::left::{Left, Typed};

#[track_caller]
fn json(typed: &Typed) -> Value {
    serde_json::from_str(&typed.out).unwrap_or_else(|e| panic!("{e}: {}", typed.out))
}

async fn what_a_deploy_sets_off_is_told_to_programs_too(kind: &str) {
    let left = Left::with(kind).await;
    let adopted = json(&left.type_here(&["adopt", "--json"]).ends(0));
    assert_eq!(adopted["deployment"]["trigger"], "adopt");
    assert_eq!(adopted["automatic_rollback"]["was"], "not_needed");
    let good = json(&left.type_here(&["deploy", "v2", "--yes", "--json"]).ends(0));
    assert_eq!(good["deployment"]["id"], left.ids()[0].as_str());
    assert_eq!(good["live"]["known"], left.ids()[0].as_str());
    // It fails its gate, and is rolled back by itself.
    let typed = left.type_here(&["deploy", "v3", "--yes", "--json"]).ends(3);
    let failed = json(&typed);
    let ids = left.ids();
    assert_eq!(failed["deployment"]["id"], ids[1].as_str());
    let by_itself = &failed["automatic_rollback"];
    assert_eq!(by_itself["was"], "attempted");
    assert_eq!(by_itself["recovered"], true);
    assert_eq!(by_itself["deployment"]["id"], ids[0].as_str());
    assert_eq!(
        typed.out.matches("\"deployment\": {").count(),
        2,
        "no key twice"
    );
    let again = left
        .type_here(&["redeploy", &ids[2], "--yes", "--json"])
        .ends(0);
    assert_eq!(json(&again)["deployment"]["trigger"], "redeploy");
}

async fn status_is_told_to_programs_too(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.type_here(&["hold", "freeze"]).ends(0);
    let all = json(&left.type_here(&["status", "--json"]).ends(0));
    let one = &all[0];
    let id = &left.ids()[0];
    assert_eq!(one["workload"], "api@web-1");
    assert_eq!(one["live"]["known"], id.as_str());
    assert_eq!(one["record"]["id"], id.as_str());
    assert_eq!(one["now"]["verdict"]["verdict"], "passed");
    assert_eq!(one["now"]["drift"]["drift"], "none");
    assert_eq!(one["hold"]["why"], "freeze");
    assert_eq!(one["rules"]["policy"]["rollback"], "auto");
    assert_eq!(one["rollback"]["can"], "yes");
    assert_eq!(
        one["rollback"]["plan"]["rollback_point"],
        left.ids()[1].as_str()
    );
}

async fn upkeep_is_told_to_programs_too(kind: &str) {
    let left = Left::with(kind).await;
    assert_eq!(
        json(&left.type_here(&["recover", "--json"]).ends(0)),
        Value::from(Vec::<Value>::new())
    );
    assert_eq!(
        json(&left.type_here(&["verify", "--json"]).ends(0)),
        Value::from(Vec::<Value>::new())
    );
    for reference in ["v1", "v2", "v1"] {
        left.type_here(&["deploy", reference, "--yes"]).ends(0);
    }
    let set = left.type_here(&[
        "configure",
        "--keep-records",
        "1",
        "--keep-days",
        "0",
        "--json",
    ]);
    let set = json(&set.ends(0));
    assert_eq!(set["workload"], "api@web-1");
    assert!(set["changes"].as_array().unwrap().len() == 2, "{set}");
    assert_eq!(set["rules"]["policy"]["retention"]["records"]["newest"], 1);
    let will = json(
        &left
            .type_here(&["cleanup", "1", "0", "--dry-run", "--json"])
            .ends(0),
    );
    let done = json(
        &left
            .type_here(&["cleanup", "1", "0", "--yes", "--json"])
            .ends(0),
    );
    assert_eq!(will, done);
    assert_eq!(done[0]["workload"], "api@web-1");
    assert_eq!(done[0]["kept"], left.ids().len());
}

on_both_stores!(
    what_a_deploy_sets_off_is_told_to_programs_too,
    status_is_told_to_programs_too,
    upkeep_is_told_to_programs_too,
);
