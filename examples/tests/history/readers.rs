//! Whoever reads what is written may stop early, or have no room for it.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::left::{Left, Typed};

async fn a_reader_who_stops_early_is_no_trouble(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    for args in [
        ["list"].as_slice(),
        &["list", "--json"],
        &["status"],
        &["stats"],
        &["deploy", "v1", "--yes"],
        &["preview"],
        &["rollback", "--yes"],
    ] {
        let (reads, writes) = std::io::pipe().unwrap();
        drop(reads);
        let mut command = left.command(&left.store, args);
        let output = command.stdin(Stdio::null()).stdout(writes).output();
        let typed = Typed::of(output.unwrap());
        assert!(!typed.err.contains("panicked"), "{}", typed.err);
        assert!(!typed.err.contains("pipe"), "{args:?}: {}", typed.err);
        typed.ends(0);
    }
    assert_eq!(left.live(), "v2", "what was to be done was done");
}

async fn no_room_for_the_answer_is_said(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = left.command(&left.store, &["list"]);
    let output = command.stdin(Stdio::null()).stdout(full).output();
    let typed = Typed::of(output.unwrap()).ends(1);
    assert!(
        typed.err.contains("could not be written: No space left"),
        "{}",
        typed.err
    );
}

on_both_stores!(
    a_reader_who_stops_early_is_no_trouble,
    no_room_for_the_answer_is_said,
);
