//! Undo and redo of one workload.

use serde_json::Value;

use crate::left::Left;

async fn changes_are_undone_one_after_the_other_and_done_again(kind: &str) {
    let left = Left::with(kind).await;
    for version in ["v1", "v2", "v4"] {
        left.type_here(&["deploy", version, "--yes"]).ends(0);
    }
    let ids = left.ids();
    let preview = left.type_here(&["preview", "--undo"]).ends(0).out;
    assert!(
        preview.contains(&format!("\n  undoes:     {}\n", ids[0])),
        "{preview}"
    );
    assert_eq!(left.live(), "v4", "a preview moves nothing");
    for expected in ["v2", "v1"] {
        left.type_here(&["undo", "--yes"]).ends(0);
        assert_eq!(left.live(), expected);
    }
    let shown = left.type_here(&["show", &left.ids()[0]]).ends(0).out;
    assert!(
        shown.contains(&format!("\npurpose         undoes {}\n", ids[1])),
        "{shown}"
    );
    let refused = left.type_here(&["undo", "--yes"]).ends(4);
    let said = format!("history: api@web-1 cannot go back to before {}: ", ids[2]);
    assert!(refused.err.starts_with(&said), "{}", refused.err);
    assert!(
        refused.err.contains("nothing was changed"),
        "{}",
        refused.err
    );
    let preview = left.type_here(&["preview", "--redo"]).ends(0).out;
    assert!(
        preview.contains(&format!("\n  redoes:     {}\n", ids[1])),
        "{preview}"
    );
    for expected in ["v2", "v4"] {
        left.type_here(&["redo", "--yes"]).ends(0);
        assert_eq!(left.live(), expected);
    }
    let shown = left.type_here(&["show", &left.ids()[0]]).ends(0).out;
    assert!(
        shown.contains(&format!("\npurpose         does {} again\n", ids[0])),
        "{shown}"
    );
}

async fn nothing_to_undo_or_redo_is_said(kind: &str) {
    let left = Left::with(kind).await;
    let refused = left.type_here(&["undo", "--yes"]).ends(4);
    let said = "history: there is nothing to undo on api@web-1; nothing was changed\n";
    assert_eq!(refused.err, said);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.type_here(&["undo", "--yes"]).ends(0);
    left.type_here(&["deploy", "v4", "--yes"]).ends(0);
    for args in [["redo", "--yes"].as_slice(), &["preview", "--redo"]] {
        let refused = left.type_here(args).ends(4);
        let said = "history: there is nothing to redo on api@web-1: nothing was undone, or \
                    something new was done since; nothing was changed\n";
        assert_eq!(refused.err, said);
    }
    assert_eq!(left.live(), "v4");
}

async fn undo_asks_first_and_answers_programs(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    let undone = &left.ids()[0];
    let refused = left.type_here(&["undo"]).ends(4);
    assert!(
        refused.err.contains("nobody is here to ask"),
        "{}",
        refused.err
    );
    let typed = left
        .type_here(&["undo", "--yes", "--json", "--reason", "slow"])
        .ends(0);
    let told: Value = serde_json::from_str(&typed.out).unwrap();
    assert_eq!(told["deployment"]["purpose"]["for"], "undo");
    assert_eq!(told["deployment"]["purpose"]["change"], undone.as_str());
    assert_eq!(told["deployment"]["reason"], "slow");
    for args in [
        ["preview", "--undo", "--redo"].as_slice(),
        &["preview", "--undo", "--previous"],
        &["preview", "--redo", undone],
        &["undo", undone],
        &["redo", "--workload", "foo"],
    ] {
        left.type_here(args).ends(2);
    }
    left.type_here(&["undo", "--workload", "foo@bar", "--yes"])
        .ends(7);
}

on_both_stores!(
    changes_are_undone_one_after_the_other_and_done_again,
    nothing_to_undo_or_redo_is_said,
    undo_asks_first_and_answers_programs,
);
