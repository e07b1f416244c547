//! Policies, holds and marks: what is set, what is taken back, and what is in the way.

use crate::left::Left;

async fn a_reset_sets_nothing_beside(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["configure", "--rollback", "off"]).ends(0);
    for other in [
        ["--rollback", "auto"],
        ["--keep-records", "3"],
        ["--keep-days", "3"],
        ["--hold-after-rollback", "true"],
    ] {
        let args = ["configure", "--reset", other[0], other[1]];
        let refused = left.type_here(&args).ends(2);
        assert!(refused.err.contains(other[0]), "{}", refused.err);
        assert!(refused.err.contains("cannot be used with"));
    }
    assert!(
        left.type_here(&["status"])
            .out
            .contains("rollback      off")
    );
    left.type_here(&["configure", "--reset", "--dry-run"])
        .ends(0);
    left.type_here(&["configure", "--reset"]).ends(0);
    assert!(
        left.type_here(&["status"])
            .out
            .contains("rollback      auto")
    );
}

on_both_stores!(a_reset_sets_nothing_beside);
