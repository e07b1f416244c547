//! Cases about what is written of several deployments that move as one.

use rollback_core::backend::Evidence;
use rollback_core::deployment::{LiveRecord, Membership, Opening, Part, Roll};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Cause, Event};
use rollback_core::health::{Site, Verdict};
use rollback_core::history::{Begun, HistoryStore};
use rollback_core::id::GroupId;
use rollback_core::stack::StackGoal;

use super::StoreHarness;
use super::sample::{begin, prepared, refused, sample, timed, workload};

/// Begins it, and goes on until it has agreed.
async fn agreed(store: &dyn HistoryStore, new: &Opening) -> Begun {
    let begun = begin(store, new).await;
    let judged = Event::Judged {
        site: Site::Live,
        verdict: Verdict::Passed,
        notes: Vec::new(),
    };
    let switched = Event::Switched {
        evidence: Evidence::default(),
    };
    let events = [
        Event::PrepareIntended,
        prepared(new),
        Event::SwitchIntended,
        switched,
        judged,
        Event::Agreed,
    ];
    let events: Vec<_> = (2..).zip(events).map(|(n, e)| timed(n, e)).collect();
    store.append(&begun.lease, &events).await.unwrap();
    begun
}

pub(super) async fn a_groups_decision_is_durable_and_is_not_taken_back(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let (first, second) = (sample("api@web-1", 1), sample("db@web-1", 2));
    let id = GroupId::of(first.id.clone());
    let membership = Membership::new(id.clone(), "shop".parse().unwrap());
    let moves = |new: &Opening| {
        let deployment = new.id.clone();
        (new.workload.clone(), Part::Moves { deployment })
    };
    let stays = Part::Stays {
        live: LiveRecord::Nothing,
        why: "nothing was asked for it".parse().unwrap(),
    };
    let parts = [
        moves(&first),
        moves(&second),
        (workload("web@web-1"), stays),
    ];
    let mut leads = membership.clone();
    leads.roll = Some(Roll::new(Some(StackGoal::Before(id.clone())), parts.into()));
    let (first, second) = (first.in_group(leads), second.in_group(membership));
    let (begun, other) = (
        agreed(&*store, &first).await,
        agreed(&*store, &second).await,
    );

    // Only on the coordinator's record.
    let decided = [timed(9, Event::Decided)];
    refused(
        store.append(&other.lease, &decided).await,
        Kind::IllegalEvent,
    );
    store.append(&begun.lease, &decided).await.unwrap();
    let back = [timed(10, Event::GoingBack(Cause::Interrupted))];
    refused(store.append(&begun.lease, &back).await, Kind::IllegalEvent);
    drop((begun, other));

    let store = harness.store().await;
    let read = store.get(&first.id).await.unwrap().unwrap();
    assert!(read.has_decided() && !read.is_newer());
    assert_eq!(read.opening(), &first);
    let read = store.get(&second.id).await.unwrap().unwrap();
    assert_eq!(read.opening(), &second);
    for new in [&first, &second] {
        let told = store.summaries(&new.workload, 1).await.unwrap();
        assert_eq!(told.summaries[0].group.as_ref(), Some(&id));
    }
}
