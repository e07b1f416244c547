//! What is on record and what is live now are told apart, and the way out of a difference works.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::left::Left;

/// v2, and then v1, were deployed; and where v2 is.
async fn deployed(kind: &str) -> (Left, PathBuf) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    let v2 = linked(&left);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    (left, v2)
}

fn status(left: &Left) -> String {
    left.type_here(&["status"]).ends(0).out
}

/// Has another directory live, as somebody might by hand.
fn relink(left: &Left, to: &Path) {
    let link = left.kept().join("site/current");
    fs::remove_file(&link).unwrap();
    symlink(to, link).unwrap();
}

/// The directory that is live.
fn linked(left: &Left) -> PathBuf {
    fs::read_link(left.kept().join("site/current")).unwrap()
}

/// What `status` says to type to put back what is on record.
fn advised(status: &str) -> Vec<String> {
    let (_, rest) = status.split_once("rollback ").unwrap();
    let (typed, _) = rest.split_once(" to put back").unwrap();
    typed.split(' ').map(str::to_owned).collect()
}

fn put_back(left: &Left, status: &str) -> Vec<String> {
    let typed = advised(status);
    let mut args = vec!["rollback", "--yes"];
    args.extend(typed.iter().map(String::as_str));
    left.type_here(&args).ends(0);
    typed
}

async fn a_verdict_on_record_is_not_said_of_today(kind: &str) {
    let (left, _) = deployed(kind).await;
    let said = status(&left);
    assert!(said.contains("healthy when deployed just now"), "{said}");
    assert!(said.contains("\n  now           healthy\n"), "{said}");
    left.configure(|entry| entry["health"] = "http://127.0.0.1:9/".into());
    let said = status(&left);
    assert!(said.contains("healthy when deployed just now"), "{said}");
    assert!(said.contains("now           unhealthy: GET "), "{said}");
    left.configure(|entry| entry["workload"] = "other@web-1".into());
    let said = status(&left);
    assert!(said.contains("now           cannot be seen: "), "{said}");
    assert!(said.contains("has no api@web-1; it has other@web-1"));
}

async fn what_was_put_in_its_place_is_adopted_or_put_back(kind: &str) {
    let (left, v2) = deployed(kind).await;
    relink(&left, &v2);
    let said = status(&left);
    assert!(said.contains("on record     v1 ("), "{said}");
    assert!(said.contains("now           v2 ("), "{said}");
    assert!(said.contains("adopt to keep what is there"), "{said}");
    put_back(&left, &said);
    assert_eq!(left.live(), "v1");
    assert!(!status(&left).contains("drift"));
    relink(&left, &v2);
    left.type_here(&["adopt"]).ends(0);
    let said = status(&left);
    assert!(!said.contains("drift"), "{said}");
    assert!(said.contains("on record     v2 ("), "{said}");
    assert!(said.contains("when adopted just now"), "{said}");
}

async fn what_is_gone_is_put_back(kind: &str) {
    let (left, _) = deployed(kind).await;
    fs::remove_file(left.kept().join("site/current")).unwrap();
    let said = status(&left);
    assert!(said.contains("now           nothing is live"), "{said}");
    assert!(!said.contains("adopt"), "{said}");
    put_back(&left, &said);
    assert_eq!(left.live(), "v1");
}

async fn another_copy_of_the_same_release_is_reapplied(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    let first = linked(&left);
    left.type_here(&["redeploy", &left.ids()[0], "--yes"])
        .ends(0);
    relink(&left, &first);
    let said = status(&left);
    assert!(said.contains("drift"), "{said}");
    assert_eq!(put_back(&left, &said).pop().unwrap(), "--reapply");
    assert!(!status(&left).contains("drift"));
}

async fn what_nobody_put_on_record_is_to_be_adopted(kind: &str) {
    let left = Left::with(kind).await;
    let said = status(&left);
    assert!(said.contains("on record     nothing"), "{said}");
    assert!(said.contains("now           v4 ("), "{said}");
    assert!(said.contains("adopt puts it on record"), "{said}");
}

on_both_stores!(
    a_verdict_on_record_is_not_said_of_today,
    what_was_put_in_its_place_is_adopted_or_put_back,
    what_is_gone_is_put_back,
    another_copy_of_the_same_release_is_reapplied,
    what_nobody_put_on_record_is_to_be_adopted,
);
