//! What recovery cannot settle is given up, on record; and a lifted hold leaves a trace.

use crate::in_flight::{at_the_gate, id, newest, patient};
use crate::left::Left;

async fn what_cannot_be_recovered_is_given_up_on_record(kind: &str) {
    let left = patient(kind).await;
    let deploying = at_the_gate(&left);
    let in_flight = id(&newest(&left));
    let abandon = |why: &str, yes: &[&str]| {
        let args = ["abandon", "api@web-1", why];
        left.type_here(&[args.as_slice(), yes].concat())
    };
    abandon("it lives", &["--yes"]).ends(6);
    deploying.killed();
    // How it is deployed is not known any more, so it cannot be recovered.
    let workloads = left.kept().join("workloads.json");
    let text = std::fs::read_to_string(&workloads).unwrap();
    std::fs::remove_file(&workloads).unwrap();
    let failed = left.type_here(&["recover"]).ends(1);
    assert!(failed.err.contains("abandon"), "{}", failed.err);
    abandon("the server is gone", &[]).ends(4);
    let done = abandon("the server is gone", &["--yes"]).ends(0);
    assert!(done.out.contains(&in_flight), "{}", done.out);
    let nothing = abandon("again", &["--yes"]).ends(7);
    assert!(nothing.err.contains("nothing"), "{}", nothing.err);
    let status = left.type_here(&["status"]).ends(0).out;
    let said = format!("last changed  {in_flight} abandoned: the server is gone (by ada (cli), ");
    assert!(status.contains(&said), "{status}");
    std::fs::write(&workloads, text).unwrap();
    left.type_here(&["adopt"]).ends(0);
}

async fn who_lifted_a_hold_or_cleared_a_policy_is_told(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["hold", "freeze"]).ends(0);
    left.type_here(&["lift-hold"]).ends(0);
    let status = left.type_here(&["status"]).ends(0).out;
    let said = "last changed  hold of ada (cli) lifted: freeze (by ada (cli), just now)";
    assert!(status.contains(said), "{status}");
    left.type_here(&["configure", "--rollback", "off"]).ends(0);
    left.type_here(&["configure", "--reset"]).ends(0);
    let status = left.type_here(&["status"]).ends(0).out;
    let said = "last changed  policy cleared (by ada (cli), just now)";
    assert!(status.contains(said), "{status}");
}

async fn a_copy_that_is_put_back_is_found_to_be_behind_what_is_live(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    let copy = left.kept().join("copy");
    let copy = copy.to_str().unwrap();
    left.type_here(&["backup", copy]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.type_here(&["restore", copy]).ends(4);
    left.type_here(&["restore", "/nowhere", "--yes"]).ends(7);
    if kind == "json" {
        let history = left.kept().join("empty.json");
        left.type_here(&["restore", copy, "--yes"]).ends(8);
        std::fs::rename(&history, left.kept().join("before")).unwrap();
    }
    left.type_here(&["restore", copy, "--yes"]).ends(0);
    let status = left.type_here(&["status"]).ends(0).out;
    assert!(status.contains("  behind        deploy-"), "{status}");
    let refused = left.type_here(&["deploy", "v4", "--yes"]).ends(4);
    assert!(refused.err.contains("adopt"), "{}", refused.err);
    left.type_here(&["adopt"]).ends(0);
    let status = left.type_here(&["status"]).ends(0).out;
    assert!(!status.contains("behind"), "{status}");
    left.type_here(&["deploy", "v4", "--yes"]).ends(0);
}

async fn a_plan_is_approved_in_one_process_and_carried_out_in_another(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    let plan = left.kept().join("plan.json");
    let shown = left.type_here(&["preview", "--json"]).ends(0).out;
    std::fs::write(&plan, shown).unwrap();
    let plan = plan.to_str().unwrap();
    left.type_here(&["execute", plan]).ends(4);
    left.type_here(&["execute", plan, "--yes"]).ends(0);
    assert_eq!(left.live(), "v1");
    left.type_here(&["execute", plan, "--yes"]).ends(6);
    std::fs::write(plan, "{}").unwrap();
    left.type_here(&["execute", plan, "--yes"]).ends(2);
}

on_both_stores!(
    what_cannot_be_recovered_is_given_up_on_record,
    who_lifted_a_hold_or_cleared_a_policy_is_told,
    a_copy_that_is_put_back_is_found_to_be_behind_what_is_live,
    a_plan_is_approved_in_one_process_and_carried_out_in_another,
);
