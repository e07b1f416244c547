//! Everything that can be typed, on either store: the same answers.

use serde_json::Value;

use crate::left::{Left, Typed};

/// Everything that the product's pages say can be typed, once, with what it should come to.
async fn session(kind: &str) -> Vec<String> {
    let left = Left::with(kind).await;
    let mut told = Vec::new();
    let mut say = |typed: Typed| told.push(typed.told());
    say(left.type_here(&["list"]).ends(0));
    assert_eq!(left.type_here(&["list", "--json"]).ends(0).out.trim(), "[]");
    say(left.type_here(&["stats"]).ends(0));
    say(left.type_here(&["adopt"]).ends(0));
    say(left
        .type_here(&["deploy", "v2", "--yes", "--reason", "ticket 7"])
        .ends(0));
    let failed = left.type_here(&["deploy", "v3", "--yes"]).ends(3);
    let phases: Vec<&str> = failed
        .err
        .lines()
        .map(|l| l.trim_start_matches("  … "))
        .collect();
    let ids = left.ids();
    let (deployed, back) = (
        format!("deploy {}", ids[1]),
        format!("automatic rollback {}", ids[0]),
    );
    assert_eq!(phases[..2], [deployed.as_str(), "preparing"]);
    assert_eq!(
        phases[2..5],
        ["switching", "switched, checking health", back.as_str()]
    );
    let (first, second) = (
        format!("{}: failed and", ids[1]),
        format!("{back}: succeeded, "),
    );
    assert!(failed.out.contains(&format!("\n{first}")), "{}", failed.out);
    assert!(
        failed.out.contains(&format!("\n{second}")),
        "{}",
        failed.out
    );
    say(failed);
    say(left.type_here(&["deploy", "v1", "--yes"]).ends(0));
    let ids = left.ids();
    assert_eq!(ids.len(), 5, "adopt, v2, v3, its automatic rollback, v1");
    say(left.type_here(&["list"]).ends(0));
    say(left.type_here(&["list", "api"]).ends(0));
    say(left.type_here(&["list", "nothing"]).ends(7));
    say(left
        .type_here(&["list", "--outcome", "failed-and-rolled-back"])
        .ends(0));
    say(left
        .type_here(&["list", "--trigger", "automatic-rollback", "--days", "1"])
        .ends(0));
    say(left
        .type_here(&["list", "--actor", "ada", "--limit", "2"])
        .ends(0));
    say(left.type_here(&["list", "--outcome", "sideways"]).ends(2));
    let users = left.type_here(&["list", "--json-output"]).ends(0);
    let users: Vec<Value> = serde_json::from_str(&users.out).unwrap();
    let users: Vec<&str> = users.iter().map(|d| d["user"].as_str().unwrap()).collect();
    assert_eq!(users, ["ada", "automatic-rollback", "ada", "ada", "ada"]);
    for id in &ids {
        say(left.type_here(&["show", id]).ends(0));
        let json = left.type_here(&["show", id, "--json"]).ends(0);
        assert_eq!(
            serde_json::from_str::<Value>(&json.out).unwrap()["id"],
            id.as_str()
        );
    }
    say(left
        .type_here(&["show", "deploy-20200101-000000-aaaa"])
        .ends(7));
    say(left.type_here(&["show", "../../etc/passwd"]).ends(2));
    say(left.type_here(&["compare", &ids[0], &ids[3]]).ends(0));
    say(left.type_here(&["stats"]).ends(0));
    say(left.type_here(&["stats", "api", "30"]).ends(0));
    say(left.type_here(&["status"]).ends(0));
    say(left.type_here(&["preview", &ids[3]]).ends(0));
    let preview = left.type_here(&["preview", "--json"]).ends(0);
    let preview: Value = serde_json::from_str(&preview.out).unwrap();
    assert!(preview["new"]["warnings"].is_array());
    assert_eq!(left.live(), "v1");
    say(left.type_here(&["rollback", &ids[3]]).ends(4));
    assert_eq!(left.live(), "v1", "nobody was there to ask");
    say(left
        .type_here(&["rollback", &ids[3], "--yes", "--force"])
        .ends(0));
    assert_eq!(left.live(), "v2");
    say(left.type_here(&["rollback", &ids[3], "--yes"]).ends(4));
    say(left
        .type_here(&["rollback", &ids[0], "--yes", "--force", "hold"])
        .ends(0));
    say(left.type_here(&["rollback", "--yes"]).ends(0));
    say(left.type_here(&["redeploy", &ids[3], "--yes"]).ends(0));
    say(left.type_here(&["hold", "freeze"]).ends(0));
    say(left.type_here(&["deploy", "v4", "--yes"]).ends(4));
    say(left.type_here(&["status"]).ends(0));
    say(left.type_here(&["lift-hold"]).ends(0));
    say(left.type_here(&["deploy", "none", "--yes"]).ends(7));
    say(left
        .type_here(&["configure", "--rollback", "off", "--dry-run"])
        .ends(0));
    say(left
        .type_here(&["configure", "--rollback", "record", "--keep-records", "9"])
        .ends(0));
    say(left.type_here(&["deploy", "v3", "--yes"]).ends(1));
    say(left.type_here(&["rollback", "--yes"]).ends(0));
    say(left.type_here(&["configure", "--reset"]).ends(0));
    say(left.type_here(&["pin", &ids[4]]).ends(0));
    say(left
        .type_here(&["note", &ids[3], "the last good one"])
        .ends(0));
    say(left.type_here(&["mark-bad", &ids[2], "leaks"]).ends(0));
    say(left.type_here(&["rollback", &ids[2], "--yes"]).ends(4));
    say(left.type_here(&["cleanup", "100", "30"]).ends(0));
    say(left.type_here(&["cleanup", "1", "0", "--dry-run"]).ends(0));
    say(left.type_here(&["cleanup", "1", "0"]).ends(4));
    say(left.type_here(&["cleanup", "1", "0", "--yes"]).ends(0));
    assert!(left.ids().contains(&ids[4]), "what is pinned stays");
    say(left.type_here(&["list"]).ends(0));
    say(left.type_here(&["recover"]).ends(0));
    say(left.type_here(&["verify"]).ends(0));
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_give_the_same_answers_to_everything_that_can_be_typed() {
    let (sqlite, json) = tokio::join!(session("sqlite"), session("json"));
    assert_eq!(sqlite.len(), json.len());
    for (sqlite, json) in sqlite.iter().zip(&json) {
        assert_eq!(sqlite, json);
    }
}

#[tokio::test]
async fn it_works_on_what_the_quickstart_left_behind() {
    let left = Left::with("sqlite").await;
    let kept = left.kept().display().to_string();
    let status = left.type_(&kept, &["status"]).ends(0);
    assert!(status.out.contains("on record     v4 ("), "{}", status.out);
    assert!(
        status.out.contains("can roll back yes, to"),
        "{}",
        status.out
    );
    left.type_(&kept, &["rollback", "--yes"]).ends(0);
    assert_eq!(left.live(), "v1");
    let list: Vec<Value> =
        serde_json::from_str(&left.type_(&kept, &["list", "--json"]).out).unwrap();
    assert_eq!(
        (list.len(), &list[0]["trigger"]),
        (7, &Value::from("rollback"))
    );
    assert_eq!(list[0]["status"], "succeeded");
}
