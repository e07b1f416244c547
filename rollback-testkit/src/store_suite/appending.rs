//! Cases about events: added in their order, once, and several in one step.

use rollback_core::deployment::{LiveRecord, Outcome, Phase};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::Event;
use rollback_core::history::{Then, Version};
use rollback_core::id::Actor;

use super::StoreHarness;
use super::sample::{at, begin, prepared, refused, sample, settlement, timed};

pub(super) async fn append_again_with_the_same_value_stores_it_once(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    let seen = |n| {
        let decision = "go on".to_owned();
        timed(n, Event::TakenOver { decision, by: None })
    };
    // Equal to the last one: stored once. Equal to an earlier one, or at another time: new.
    for n in [2, 2, 3, 3, 2] {
        store.append(&lease, &[seen(n)]).await.unwrap();
    }
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.events(), [seen(2), seen(3), seen(2)]);
}

pub(super) async fn an_impossible_event_is_refused(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    for event in [Event::SwitchIntended, Event::Retired, prepared(&new)] {
        let refusal = store.append(&lease, &[timed(2, event)]).await;
        refused(refusal, Kind::IllegalEvent);
    }
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert!(record.events().is_empty());
}

pub(super) async fn append_refuses_what_finish_writes(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    let deployment = new.id.clone();
    for event in [
        Event::Settled(settlement(&new.id, Outcome::Succeeded)),
        Event::RolledBackBy { deployment },
    ] {
        let refusal = store.append(&lease, &[timed(2, event)]).await;
        refused(refusal, Kind::IllegalEvent);
    }
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert!(record.events().is_empty());
}

pub(super) async fn several_events_are_added_in_one_step_or_none_is(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    let intended = timed(2, Event::PrepareIntended);
    let (done, switches) = (timed(3, prepared(&new)), timed(3, Event::SwitchIntended));
    // The second cannot follow the first.
    let torn = [intended.clone(), switches.clone()];
    refused(store.append(&lease, &torn).await, Kind::IllegalEvent);
    let record = other.get(&new.id).await.unwrap().unwrap();
    assert!(record.events().is_empty(), "half of a step was written");
    let both = [done.clone(), switches.clone()];
    store
        .append(&lease, std::slice::from_ref(&intended))
        .await
        .unwrap();
    for _ in 0..2 {
        store.append(&lease, &both).await.unwrap();
    }
    // It ends with the last of them, and not with both: something else than what was asked before.
    let again = [done.clone(), switches.clone(), switches.clone()];
    refused(store.append(&lease, &again).await, Kind::IllegalEvent);
    let record = other.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.events(), [intended, done, switches]);
    assert_eq!(record.phase(), Phase::Switching);
}

pub(super) async fn append_answers_as_renew_does(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    let step = [timed(2, Event::PrepareIntended)];
    let answer = store.append(&lease, &step).await.unwrap();
    assert_eq!(answer, store.renew(&lease).await.unwrap());
    assert_eq!(answer.cancel_requested_by, None);
    let ann = Actor::user("ann").unwrap();
    other.request_cancel(&new.id, &ann).await.unwrap();
    // Also where it has nothing to add.
    for events in [&step[..], &[], &[timed(3, prepared(&new))]] {
        let answer = store.append(&lease, events).await.unwrap();
        assert_eq!(answer.cancel_requested_by.as_ref(), Some(&ann));
    }
}

pub(super) async fn finish_adds_what_is_not_on_record_yet(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    let end = settlement(&new.id, Outcome::Succeeded);
    // What cannot follow keeps all of it from being written.
    let torn = [timed(2, Event::Retired)];
    let done = store
        .finish(&lease, &torn, &end, at(4), &Then::Release)
        .await;
    refused(done, Kind::IllegalEvent);
    let state = other.workload(&new.workload).await.unwrap();
    assert_eq!(
        (state.version, state.live),
        (Version(1), LiveRecord::Nothing)
    );
    let last = [timed(2, Event::PrepareIntended), timed(3, prepared(&new))];
    // The second time as if the answer had not been heard.
    for _ in 0..2 {
        let done = store.finish(&lease, &last, &end, at(4), &Then::Release);
        done.await.unwrap();
    }
    let record = other.get(&new.id).await.unwrap().unwrap();
    let settled = timed(4, Event::Settled(end.clone()));
    assert_eq!(record.events(), [last[0].clone(), last[1].clone(), settled]);
    // With other events before it, it is another one.
    let done = store.finish(&lease, &last[..1], &end, at(4), &Then::Release);
    refused(done.await, Kind::Fenced);
}

pub(super) async fn finish_is_known_again_after_another_has_begun(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let (first, second) = (sample("api@web-1", 1), sample("api@web-1", 5));
    let lease = begin(&*store, &first).await.lease;
    let end = settlement(&first.id, Outcome::Succeeded);
    let done = store.finish(&lease, &[], &end, at(2), &Then::Release);
    done.await.unwrap();
    // Its answer was lost on the way, and somebody was quick.
    let begun = begin(&*other, &second).await;
    let done = store.finish(&lease, &[], &end, at(2), &Then::Release);
    done.await.expect("what was settled is settled");
    let failed = settlement(&first.id, Outcome::Failed);
    let done = store.finish(&lease, &[], &failed, at(2), &Then::Release);
    refused(done.await, Kind::Fenced);
    let state = other.workload(&first.workload).await.unwrap();
    assert_eq!(state.in_flight.unwrap().deployment, second.id);
    other.renew(&begun.lease).await.unwrap();
}
