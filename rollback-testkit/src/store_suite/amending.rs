//! Cases about what changes outside of deployments: settings, identities, what is given up.

use rollback_core::deployment::{LiveRecord, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::Event;
use rollback_core::history::{
    Abandonment, Amend, Lease, MAX_AMENDMENTS, Sequence, Version, WasAmended,
};
use rollback_core::id::{Actor, ShortText};

use super::StoreHarness;
use super::sample::{
    amend, at, begin, by_ann, holder, refused, sample, settle, settlement, timed, workload,
};

const API: &str = "api@web-1";

fn text(text: &str) -> ShortText {
    text.parse().unwrap()
}

fn abandonment() -> Abandonment {
    Abandonment::new(
        Actor::user("bob").unwrap(),
        at(8),
        text("its record is damaged"),
    )
}

pub(super) async fn a_history_keeps_its_identity(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let identity = store.identity().await.unwrap();
    assert_ne!(identity.history, identity.incarnation);
    settle(&*store, &sample(API, 1), Outcome::Succeeded, 1).await;
    store.advance(Sequence(7)).await.unwrap();
    for store in [store, other, harness.store().await] {
        assert_eq!(store.identity().await.unwrap(), identity);
    }
}

pub(super) async fn no_sequence_up_to_an_advance_is_given(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let first = begin(&*store, &sample(API, 1)).await;
    let past = Sequence(first.sequence.0 + 1_000);
    // While something is in flight, too: it goes on under its own number.
    store.advance(past).await.unwrap();
    store.advance(Sequence(0)).await.unwrap();
    let id = first.lease.deployment().clone();
    let end = settlement(&id, Outcome::Succeeded);
    let then = rollback_core::history::Then::Release;
    let done = store.finish(&first.lease, &[], &end, at(2), &then).await;
    done.unwrap();
    drop(store);
    let store = harness.store().await;
    let next = begin(&*store, &sample(API, 3)).await;
    assert!(next.sequence > past, "{} after {past}", next.sequence);
    let kept = store.get(&id).await.unwrap().unwrap();
    assert_eq!(kept.sequence(), first.sequence);
    // What is behind already needs nothing.
    store.advance(first.sequence).await.unwrap();
    let other = begin(&*store, &sample("api@web-2", 4)).await;
    assert!(other.sequence > next.sequence);
}

pub(super) async fn an_amendment_of_an_old_version_is_stale_and_changes_nothing(
    harness: &dyn StoreHarness,
) {
    let (store, other) = (harness.store().await, harness.store().await);
    settle(&*store, &sample(API, 1), Outcome::Succeeded, 1).await;
    let (api, why) = (workload(API), text("a freeze"));
    let hold = by_ann(Amend::Hold { why }, 3);
    let before = store.workload(&api).await.unwrap();
    for wrong in [0, 1, 3] {
        refused(store.amend(&api, Version(wrong), &hold).await, Kind::Stale);
    }
    refused(
        store.amend(&workload("new@web-1"), Version(1), &hold).await,
        Kind::Stale,
    );
    assert_eq!(other.workload(&api).await.unwrap(), before);
    let version = store.amend(&api, before.version, &hold).await.unwrap();
    let after = other.workload(&api).await.unwrap();
    assert_eq!(after.version, version);
    assert!(version > before.version && after.hold.is_some());
    // A plan that was made before knows nothing of it.
    let late = other
        .begin(&sample(API, 4), &holder(), before.version)
        .await;
    refused(late, Kind::Stale);
}

pub(super) async fn of_eight_amendments_at_once_exactly_one_is_made(harness: &dyn StoreHarness) {
    let api = workload(API);
    let mut tasks = Vec::new();
    for n in 0..8 {
        let (store, api) = (harness.store().await, api.clone());
        tasks.push(tokio::spawn(async move {
            let why = text(&format!("number {n}"));
            let hold = by_ann(Amend::Hold { why }, n);
            store.amend(&api, Version(0), &hold).await
        }));
    }
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(e) => assert_eq!(e.kind(), Kind::Stale, "{e}"),
        }
    }
    let state = harness.store().await.workload(&api).await.unwrap();
    assert_eq!((made, state.amendments.len()), (1, 1));
}

pub(super) async fn who_did_what_is_remembered(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let (api, why) = (workload(API), text("a freeze"));
    let ann = Actor::user("ann").unwrap();
    for (n, what) in [
        Amend::Hold { why: why.clone() },
        Amend::LiftHold,
        Amend::SetPolicy(Box::default()),
        Amend::ClearPolicy,
    ]
    .into_iter()
    .enumerate()
    {
        amend(&*store, &api, &by_ann(what, n as u64)).await.unwrap();
    }
    let state = other.workload(&api).await.unwrap();
    let said: Vec<_> = state.amendments.iter().map(|a| a.what.clone()).collect();
    let expected = [
        WasAmended::Held { why: why.clone() },
        WasAmended::HoldLifted {
            of: ann.clone(),
            why,
        },
        WasAmended::PolicySet,
        WasAmended::PolicyCleared,
    ];
    assert_eq!(said, expected);
    assert!(state.amendments.iter().all(|a| a.by == ann));
    assert_eq!(state.amendments[3].at, at(3));
    // A deployment takes none of it away, and the oldest go first.
    settle(&*store, &sample(API, 1), Outcome::Succeeded, 1).await;
    for n in 0..MAX_AMENDMENTS as u64 {
        let set = by_ann(Amend::SetPolicy(Box::default()), 100 + n);
        amend(&*store, &api, &set).await.unwrap();
    }
    let state = other.workload(&api).await.unwrap();
    assert_eq!(state.amendments.len(), MAX_AMENDMENTS);
    assert_eq!(state.amendments[0].at, at(100));
}

pub(super) async fn what_a_dead_holder_left_can_be_abandoned(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let api = workload(API);
    settle(&*store, &sample(API, 1), Outcome::Succeeded, 1).await;
    let new = sample(API, 3);
    let begun = begin(&*store, &new).await;
    let step = timed(4, Event::PrepareIntended);
    store
        .append(&begun.lease, std::slice::from_ref(&step))
        .await
        .unwrap();
    let epoch = begun.lease.epoch();
    let before = store.workload(&api).await.unwrap().version;
    harness.die(begun.lease).await;
    let given_up = other.abandon(&api, &abandonment()).await.unwrap();
    assert_eq!(given_up, new.id);
    let state = store.workload(&api).await.unwrap();
    assert_eq!((state.in_flight, state.live), (None, LiveRecord::Unknown));
    assert!(state.version > before);
    let record = store.get(&new.id).await.unwrap().unwrap();
    let expected = abandonment().settlement(record.verdict());
    assert_eq!(record.settlement(), Some(&expected));
    assert_eq!(record.settled_at(), Some(at(8)));
    let last = state.amendments.last().expect("it is remembered");
    assert_eq!((&last.by, last.at), (&abandonment().by, at(8)));
    let what = WasAmended::Abandoned {
        deployment: new.id.clone(),
        why: abandonment().why,
    };
    assert_eq!(last.what, what);
    // What a process holds that was wrongly thought dead.
    let old = Lease::new(api, new.id.clone(), epoch, ());
    refused(store.append(&old, &[step]).await, Kind::Fenced);
    refused(store.renew(&old).await, Kind::Fenced);
    // And life goes on.
    settle(&*store, &sample(API, 9), Outcome::Succeeded, 1).await;
    assert_eq!(other.verify().await.unwrap(), []);
}

pub(super) async fn nothing_is_abandoned_while_its_holder_lives(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let api = workload(API);
    refused(other.abandon(&api, &abandonment()).await, Kind::NotFound);
    settle(&*store, &sample(API, 1), Outcome::Succeeded, 1).await;
    refused(other.abandon(&api, &abandonment()).await, Kind::NotFound);
    let begun = begin(&*store, &sample(API, 2)).await;
    let before = store.workload(&api).await.unwrap();
    refused(other.abandon(&api, &abandonment()).await, Kind::Conflict);
    assert_eq!(store.workload(&api).await.unwrap(), before);
    store.renew(&begun.lease).await.unwrap();
}

pub(super) async fn deployments_are_found_by_how_their_ids_begin(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    assert!(store.find("deploy", 5).await.unwrap().is_empty());
    let mut ids = Vec::new();
    for n in 1..=4 {
        let new = sample(["api@web-1", "api@web-2"][n % 2], n as u64);
        settle(&*store, &new, Outcome::Succeeded, 1).await;
        ids.insert(0, new.id);
    }
    assert_eq!(store.find("", 100).await.unwrap(), ids);
    assert_eq!(store.find("deploy-", 3).await.unwrap(), ids[..3]);
    for id in &ids {
        for part in [id.as_str(), id.random(), &id.random()[..6]] {
            let found = store.find(part, 5).await.unwrap();
            let expected: Vec<_> = ids.iter().filter(|id| id.begins(part)).cloned().collect();
            assert!(found.contains(id) && found == expected, "{part}: {found:?}");
        }
    }
    // The last digits of a random part begin nothing.
    let end = &ids[0].random()[1..];
    let found = store.find(end, 5).await.unwrap();
    assert!(found.iter().all(|id| id.begins(end)), "{end}: {found:?}");
    for nothing in ["%", "_", "*", "deploy%", "../", "'", "\0", "é"] {
        let found = store.find(nothing, 5).await.unwrap();
        assert!(found.is_empty(), "{nothing:?}: {found:?}");
    }
}

pub(super) async fn a_damaged_workload_hides_no_other(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    for name in ["a@x", "b@x", "c@x"] {
        settle(&*store, &sample(name, 1), Outcome::Succeeded, 1).await;
    }
    let damaged = workload("b@x");
    if !harness.damage(&damaged).await {
        return;
    }
    let store = harness.store().await;
    let all = store.workloads().await.unwrap();
    let names: Vec<_> = all.states.iter().map(|s| s.workload.to_string()).collect();
    assert_eq!(names, ["a@x", "c@x"]);
    let named: Vec<_> = all.damaged.iter().map(|d| d.workload.clone()).collect();
    assert_eq!(named, std::slice::from_ref(&damaged));
    refused(store.workload(&damaged).await, Kind::Corrupt);
    assert!(!store.verify().await.unwrap().is_empty());
    // The others go on.
    for name in ["a@x", "c@x", "d@x"] {
        settle(&*store, &sample(name, 3), Outcome::Succeeded, 1).await;
    }
}

pub(super) async fn what_is_withheld_lasts(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    settle(&*store, &new, Outcome::Succeeded, 1).await;
    let of = &new.workload;
    let why: ShortText = "it leaks".parse().unwrap();
    let recall = |artifact: &str| Amend::Recall {
        artifact: artifact.to_owned(),
        why: why.clone(),
    };
    let floor = Amend::SetFloor {
        deployment: new.id.clone(),
        sequence: Sequence(1),
        origin: Sequence(1),
        why: why.clone(),
    };
    for what in [recall("a"), recall("b"), recall("a"), floor] {
        let version = store.workload(of).await.unwrap().version;
        store.amend(of, version, &by_ann(what, 7)).await.unwrap();
    }
    let state = harness.store().await.workload(of).await.unwrap();
    let recalled: Vec<&str> = state.recalls.iter().map(|r| &*r.artifact).collect();
    assert_eq!(recalled, ["b", "a"], "each once");
    let floor = state.floor.as_ref().unwrap();
    assert_eq!((&floor.deployment, floor.sequence), (&new.id, Sequence(1)));
    // They outlive what happens on the workload.
    settle(&*store, &sample("api@web-1", 5), Outcome::Succeeded, 5).await;
    let later = harness.store().await.workload(of).await.unwrap();
    assert_eq!((later.recalls.len(), &later.floor), (2, &state.floor));
    let clear = Amend::ClearRecall {
        artifact: "b".into(),
    };
    for what in [clear, Amend::ClearFloor, Amend::ClearFloor] {
        let version = store.workload(of).await.unwrap().version;
        store.amend(of, version, &by_ann(what, 7)).await.unwrap();
    }
    let last = harness.store().await.workload(of).await.unwrap();
    assert_eq!((last.recalls.len(), last.floor), (1, None));
    assert_eq!(store.verify().await.unwrap(), []);
}
