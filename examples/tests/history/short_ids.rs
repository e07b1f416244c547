//! Short ids: shown, taken, and refused where they may mean several.

use rollback_core::deployment::Outcome;
use rollback_core::history::Then;
use rollback_testkit::store_suite::{holder, sample, settlement};
use serde_json::Value;

use crate::left::Left;

/// Two that are alike for eleven digits, and others.
const IDS: [&str; 5] = [
    "deploy-20260315-143022-a3f2b901c4d5e6f7",
    "deploy-20260315-143059-a3f2b901c4ffffff",
    "deploy-20260401-080000-0123456789abcdef",
    "deploy-20260402-080000-deadbeef01234567",
    "deploy-20260403-080000-beef",
];
const SHORT: [&str; 5] = [
    "a3f2b901c4d",
    "a3f2b901c4f",
    "01234567",
    "deadbeef",
    "deploy-20260403-080000-beef",
];

/// A history of those ids, oldest first, on two workloads.
async fn recorded(kind: &str) -> Left {
    let left = Left::nothing_but(kind).await;
    let store = left.open().await;
    for (n, id) in IDS.iter().enumerate() {
        let mut new = sample(["api@web-1", "db@web-1"][n % 2], n as u64);
        new.id = id.parse().unwrap();
        let version = store.workload(&new.workload).await.unwrap().version;
        let begun = store.begin(&new, &holder(), version).await.unwrap();
        let ended = settlement(&new.id, Outcome::Failed);
        let at = new.opened_at;
        let done = store.finish(&begun.lease, &[], &ended, at, &Then::Release);
        done.await.unwrap();
    }
    left
}

fn is_pinned(left: &Left, id: &str) -> bool {
    let shown = left.type_here(&["show", id, "--json"]).ends(0);
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["id"], id, "as JSON, ids are whole");
    shown["annotations"]["pinned"] == true
}

async fn the_shortest_unique_form_is_shown(kind: &str) {
    let left = recorded(kind).await;
    let newest_first: Vec<&str> = SHORT.into_iter().rev().collect();
    assert_eq!(left.type_here(&["list"]).ends(0).shown_ids(), newest_first);
    // Unique in the history, not only on the page.
    for page in [["list", "api"].as_slice(), &["list", "--limit", "1"]] {
        for shown in left.type_here(page).ends(0).shown_ids() {
            assert!(SHORT.contains(&shown.as_str()), "{shown}");
        }
    }
    let whole: Vec<String> = IDS.into_iter().rev().map(str::to_owned).collect();
    assert_eq!(left.ids(), whole);
    let stats = left.type_here(&["stats"]).ends(0).out;
    assert!(stats.contains("\n  a3f2b901c4d  so it ended"), "{stats}");
    for (short, id) in SHORT.into_iter().zip(IDS) {
        let shown = left.type_here(&["show", short]).ends(0).out;
        assert_eq!(shown.lines().next(), Some(id));
    }
}

async fn what_may_mean_several_or_none_changes_nothing(kind: &str) {
    let left = recorded(kind).await;
    for typed in ["a3f2", "a3f2b901c4", "deploy-20260315-1430"] {
        let refused = left.type_here(&["pin", typed]).ends(2);
        assert_eq!(
            refused.err,
            format!(
                "history: {typed} may be any of 2 deployments; nothing was changed; type more of\n  \
                 {}\n  {}\n",
                IDS[1], IDS[0]
            )
        );
    }
    for typed in ["ffff", "deploy-20270101", "deploy-20260403-080000-beefbeef"] {
        let refused = left.type_here(&["mark-bad", typed, "leaks"]).ends(7);
        let said =
            format!("history: no deployment is {typed}; nothing was changed; the newest are");
        assert!(refused.err.starts_with(&said), "{}", refused.err);
        assert!(refused.err.contains(IDS[4]), "{}", refused.err);
    }
    let refused = left.type_here(&["compare", "0123", "a3f2"]).ends(2);
    assert!(refused.err.contains("a3f2 may be any"), "{}", refused.err);
    for typed in ["a3f", "DEAD", "v1.2"] {
        let refused = left.type_here(&["pin", typed]).ends(2);
        assert!(refused.err.contains("4 digits or more"), "{}", refused.err);
    }
    assert!(IDS.iter().all(|id| !is_pinned(&left, id)));
    left.type_here(&["pin", "a3f2b901c4f"]).ends(0);
    assert!(is_pinned(&left, IDS[1]) && !is_pinned(&left, IDS[0]));
}

async fn every_command_takes_what_the_list_shows(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
    let (ids, list) = (left.ids(), left.type_here(&["list"]).ends(0));
    let short = list.shown_ids();
    assert!(short.iter().all(|s| s.len() < 12), "{}", list.out);
    let (v1, v2, v4) = (&*short[0], &*short[1], &*short[2]);
    let compared = left.type_here(&["compare", v2, v1]).ends(0);
    let whole = left.type_here(&["compare", &ids[1], &ids[0]]).ends(0);
    assert_eq!(compared.out, whole.out);
    for args in [
        ["pin", v4].as_slice(),
        &["unpin", v4],
        &["note", v4, "well"],
        &["mark-bad", v4, "leaks"],
        &["clear-bad", v4],
    ] {
        left.type_here(args).ends(0);
    }
    let said = left.type_here(&["preview", v4]).ends(0).out;
    assert!(said.contains(&ids[2]), "{said}");
    left.type_here(&["rollback", v4, "--yes"]).ends(0);
    assert_eq!(left.live(), "v4");
    left.type_here(&["redeploy", v2, "--yes"]).ends(0);
    assert_eq!(left.live(), "v2");
    assert_eq!(left.type_here(&["rollback", v2, "--yes"]).code, 4, "live");
}

on_both_stores!(
    the_shortest_unique_form_is_shown,
    what_may_mean_several_or_none_changes_nothing,
    every_command_takes_what_the_list_shows,
);
