//! What fails, and cannot be put back either: a person has to look, and scripts are told so.

use crate::left::Left;

/// v2 is live and healthy; from now on, only what is named starts.
async fn where_starts(kind: &str, versions: &str) -> Left {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.restart_by(&format!(
        "read -r version < version; case \"$version\" in {versions}) exec \"$@\";; esac\n\
         echo \"$version does not start\" >&2; exit 1\n"
    ));
    left
}

/// The outcome and the trigger of each, newest first.
fn outcomes(left: &Left) -> Vec<(String, String)> {
    let list = left.type_here(&["list", "--json"]).ends(0);
    let list: Vec<serde_json::Value> = serde_json::from_str(&list.out).unwrap();
    let text = |d: &serde_json::Value, name: &str| d[name].as_str().unwrap().to_owned();
    list.iter()
        .map(|d| (text(d, "status"), text(d, "trigger")))
        .collect()
}

async fn a_failed_gate_and_a_failed_way_back_are_5(kind: &str) {
    let left = where_starts(kind, "v3").await;
    let said = left.type_here(&["deploy", "v3", "--yes"]).ends(5).out;
    assert!(said.contains("answered 500"), "{said}");
    assert!(said.contains("It did not recover"), "{said}");
    let ended = outcomes(&left);
    let ended: Vec<_> = ended.iter().map(|(o, t)| (&**o, &**t)).collect();
    assert_eq!(
        ended[..2],
        [("degraded", "automatic_rollback"), ("failed", "deploy")]
    );
    let status = left.type_here(&["status"]).ends(0).out;
    assert!(
        status.contains("degraded      by automatic rollback"),
        "{status}"
    );
    // Any later deployment that passes leaves that state.
    left.restart_by("exec \"$@\"\n");
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    assert_eq!(left.live(), "v1");
    let status = left.type_here(&["status"]).ends(0).out;
    assert!(!status.contains("degraded"), "{status}");
}

async fn a_failed_start_and_a_failed_way_back_are_5(kind: &str) {
    let left = where_starts(kind, "nothing").await;
    let said = left.type_here(&["deploy", "v1", "--yes"]).ends(5).out;
    assert!(said.contains("could not be put back"), "{said}");
    assert!(said.contains("does not start"), "{said}");
    assert_eq!(outcomes(&left)[0].0, "degraded");
}

async fn a_rollback_to_what_is_unhealthy_is_5(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    // Once it was healthy; today it is asked for another page.
    left.configure(|entry| entry["health"] = "http://127.0.0.1:9/".into());
    let said = left.type_here(&["rollback", "--yes"]).ends(5).out;
    assert!(said.contains("The engine stops here"), "{said}");
    assert_eq!(left.live(), "v2");
    let status = left.type_here(&["status"]).ends(0).out;
    assert!(status.contains("v2 (") && status.contains("degraded: "));
    assert!(status.contains("now           unhealthy: "), "{status}");
}

on_both_stores!(
    a_failed_gate_and_a_failed_way_back_are_5,
    a_failed_start_and_a_failed_way_back_are_5,
    a_rollback_to_what_is_unhealthy_is_5,
);
