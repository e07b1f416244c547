//! What goes is named and asked about first, and why the rest stays is said.

use crate::left::Left;

/// v4 was adopted, then v1, v2, v3 and its automatic rollback, and v1 were deployed.
async fn deployed(kind: &str) -> Left {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.type_here(&["deploy", "v3", "--yes"]).ends(3);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    left
}

async fn nothing_goes_unasked(kind: &str) {
    let left = deployed(kind).await;
    let ids = left.ids();
    let asked = left.type_here(&["cleanup", "1", "0"]).ends(4);
    assert_eq!(asked.err, "history: nobody is here to ask; say --yes\n");
    assert!(
        asked.out.contains("api@web-1: 3 records go"),
        "{}",
        asked.out
    );
    let shown = left.type_here(&["list"]).ends(0).shown_ids();
    for (goes, release) in [(&shown[5], "v4 ("), (&shown[4], "v1 (")] {
        let line = asked.out.lines().find(|l| l.contains(goes.as_str()));
        assert!(line.unwrap().contains(release), "{}", asked.out);
    }
    let gone = "no rollback goes to these any more: v3 (";
    assert!(asked.out.contains(gone), "{}", asked.out);
    let said = "  1 is kept: the newest 1 or 0 days, whichever is more\n  \
                2 more are kept: live, last healthy, pinned, or pointed at\n";
    assert!(asked.out.contains(said), "{}", asked.out);
    assert_eq!(left.ids(), ids);
    left.type_here(&["pin", &ids[5]]).ends(0);
    let dry = left.type_here(&["cleanup", "1", "0", "--dry-run"]).ends(0);
    assert!(dry.out.contains("3 more are kept"), "{}", dry.out);
    assert!(dry.out.contains("2 records would be forgotten."));
    assert_eq!(left.ids(), ids);
    let done = left.type_here(&["cleanup", "1", "0", "--yes"]).ends(0);
    assert!(
        done.out.contains("2 records were forgotten."),
        "{}",
        done.out
    );
    assert_eq!(left.ids().len(), 4);
    let again = left.type_here(&["cleanup", "1", "0"]).ends(0);
    assert!(again.out.contains("no record goes"), "nothing to ask about");
}

async fn nothing_at_all_is_kept_by_nobody_in_a_hurry(kind: &str) {
    let left = deployed(kind).await;
    let before = left.ids();
    let refused = left.type_here(&["cleanup", "0", "0"]).ends(4);
    assert!(refused.err.contains("say --yes if that is meant"));
    left.type_here(&["cleanup", "0", "0", "--dry-run"]).ends(0);
    assert_eq!(left.ids(), before);
    left.type_here(&["cleanup", "0", "0", "--yes"]).ends(0);
    assert!(left.ids().len() < before.len());
}

async fn a_history_without_workloads_can_be_trimmed(kind: &str) {
    let left = deployed(kind).await;
    let ids = left.ids();
    std::fs::remove_file(left.kept().join("workloads.json")).unwrap();
    let asked = left.type_here(&["cleanup", "1", "0"]).ends(4);
    assert!(
        asked.out.contains("api@web-1: 3 records go"),
        "{}",
        asked.out
    );
    let said = "how this workload is deployed is not known, so what its records let go stays";
    assert!(asked.out.contains(said), "{}", asked.out);
    assert_eq!(left.ids(), ids);
    for args in [
        ["cleanup", "1", "0", "--yes"].as_slice(),
        &["cleanup", "1", "0", "--yes", "--workload", "api@web-1"],
    ] {
        left.type_here(args).ends(0);
        let left_over = left.ids();
        assert_eq!((left_over.len(), &left_over[0]), (3, &ids[0]));
    }
    left.type_here(&["cleanup", "1", "0", "--workload", "nothing@web-1"])
        .ends(7);
    left.type_here(&["verify"]).ends(0);
}

on_both_stores!(
    nothing_goes_unasked,
    nothing_at_all_is_kept_by_nobody_in_a_hurry,
    a_history_without_workloads_can_be_trimmed,
);
