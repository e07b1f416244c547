//! A workload is never bricked: what cannot be read is given up by an authorised, recorded way out,
//! and nothing of it is removed.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;

use rollback_core::deployment::{LiveRecord, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Abandonment, HistoryStore, WasAmended};
use rollback_core::id::{Actor, WorkloadId};
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{at, sample};
use support::{begin, files, listed, open, record, settle, settled};

fn abandonment() -> Abandonment {
    Abandonment {
        by: Actor::user("ann").unwrap(),
        at: at(50),
        why: "it cannot be recovered".parse().unwrap(),
    }
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
    let event = TimedEvent {
        at: at(22),
        event: Event::PrepareIntended,
    };
    store.append(&lease, &event).await.unwrap();
    drop(lease);
    (store, [first, new.id])
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
