//! A workload is never bricked: what cannot be read is given up by an authorised, recorded way out,
//! and nothing of it is removed.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;

use rollback_core::deployment::{LiveRecord, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Abandonment, HistoryReader, HistoryStore, Then, WasAmended};
use rollback_core::id::{Actor, WorkloadId};
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{at, sample, settlement};
use support::{begin, files, listed, open, record, reseal, settle, settled};

fn abandonment() -> Abandonment {
    Abandonment::new(
        Actor::user("ann").unwrap(),
        at(50),
        "it cannot be recovered".parse().unwrap(),
    )
}

fn api() -> WorkloadId {
    "api@web-1".parse().unwrap()
}

/// One settled deployment and one whose holder has died.
async fn left_by_the_dead(root: &Path) -> (JsonStore, [rollback_core::id::DeploymentId; 2]) {
    let store = open(root).await;
    let first = settled(&store, "api@web-1", 1).await.remove(0);
    let new = sample("api@web-1", 21);
    let lease = begin(&store, &new).await.lease;
    let event = TimedEvent::new(at(22), Event::PrepareIntended);
    store.append(&lease, &[event]).await.unwrap();
    drop(lease);
    (store, [first, new.id])
}

#[tokio::test]
async fn what_had_been_committed_before_and_not_carried_out_was_thrown_away_by_abandon() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let failed = settled(&store, "api@web-1", 1).await.remove(0);
    let first = sample("api@web-1", 21);
    let lease = begin(&store, &first).await.lease;
    let back = sample("api@web-1", 31);
    let end = settlement(&first.id, Outcome::Failed);
    let then = Then::Open(Box::new(back.clone()));
    let done = store
        .finish(&lease, &[], &end, at(32), &then)
        .await
        .unwrap();
    // Both leases share the guard.
    drop((done, lease));
    // As it was committed, by one who was killed at once: the first has no end in its file, and the
    // successor has no name.
    let (ended, opened) = (record(dir.path(), &first.id), record(dir.path(), &back.id));
    let text = fs::read_to_string(&ended).unwrap();
    let open_text = fs::read_to_string(&opened).unwrap();
    let events = text.find("  \"events\"").unwrap();
    let began = open_text.find("  \"events\"").unwrap();
    let mut unended = format!("{}{}", &text[..events], &open_text[began..]);
    for field in ["outcome", "health", "duration_ms"] {
        let line = |text: &str| {
            let name = format!("  \"{field}\":");
            text.lines()
                .find(|l| l.starts_with(&name))
                .unwrap()
                .to_owned()
        };
        unended = unended.replacen(&line(&text), &line(&open_text), 1);
    }
    fs::write(&ended, reseal(&unended)).unwrap();
    let half = opened.with_file_name(format!(".new-{}.json", back.id));
    fs::rename(&opened, half).unwrap();
    let place = dir.path().join("workloads/api@web-1");
    fs::remove_file(place.join("ended")).unwrap();
    // Nothing of it can be carried out: its first line has no place to go.
    fs::remove_dir_all(place.join("index")).unwrap();
    fs::create_dir_all(place.join("index/000000.jsonl")).unwrap();
    let store = open(dir.path()).await;
    let abandoned = store.abandon(&api(), &abandonment()).await.unwrap();
    assert_eq!(abandoned, back.id);
    for wrong in [true, false] {
        if !wrong {
            fs::remove_dir_all(place.join("index")).unwrap();
        }
        let store = open(dir.path()).await;
        let ended = store.get(&first.id).await.unwrap().unwrap();
        assert_eq!(ended.outcome(), Some(Outcome::Failed));
        let ended = store.get(&back.id).await.unwrap().unwrap();
        assert_eq!(ended.outcome(), Some(Outcome::Interrupted));
        assert!(store.get(&failed).await.unwrap().is_some());
    }
    given_up(&store).await;
}

/// Nothing is in flight, live is not known, who did it is on record, and it can be deployed.
async fn given_up(store: &JsonStore) {
    let state = store.workload(&api()).await.unwrap();
    assert!(state.in_flight.is_none());
    assert_eq!(state.live, LiveRecord::Unknown);
    let last = state.amendments.last().unwrap();
    assert!(
        matches!(last.what, WasAmended::Abandoned { .. }),
        "{last:?}"
    );
    let error = store.abandon(&api(), &abandonment()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    settle(store, &sample("api@web-1", 71)).await;
}

#[tokio::test]
async fn a_deployment_in_flight_that_recovery_cannot_end_bricked_its_workload() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [_, id]) = left_by_the_dead(dir.path()).await;
    assert_eq!(store.abandon(&api(), &abandonment()).await.unwrap(), id);
    let ended = store.get(&id).await.unwrap().unwrap();
    assert_eq!(ended.outcome(), Some(Outcome::Interrupted));
    given_up(&store).await;
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_living_holders_deployment_is_not_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let new = sample("api@web-1", 1);
    let begun = begin(&store, &new).await;
    let error = store.abandon(&api(), &abandonment()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    // Nor where the state is damaged.
    let state = dir.path().join("workloads/api@web-1/state.json");
    fs::write(&state, "{").unwrap();
    let error = store.abandon(&api(), &abandonment()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    assert_eq!(fs::read_to_string(&state).unwrap(), "{");
    drop(begun);
}

#[tokio::test]
async fn a_record_in_flight_that_cannot_be_read_bricked_its_workload() {
    let dir = tempfile::tempdir().unwrap();
    let (store, [_, id]) = left_by_the_dead(dir.path()).await;
    let file = record(dir.path(), &id);
    fs::write(&file, "{").unwrap();
    assert_eq!(store.abandon(&api(), &abandonment()).await.unwrap(), id);
    given_up(&store).await;
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "{",
        "it was left as it is"
    );
    let faults = store.verify().await.unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    // Until it is forgotten.
    assert_eq!(store.forget(std::slice::from_ref(&id)).await.unwrap(), 1);
    let aside = dir.path().join(format!("quarantine/api@web-1.{id}.json"));
    assert_eq!(fs::read_to_string(&aside).unwrap(), "{");
    fs::remove_file(aside).unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_lost_or_damaged_state_bricked_its_workload() {
    for damage in [None, Some("{"), Some("")] {
        let dir = tempfile::tempdir().unwrap();
        let (store, [first, id]) = left_by_the_dead(dir.path()).await;
        let before = store.workload(&api()).await.unwrap();
        let greatest = store.get(&id).await.unwrap().unwrap().sequence();
        let state = dir.path().join("workloads/api@web-1/state.json");
        match damage {
            Some(text) => fs::write(&state, text).unwrap(),
            None => fs::remove_file(&state).unwrap(),
        }
        let records = files(&dir.path().join("workloads/api@web-1/records"));
        assert_eq!(store.abandon(&api(), &abandonment()).await.unwrap(), id);
        assert_eq!(
            files(&dir.path().join("workloads/api@web-1/records")),
            records
        );
        let after = store.workload(&api()).await.unwrap();
        assert!(after.version > before.version);
        given_up(&store).await;
        let (shown, unreadable) = listed(&store).await;
        assert_eq!(shown.len(), 3);
        assert_eq!(shown[1..], [id.clone(), first]);
        assert_eq!(unreadable, [] as [String; 0]);
        let newest = store.get(&shown[0]).await.unwrap().unwrap();
        assert!(newest.sequence() > greatest);
        let faults = store.verify().await.unwrap();
        assert_eq!(faults.len(), usize::from(damage.is_some()), "{faults:?}");
        if let Some(text) = damage {
            let aside = dir.path().join("quarantine/api@web-1.state.json");
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
        }
    }
}
