//! All of a stack goes live, or none.

use serde_json::Value;

use super::shop::{deploy, groups, id, live, shop};

async fn a_stack_is_deployed_as_one_and_what_is_not_named_is_left_alone(kind: &str) {
    let left = shop(kind).await;
    let typed = deploy(&left, ["v1", "v1", "v1"]).ends(0);
    assert!(typed.out.starts_with("Move shop as one\n"), "{}", typed.out);
    let went = format!("\n{}: went forward, ", id(&groups(&left)[0]));
    assert!(typed.out.contains(&went), "{}", typed.out);
    for said in [
        "  … api@web-1: preparing\n",
        "  … db@web-1: live, waiting for the others\n",
        "  … all are live, and stay\n",
    ] {
        assert!(typed.err.contains(said), "{}", typed.err);
    }
    let typed = deploy(&left, ["v2", "-", "v2"]).ends(0);
    let stays = "db@web-1 stays as it was: nothing was asked for it\n";
    assert!(typed.out.ends_with(stays), "{}", typed.out);
    assert_eq!(live(&left), ["v2", "v1", "v2"]);
}

async fn all_go_back_because_of_one(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    let typed = deploy(&left, ["v3", "v2", "v2"]).ends(3);
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
    let group = &groups(&left)[0];
    let went = format!("\n{}: went back because of api@web-1, ", id(group));
    assert!(typed.out.contains(&went), "{}", typed.out);
    let going = "  … db@web-1: going back with api@web-1\n";
    assert!(typed.err.contains(going), "{}", typed.err);
    assert_eq!(group["because_of"], "api@web-1");
    assert_eq!(group["way"], "back");
}

async fn a_stack_answers_programs(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    let args = ["stack", "deploy", "api@web-1=v3", "db@web-1=v2"];
    let mut args = args.to_vec();
    args.extend(["--yes", "--json", "--reason", "ticket 7"]);
    let typed = left.type_here(&args).ends(3);
    let told: Value = serde_json::from_str(&typed.out).unwrap();
    assert_eq!(told["succeeded"], false);
    assert_eq!(told["group"]["reason"], "ticket 7");
    assert_eq!(
        told["group"]["parts"]["web@web-1"]["stays"]["why"],
        "nothing was asked for it"
    );
    let api = &told["members"]["api@web-1"]["deployment"];
    assert_eq!(api["id"], told["group"]["id"]);
    let db = &told["members"]["db@web-1"];
    assert_eq!(db["deployment"]["group"]["id"], told["group"]["id"]);
}

async fn what_a_group_left_is_deployed_anew(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    let first = id(&groups(&left)[0]);
    deploy(&left, ["v2", "v2", "-"]).ends(0);
    left.type_here(&["stack", "redeploy", &first, "--yes"])
        .ends(0);
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
    let list = left.type_here(&["stack", "list"]).ends(0).out;
    assert!(
        list.lines()
            .next()
            .unwrap()
            .contains("  redeploy  went forward  "),
        "{list}"
    );
}

async fn nothing_moves_while_nobody_says_so(kind: &str) {
    let left = shop(kind).await;
    let refused = left.type_here(&["stack", "deploy", "db@web-1=v1"]).ends(4);
    assert_eq!(refused.err, "history: nobody is here to ask; say --yes\n");
    assert!(groups(&left).is_empty());
    let plan = ["stack", "preview", "--at", "2026-03-15T14:30:22Z"];
    left.type_here(&plan).ends(4);
    let list = left.type_here(&["stack", "list"]).ends(0).out;
    assert_eq!(list, "shop was never moved as one.\n");
}

async fn a_plan_that_was_approved_is_carried_out(kind: &str) {
    let left = shop(kind).await;
    deploy(&left, ["v1", "v1", "v1"]).ends(0);
    deploy(&left, ["v2", "v2", "-"]).ends(0);
    let plan = left.type_here(&["stack", "preview", "--json"]).ends(0).out;
    let file = left.kept().join("plan.json");
    std::fs::write(&file, plan).unwrap();
    let file = file.to_str().unwrap();
    left.type_here(&["stack", "execute", file, "--yes"]).ends(0);
    assert_eq!(live(&left), ["v1", "v1", "v1"]);
    let stale = left.type_here(&["stack", "execute", file, "--yes"]).ends(6);
    assert!(stale.err.contains("type it again"), "{}", stale.err);
    let other = left.type_here(&["execute", file, "--yes"]).ends(2);
    assert!(
        other.err.contains("is no plan of preview --json"),
        "{}",
        other.err
    );
}

async fn a_first_group_begins_a_history(kind: &str) {
    let left = shop(kind).await;
    let there = left.kept().join("new");
    let store = format!("{kind}:{}", there.display());
    for args in [
        ["stack", "deploy", "db@web-1=v1", "foo@bar=v1", "--yes"].as_slice(),
        &["stack", "list"],
        &["stack", "rollback", "--yes"],
    ] {
        left.type_(&store, args).ends(7);
        assert!(!there.exists(), "{args:?}");
    }
    left.type_(&store, &["stack", "deploy", "db@web-1=v1", "--yes"])
        .ends(0);
    assert!(there.exists());
}

on_both_stores!(
    a_stack_is_deployed_as_one_and_what_is_not_named_is_left_alone,
    all_go_back_because_of_one,
    a_stack_answers_programs,
    what_a_group_left_is_deployed_anew,
    nothing_moves_while_nobody_says_so,
    a_plan_that_was_approved_is_carried_out,
    a_first_group_begins_a_history,
);
