//! Cases about what no store does. That each refusal says to what it happened and what to do next is
//! asked wherever one is expected, by `refused`.

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{Abandonment, Annotation, Then};
use rollback_core::id::Actor;

use super::StoreHarness;
use super::sample::{at, begin, holder, refused, sample, settle, settlement};

pub(super) async fn a_deployment_was_rolled_back_by_itself(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    let lease = begin(&*store, &new).await.lease;
    let end = settlement(&new.id, Outcome::Failed);
    let then = Then::ReleaseAndAmend(new.id.clone());
    let done = store.finish(&lease, &[], &end, at(2), &then).await;
    refused(done, Kind::IllegalEvent);
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert!(record.events().is_empty());
    // The lease is what it was.
    let done = store.finish(&lease, &[], &end, at(2), &Then::Release).await;
    done.unwrap();
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.outcome(), Some(Outcome::Failed));
}

pub(super) async fn a_settlement_reached_into_another_workload(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let (new, other) = (sample("api@web-1", 1), sample("api@web-2", 2));
    settle(&*store, &other, Outcome::Failed, 1).await;
    let before = store.get(&other.id).await.unwrap();
    let lease = begin(&*store, &new).await.lease;
    let end = settlement(&new.id, Outcome::Succeeded);
    for then in [
        Then::ReleaseAndAmend(other.id.clone()),
        Then::Open(Box::new(sample("api@web-2", 3))),
    ] {
        let done = store.finish(&lease, &[], &end, at(4), &then).await;
        refused(done, Kind::IllegalEvent);
    }
    assert_eq!(store.get(&other.id).await.unwrap(), before);
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert!(record.events().is_empty());
    let all = store.list(&Default::default()).await.unwrap();
    assert_eq!(all.deployments.len(), 2);
    store.renew(&lease).await.unwrap();
}

pub(super) async fn what_is_not_there_is_not_found(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let (known, unknown) = (sample("api@web-1", 1), sample("api@web-1", 2));
    let ann = Actor::user("ann").unwrap();
    let given_up = Abandonment::new(ann.clone(), at(3), "it is stuck".parse().unwrap());
    // Of a workload that was never seen, and of one that was.
    for settled in [false, true] {
        if settled {
            settle(&*store, &known, Outcome::Succeeded, 1).await;
        }
        let (id, of) = (&unknown.id, &unknown.workload);
        refused(store.annotate(id, &Annotation::Pin).await, Kind::NotFound);
        refused(store.request_cancel(id, &ann).await, Kind::NotFound);
        refused(store.take_over(of, &holder()).await, Kind::NotFound);
        refused(store.abandon(of, &given_up).await, Kind::NotFound);
    }
    refused(store.request_cancel(&known.id, &ann).await, Kind::NotFound);
}
