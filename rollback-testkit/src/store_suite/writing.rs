//! Cases about what is written, and written once.

use rollback_core::deployment::{LiveRecord, Outcome, Phase, Trigger, Watch, WatchVerdict};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::Event;
use rollback_core::history::{Amend, Annotation, Finished, Lease, Then, Version};
use rollback_core::id::{Actor, ShortText};
use rollback_core::policy::Policy;

use super::StoreHarness;
use super::sample::{
    amend, at, begin, by_ann, holder, note, refused, sample, sample_of, settle, settlement, timed,
    workload,
};

pub(super) async fn finish_opens_the_successor_under_the_same_lease(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let (failed, back) = (sample("api@web-1", 1), sample("api@web-1", 5));
    let begun = begin(&*store, &failed).await;
    let (epoch, first) = (begun.lease.epoch(), begun.sequence);
    other
        .request_cancel(&failed.id, &Actor::user("ann").unwrap())
        .await
        .unwrap();
    let end = settlement(&failed.id, Outcome::Failed);
    let then = Then::Open(Box::new(back.clone()));
    let done = store
        .finish(&begun.lease, &[], &end, at(5), &then)
        .await
        .unwrap();
    let Finished::Opened(begun) = done else {
        panic!("the successor is open: {done:?}")
    };
    assert_eq!(begun.lease.deployment(), &back.id);
    assert_eq!(begun.lease.epoch(), epoch);
    assert!(begun.sequence > first);
    let state = other.workload(&failed.workload).await.unwrap();
    assert_eq!(state.version, Version(2));
    assert_eq!(state.live, LiveRecord::Unknown);
    assert_eq!(state.in_flight.unwrap().deployment, back.id);
    let renewal = store.renew(&begun.lease).await.unwrap();
    assert_eq!(
        renewal.cancel_requested_by, None,
        "the cancellation was of the failed one"
    );
    store
        .append(&begun.lease, &[timed(6, Event::PrepareIntended)])
        .await
        .unwrap();
    refused(
        other.take_over(&failed.workload, &holder()).await,
        Kind::Conflict,
    );
}

pub(super) async fn finish_amends_the_failed_deployment(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let good = sample("api@web-1", 1);
    settle(&*store, &good, Outcome::Succeeded, 1).await;
    let failed = sample("api@web-1", 2);
    let trigger = Trigger::AutomaticRollback {
        to: good.id.clone(),
        failed: failed.id.clone(),
    };
    let back = sample_of("api@web-1", 3, trigger);
    let begun = begin(&*store, &failed).await;
    let end = settlement(&failed.id, Outcome::Failed);
    let then = Then::Open(Box::new(back.clone()));
    let done = store
        .finish(&begun.lease, &[], &end, at(3), &then)
        .await
        .unwrap();
    let Finished::Opened(begun) = done else {
        panic!("the successor is open: {done:?}")
    };
    let then = Then::ReleaseAndAmend(failed.id.clone());
    let end = settlement(&back.id, Outcome::Succeeded);
    store
        .finish(&begun.lease, &[], &end, at(4), &then)
        .await
        .unwrap();
    let record = store.get(&failed.id).await.unwrap().unwrap();
    assert_eq!(record.outcome(), Some(Outcome::FailedAndRolledBack));
    assert_eq!(record.rolled_back_by(), Some(&back.id));
    let state = store.workload(&failed.workload).await.unwrap();
    assert_eq!(state.live, LiveRecord::Known(back.id));
    assert_eq!(state.in_flight, None);
}

pub(super) async fn a_refused_finish_changes_nothing(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let good = sample("api@web-1", 1);
    settle(&*store, &good, Outcome::Succeeded, 1).await;
    let new = sample("api@web-1", 3);
    let lease = begin(&*store, &new).await.lease;
    let mut huge = sample("api@web-1", 4);
    huge.labels.insert("x".into(), "x".repeat(1 << 20));
    let end = settlement(&new.id, Outcome::Succeeded);
    for (then, kind) in [
        (Then::Open(Box::new(good.clone())), Kind::IllegalEvent),
        (Then::Open(Box::new(huge)), Kind::TooLarge),
        // Only a failed deployment can have been rolled back.
        (Then::ReleaseAndAmend(good.id.clone()), Kind::IllegalEvent),
        (
            Then::ReleaseAndAmend(sample("api@web-1", 5).id),
            Kind::NotFound,
        ),
    ] {
        refused(store.finish(&lease, &[], &end, at(4), &then).await, kind);
        let record = store.get(&new.id).await.unwrap().unwrap();
        assert!(record.events().is_empty());
        let state = store.workload(&new.workload).await.unwrap();
        assert_eq!(state.version, Version(3));
    }
    // The lease is what it was.
    store
        .finish(&lease, &[], &end, at(4), &Then::Release)
        .await
        .unwrap();
}

pub(super) async fn finish_again_with_the_same_value_stores_nothing_twice(
    harness: &dyn StoreHarness,
) {
    let store = harness.store().await;
    let (failed, back) = (sample("api@web-1", 1), sample("api@web-1", 5));
    let lease = begin(&*store, &failed).await.lease;
    let end = settlement(&failed.id, Outcome::Failed);
    let then = Then::Open(Box::new(back.clone()));
    let done = store.finish(&lease, &[], &end, at(5), &then).await.unwrap();
    let Finished::Opened(first) = done else {
        panic!("the successor is open: {done:?}")
    };
    let done = store.finish(&lease, &[], &end, at(5), &then).await.unwrap();
    let Finished::Opened(second) = done else {
        panic!("the successor is still open: {done:?}")
    };
    assert_eq!(second.sequence, first.sequence);
    assert_eq!(second.lease.deployment(), &back.id);
    let end = settlement(&back.id, Outcome::Succeeded);
    let then = Then::ReleaseAndAmend(failed.id.clone());
    store
        .finish(&first.lease, &[], &end, at(6), &then)
        .await
        .unwrap();
    let done = store
        .finish(&first.lease, &[], &end, at(6), &then)
        .await
        .unwrap();
    assert!(matches!(done, Finished::Released));
    for (id, events) in [(&failed.id, 2), (&back.id, 1)] {
        let record = store.get(id).await.unwrap().unwrap();
        assert_eq!(record.events().len(), events);
    }
    let state = store.workload(&failed.workload).await.unwrap();
    assert_eq!(state.version, Version(3));
}

pub(super) async fn a_lease_that_was_finished_is_over(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let (failed, back) = (sample("api@web-1", 1), sample("api@web-1", 5));
    let over = |lease: &Lease| {
        let (lease, store) = (lease.pass_on(lease.deployment().clone()), store.clone());
        async move {
            let step = timed(7, Event::PrepareIntended);
            refused(store.append(&lease, &[step]).await, Kind::Fenced);
            refused(store.renew(&lease).await, Kind::Fenced);
            let other = settlement(lease.deployment(), Outcome::Degraded);
            for then in [Then::Release, Then::Open(Box::new(sample("api@web-1", 8)))] {
                let done = store.finish(&lease, &[], &other, at(8), &then).await;
                refused(done, Kind::Fenced);
            }
        }
    };
    let lease = begin(&*store, &failed).await.lease;
    let end = settlement(&failed.id, Outcome::Failed);
    let then = Then::Open(Box::new(back.clone()));
    let done = store.finish(&lease, &[], &end, at(5), &then).await.unwrap();
    let Finished::Opened(begun) = done else {
        panic!("the successor is open: {done:?}")
    };
    over(&lease).await;
    // The same settlement with something else after it is another `finish`.
    let done = store.finish(&lease, &[], &end, at(5), &Then::Release).await;
    refused(done, Kind::Fenced);
    store.renew(&begun.lease).await.unwrap();
    let end = settlement(&back.id, Outcome::Succeeded);
    let done = store.finish(&begun.lease, &[], &end, at(6), &Then::Release);
    done.await.unwrap();
    over(&lease).await;
    over(&begun.lease).await;
    let record = store.get(&back.id).await.unwrap().unwrap();
    assert_eq!(record.settlement(), Some(&end));
    assert_eq!(record.events().len(), 1);
}

pub(super) async fn who_reacts_to_a_settlement_finds_the_workload_free(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let [first, second, third] = [1, 2, 3].map(|n| sample("api@web-1", n));
    let lease = begin(&*store, &first).await.lease;
    let end = settlement(&first.id, Outcome::Failed);
    let then = Then::Open(Box::new(second.clone()));
    let done = store.finish(&lease, &[], &end, at(2), &then).await.unwrap();
    let Finished::Opened(begun) = done else {
        panic!("the successor is open: {done:?}")
    };
    let end = settlement(&second.id, Outcome::Succeeded);
    let done = store.finish(&begun.lease, &[], &end, at(3), &Then::Release);
    done.await.unwrap();
    // Both leases are over, and still there: nobody has to wait until they are dropped.
    let excluded = other.exclude(&first.workload).await.unwrap();
    other.readmit(excluded).await.unwrap();
    drop(self::begin(&*other, &third).await);
    for over in [lease, begun.lease] {
        refused(store.renew(&over).await, Kind::Fenced);
    }
}

pub(super) async fn a_known_id_cannot_begin_again(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    settle(&*store, &new, Outcome::Succeeded, 1).await;
    let before = store.get(&new.id).await.unwrap();
    refused(
        store.begin(&new, &holder(), Version(2)).await,
        Kind::IllegalEvent,
    );
    let mut elsewhere = new.clone();
    elsewhere.workload = workload("api@web-2");
    refused(
        store.begin(&elsewhere, &holder(), Version(0)).await,
        Kind::IllegalEvent,
    );
    assert_eq!(store.get(&new.id).await.unwrap(), before);
    let state = store.workload(&new.workload).await.unwrap();
    assert_eq!((state.version, state.in_flight), (Version(2), None));
}

pub(super) async fn an_oversized_record_is_refused(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let mut huge = sample("api@web-1", 1);
    huge.labels.insert("x".into(), "x".repeat(1 << 20));
    refused(
        store.begin(&huge, &holder(), Version(0)).await,
        Kind::TooLarge,
    );
    assert_eq!(store.get(&huge.id).await.unwrap(), None);
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    let decision = "x".repeat(1 << 20);
    let refusal = store
        .append(&lease, &[timed(2, Event::TakenOver { decision, by: None })])
        .await;
    refused(refusal, Kind::TooLarge);
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert!(record.events().is_empty());
}

pub(super) async fn holds_and_policies_last_and_move_the_version(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let api = workload("api@web-1");
    let why: ShortText = "a long weekend".parse().unwrap();
    let policy = Policy::default().fall_back_to_unjudged(false);
    let set = by_ann(Amend::SetPolicy(Box::new(policy.clone())), 2);
    amend(&*store, &api, &by_ann(Amend::Hold { why: why.clone() }, 1))
        .await
        .unwrap();
    amend(&*store, &api, &set).await.unwrap();
    let state = other.workload(&api).await.unwrap();
    assert_eq!(state.version, Version(2));
    let hold = state.hold.unwrap();
    let by = Actor::user("ann").unwrap();
    assert_eq!((hold.by, hold.why, hold.since), (by, why, at(1)));
    let stored = state.policy.unwrap();
    let who = stored.set.map(|set| (set.by, set.at));
    assert_eq!((stored.policy, who), (policy, Some((set.by, set.at))));
    amend(&*store, &api, &by_ann(Amend::LiftHold, 3))
        .await
        .unwrap();
    amend(&*store, &api, &by_ann(Amend::ClearPolicy, 4))
        .await
        .unwrap();
    let state = other.workload(&api).await.unwrap();
    assert_eq!(state.version, Version(4));
    assert_eq!((state.hold, state.policy), (None, None));
}

pub(super) async fn annotations_last(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    refused(
        store.annotate(&new.id, &Annotation::Pin).await,
        Kind::NotFound,
    );
    settle(&*store, &new, Outcome::Succeeded, 1).await;
    let why = "it leaks";
    let mark = Annotation::MarkBad(note(why));
    for what in [Annotation::Pin, mark] {
        store.annotate(&new.id, &what).await.unwrap();
    }
    let read = || async {
        let record = other.get(&new.id).await.unwrap().unwrap();
        record.annotations().clone()
    };
    let kept = read().await;
    assert!(kept.pinned);
    assert_eq!(kept.bad.unwrap().text.as_str(), why);
    for what in [Annotation::Unpin, Annotation::ClearBad] {
        store.annotate(&new.id, &what).await.unwrap();
    }
    let kept = read().await;
    assert!(!kept.pinned && kept.bad.is_none());
    for n in 0..100 {
        let said = Annotation::Note(note(&format!("note {n}")));
        store.annotate(&new.id, &said).await.unwrap();
    }
    let said = Annotation::Note(note("one too many"));
    refused(store.annotate(&new.id, &said).await, Kind::TooLarge);
    let notes = read().await.notes;
    assert_eq!(notes.len(), 100);
    assert_eq!(notes[99].text.as_str(), "note 99");
    store.annotate(&new.id, &Annotation::Pin).await.unwrap();
}

pub(super) async fn what_a_newer_version_wrote_is_kept(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let mut new = sample("api@web-1", 1);
    let warning = r#"{"warning":"crowded","by":{"pods":[3]}}"#;
    new.warnings = vec![serde_json::from_str(warning).unwrap()];
    let begun = begin(&*store, &new).await;
    let newer: Event = serde_json::from_str(r#"{"event":"weighed","of":{"a":[1]}}"#).unwrap();
    store
        .append(&begun.lease, &[timed(2, newer.clone())])
        .await
        .unwrap();
    store
        .append(&begun.lease, &[timed(3, Event::PrepareIntended)])
        .await
        .unwrap();
    store
        .annotate(&new.id, &Annotation::Note(note("seen")))
        .await
        .unwrap();
    drop(begun);
    let read = harness.store().await.get(&new.id).await.unwrap().unwrap();
    assert!(read.is_newer());
    assert_eq!(read.events()[0].event, newer);
    assert_eq!(read.opening(), &new);
    assert_eq!(read.phase(), Phase::Preparing);
}

pub(super) async fn what_came_of_a_watch_is_not_taken_back(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    settle(&*store, &new, Outcome::Succeeded, 1).await;
    let watch = |until| Watch::new(at(2), at(until), vec!["errors".parse().unwrap()]);
    let failed = watch(9).ended(WatchVerdict::Failed {
        why: "errors: 7 %".parse().unwrap(),
    });
    for next in [watch(8), watch(9), failed.clone(), watch(10)] {
        let next = Annotation::Watch(next);
        store.annotate(&new.id, &next).await.unwrap();
    }
    let read = harness.store().await.get(&new.id).await.unwrap().unwrap();
    assert_eq!(read.annotations().watch, Some(failed));
}

pub(super) async fn forget_is_all_or_nothing(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let [old, pinned, live, flying] = [1, 2, 3, 4].map(|n| sample("api@web-1", n));
    for new in [&old, &pinned, &live] {
        settle(&*store, new, Outcome::Succeeded, 1).await;
    }
    store.annotate(&pinned.id, &Annotation::Pin).await.unwrap();
    let begun = begin(&*store, &flying).await;
    let unknown = sample("api@web-1", 5).id;
    for kept in [&pinned, &live, &flying] {
        let ids = [old.id.clone(), kept.id.clone()];
        refused(store.forget(&ids).await, Kind::Conflict);
        assert!(store.get(&old.id).await.unwrap().is_some());
    }
    let ids = [unknown, old.id.clone()];
    assert_eq!(store.forget(&ids).await.unwrap(), 1);
    assert_eq!(store.get(&old.id).await.unwrap(), None);
    assert_eq!(store.forget(&ids).await.unwrap(), 0);
    let unpin = Annotation::Unpin;
    store.annotate(&pinned.id, &unpin).await.unwrap();
    assert_eq!(store.forget(&[pinned.id]).await.unwrap(), 1);
    store.renew(&begun.lease).await.unwrap();
}
