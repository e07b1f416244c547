//! The first deployment begins a history, wherever one can be and what to deploy is known.

use std::fs;

use crate::left::{Left, Typed};

async fn adopt_begins_a_history_where_there_is_none_yet(kind: &str) {
    let left = Left::with(kind).await;
    let new = left.kept().join("new");
    fs::create_dir(&new).unwrap();
    fs::copy(
        left.kept().join("workloads.json"),
        new.join("workloads.json"),
    )
    .unwrap();
    let (place, store) = match kind {
        "sqlite" => ("history.db", "history.db"),
        _ => ("history", "json:history"),
    };
    let type_there = |args: &[&str]| {
        let mut command = left.command(store, args);
        Typed::of(command.current_dir(&new).output().unwrap())
    };
    type_there(&["list"]).ends(7);
    assert!(!new.join(place).exists(), "what reads begins nothing");
    type_there(&["adopt"]).ends(0);
    assert!(new.join(place).exists());
    let list = type_there(&["list"]).ends(0);
    assert!(list.out.contains("adopt"), "{}", list.out);
    type_there(&["deploy", "v1", "--yes"]).ends(0);
}

async fn a_typing_error_begins_no_history(kind: &str) {
    let left = Left::with(kind).await;
    let empty = left.kept().join("empty");
    fs::create_dir(&empty).unwrap();
    let workloads = left.kept().join("workloads.json");
    let known = ["--config", workloads.to_str().unwrap()];
    for store in ["histroy.db", "json:histroy", "nowhere/history.db"] {
        for (args, known) in [
            // It is not known how to deploy anything there.
            (["adopt"].as_slice(), [].as_slice()),
            (&["deploy", "v1", "--yes"], &[]),
            (&["adopt", "--workload", "other@web-1"], &known),
        ] {
            let mut command = left.command(store, &[args, known].concat());
            Typed::of(command.current_dir(&empty).output().unwrap()).ends(7);
            assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "{store} {args:?}");
        }
    }
}

on_both_stores!(
    adopt_begins_a_history_where_there_is_none_yet,
    a_typing_error_begins_no_history,
);
