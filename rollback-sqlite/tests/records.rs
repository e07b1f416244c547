//! Records in the file that this library never wrote: each is refused alone, and hides no other.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use rollback_core::deployment::{Opening, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    Amend, Annotation, HistoryReader, HistoryStore, Query, Then, Version,
};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, by_ann, holder, note, sample, settlement};
use rusqlite::params;
use support::{ByHand, by_hand, reseal};

/// Three settled records; the middle one is what a test tampers with.
struct Three {
    _dir: tempfile::TempDir,
    path: PathBuf,
    store: SqliteStore,
    all: [Opening; 3],
}

impl Three {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let all = ["a@x", "b@x", "c@x"].map(|name| sample(name, 1));
        for new in &all {
            let begun = store.begin(new, &holder(), Version(0)).await.unwrap();
            let event = Event::PrepareIntended;
            let step = TimedEvent::new(at(2), event);
            store.append(&begun.lease, &[step]).await.unwrap();
            let end = settlement(&new.id, Outcome::Succeeded);
            let done = store.finish(&begun.lease, &[], &end, at(3), &Then::Release);
            done.await.unwrap();
        }
        Self {
            _dir: dir,
            path,
            store,
            all,
        }
    }

    fn connection(&self) -> ByHand {
        by_hand(&self.path)
    }

    fn header(&self) -> String {
        let sql = "SELECT header FROM deployments WHERE sequence = 2";
        self.connection().query_row(sql, [], |r| r.get(0)).unwrap()
    }

    fn set_header(&self, text: &str) {
        let sql = "UPDATE deployments SET header = ?1 WHERE sequence = 2";
        self.connection().execute(sql, [text]).unwrap();
    }

    fn set_event(&self, text: &str) {
        let sql = "UPDATE events SET body = ?1 WHERE deployment = 2 AND ordinal = 0";
        self.connection().execute(sql, [text]).unwrap();
    }

    /// The middle one is named as unreadable; the others, and work on them, are as ever.
    async fn only_the_middle_one_is_unreadable(&self, what: &str) {
        let page = self.store.list(&Query::default()).await.unwrap();
        let ids: Vec<_> = page.deployments.iter().map(|d| d.id()).collect();
        assert_eq!(ids, [&self.all[2].id, &self.all[0].id], "{what}");
        assert_eq!(page.unreadable.len(), 1, "{what}");
        let middle = &self.all[1].id;
        assert!(
            page.unreadable[0].to_string().contains(middle.as_str()),
            "{what}: {:?}",
            page.unreadable
        );
        let error = self.store.get(middle).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{what}");
        assert!(
            error.to_string().contains("; "),
            "{what}: no advice: {error}"
        );
        assert!(error.to_string().len() < 1_000, "{what}: too long");
        let seen = Annotation::Note(note("seen"));
        let error = self.store.annotate(middle, &seen).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{what}");
        self.store.annotate(&self.all[0].id, &seen).await.unwrap();
        assert_eq!(
            self.store.workloads().await.unwrap().states.len(),
            3,
            "{what}"
        );
        assert_eq!(self.store.stats(&Query::default()).await.unwrap().total, 3);
        let faults = self.store.verify().await.unwrap();
        assert!(
            faults
                .iter()
                .any(|f| f.to_string().contains(middle.as_str())),
            "{what}"
        );
        let elsewhere = [&self.all[0].id, &self.all[2].id];
        let named = |f: &rollback_core::history::Fault| {
            elsewhere
                .iter()
                .any(|id| f.to_string().contains(id.as_str()))
        };
        assert!(!faults.iter().any(named), "{what}: {faults:?}");
    }
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn a_header_that_cannot_be_is_that_records_trouble_alone() {
    let three = Three::new().await;
    let header = three.header();
    let big = "x".repeat(2 * 1024 * 1024);
    let bad = [
        ("truncated", header[..header.len() / 2].to_owned()),
        ("empty", String::new()),
        ("no object", "[]".to_owned()),
        ("two values", format!("{header}{header}")),
        ("edited to a wrong type", header.replacen("\"b@x\"", "7", 1)),
        (
            "edited to no id",
            header.replacen("\"b@x\"", "\"../b@x\"", 1),
        ),
        (
            "a field missing",
            header.replacen("\"workload\"", "\"w\"", 1),
        ),
        (
            "a field twice",
            header.replacen('{', "{\"workload\":\"b@x\",", 1),
        ),
        (
            "an unknown trigger",
            header.replacen("\"deploy\"", "\"teleport\"", 1),
        ),
        (
            "oversized",
            header.replacen('{', &format!("{{\"more\":\"{big}\","), 1),
        ),
        (
            "nested",
            header.replacen('{', &format!("{{\"more\":{},", nested(200)), 1),
        ),
        ("nested past any stack", nested(1_000_000)),
    ];
    for (what, text) in bad {
        assert_ne!(text, header, "{what}");
        three.set_header(&text);
        three.only_the_middle_one_is_unreadable(what).await;
    }
    // Nothing was lost: put right, it is read again.
    three.set_header(&header);
    let record = three.store.get(&three.all[1].id).await.unwrap().unwrap();
    assert_eq!(record.opening(), &three.all[1]);
    assert_eq!(three.store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn an_event_that_cannot_be_is_that_records_trouble_alone() {
    let three = Three::new().await;
    let big = "x".repeat(2 * 1024 * 1024);
    let at = at(2).as_microsecond();
    let time = "2023-11-14T22:13:22Z";
    let event = |rest: &str| format!("{{\"at\":\"{time}\",\"event\":{rest}}}");
    for (what, text) in [
        (
            "of a newer version",
            event("\"teleported\",\"to\":\"mars\""),
        ),
        (
            "twice named",
            event("\"prepare_intended\",\"event\":\"retired\""),
        ),
        (
            "a field twice",
            event("\"taken_over\",\"decision\":\"a\",\"decision\":\"b\""),
        ),
        (
            "truncated",
            event("\"prep").trim_end_matches('}').to_owned(),
        ),
        (
            "oversized",
            event(&format!("\"taken_over\",\"decision\":\"{big}\"")),
        ),
        (
            "nested",
            event(&format!("\"taken_over\",\"decision\":{}", nested(200))),
        ),
        ("out of order", event("\"retired\"")),
    ] {
        three.set_event(&text);
        three.only_the_middle_one_is_unreadable(what).await;
    }
    three.set_event(&event("\"prepare_intended\""));
    let record = three.store.get(&three.all[1].id).await.unwrap().unwrap();
    assert_eq!(record.events()[0].at.as_microsecond(), at);
}

#[tokio::test]
async fn a_header_that_a_newer_version_wrote_is_not_called_damaged() {
    let three = Three::new().await;
    let header = three.header();
    let newer = header.replacen("\"record_version\":2", "\"record_version\":99", 1);
    three.set_header(&newer.replacen("\"trigger\":\"deploy\"", "\"trigger\":\"teleport\"", 1));
    let error = three.store.get(&three.all[1].id).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NewerSchema, "{error}");
    assert!(error.to_string().contains("version 99"), "{error}");
    let page = three.store.list(&Query::default()).await.unwrap();
    assert_eq!((page.deployments.len(), page.unreadable.len()), (2, 1));
}

/// The parser takes the last of two equal keys of a map in silence.
#[tokio::test]
async fn doubled_keys_of_a_map_and_deep_nesting_are_found_by_verify() {
    let three = Three::new().await;
    let header = three.header();
    for (what, text) in [
        (
            "twice",
            header.replacen("\"labels\":{", "\"labels\":{\"team\":\"edge\",", 1),
        ),
        (
            "deeper",
            header.replacen('{', &format!("{{\"more\":{},", nested(40)), 1),
        ),
    ] {
        assert_ne!(text, header);
        three.set_header(&text);
        reseal(&three.path);
        let faults = three.store.verify().await.unwrap();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].what.contains(what), "{faults:?}");
        assert!(
            faults[0].what.contains(three.all[1].id.as_str()),
            "{faults:?}"
        );
        // What is read meanwhile is the record all the same.
        let record = three.store.get(&three.all[1].id).await.unwrap().unwrap();
        assert_eq!(record.opening(), &three.all[1], "{what}");
    }
}

#[tokio::test]
async fn fields_of_a_newer_version_are_passed_over_and_kept() {
    let three = Three::new().await;
    let header = three
        .header()
        .replacen('{', "{\"mood\":{\"of\":\"mars\"},", 1);
    three.set_header(&header);
    let id = &three.all[1].id;
    let sql = "UPDATE deployments SET annotations = ?1 WHERE id = ?2";
    let newer = "{\"pinned\":true,\"bad\":\"no\",\"stars\":5}";
    let edit = three.connection();
    edit.execute(sql, params![newer, id.as_str()]).unwrap();
    edit.execute(
        "UPDATE deployments SET pinned = 1 WHERE id = ?1",
        [id.as_str()],
    )
    .unwrap();
    drop(edit);
    reseal(&three.path);
    let record = three.store.get(id).await.unwrap().unwrap();
    assert_eq!(record.opening(), &three.all[1]);
    assert!(record.annotations().pinned);
    // A change keeps what it does not know.
    three
        .store
        .annotate(id, &Annotation::ClearBad)
        .await
        .unwrap();
    assert_eq!(three.header(), header);
    let kept: String = three
        .connection()
        .query_row(
            "SELECT annotations FROM deployments WHERE id = ?1",
            [id.as_str()],
            |r| r.get(0),
        )
        .unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept, serde_json::json!({"pinned": true, "stars": 5}));
    assert_eq!(three.store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_recall_that_was_too_long_made_its_workload_unreadable_for_good() {
    let three = Three::new().await;
    let of = three.all[0].workload.clone();
    let version = three.store.workload(&of).await.unwrap().version;
    let recall = Amend::Recall {
        artifact: "x".repeat(2 * 1024 * 1024),
        why: "it leaks".parse().unwrap(),
    };
    let refused = three.store.amend(&of, version, &by_ann(recall, 9)).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::TooLarge);
    let state = three.store.workload(&of).await.unwrap();
    assert_eq!((state.version, state.recalls.len()), (version, 0));
}
