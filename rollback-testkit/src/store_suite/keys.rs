//! Cases about idempotency keys.

use std::sync::Arc;

use rollback_core::deployment::{Asked, Opening, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::Version;
use rollback_core::request::{Goal, Reapply, Wish};

use super::StoreHarness;
use super::sample::{begin, holder, refused, sample, settle};

/// A deployment that was asked for under this key.
fn keyed(workload: &str, n: u64, key: &str) -> Opening {
    let mut new = sample(workload, n);
    let wish = Wish::Rollback {
        goal: Goal::Previous,
    };
    new.asked = Some(Asked::new(key.parse().unwrap(), &wish, None, Reapply::No));
    new
}

pub(super) async fn a_key_is_taken_once_whoever_asks(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let first = keyed("api@web-1", 1, "job/1");
    let key = &first.asked.as_ref().unwrap().key;
    let of = &first.workload;
    assert_eq!(store.keyed(of, key).await.unwrap(), None);
    let begun = begin(&*store, &first).await;
    // In flight, by its holder and by another.
    for store in [&store, &other] {
        assert_eq!(store.keyed(of, key).await.unwrap(), Some(first.id.clone()));
    }
    harness.die(begun.lease).await;
    let dead = other.take_over(of, &holder()).await.unwrap();
    let end = super::settlement(&first.id, Outcome::Failed);
    let then = rollback_core::history::Then::Release;
    other
        .finish(&dead, &[], &end, super::at(3), &then)
        .await
        .unwrap();
    settle(
        &*store,
        &keyed("api@web-1", 5, "job/10"),
        Outcome::Succeeded,
        5,
    )
    .await;
    // After its end, whatever came since; in another process as well.
    let again = harness.store().await;
    let state = again.workload(of).await.unwrap();
    for store in [&store, &other, &again] {
        assert_eq!(store.keyed(of, key).await.unwrap(), Some(first.id.clone()));
        let begun = store
            .begin(&keyed("api@web-1", 9, "job/1"), &holder(), state.version)
            .await;
        refused(begun, Kind::KeyTaken);
    }
    let after = again.workload(of).await.unwrap();
    assert_eq!(after.version, state.version, "nothing was changed");
    // Another key, and another workload, are free.
    let none = store.keyed(of, &"job/2".parse().unwrap()).await.unwrap();
    assert_eq!(none, None);
    settle(
        &*store,
        &keyed("db@web-1", 12, "job/1"),
        Outcome::Succeeded,
        12,
    )
    .await;
    assert_eq!(store.verify().await.unwrap(), []);
}

pub(super) async fn of_eight_begins_at_once_with_one_key_one_wins(harness: &dyn StoreHarness) {
    let mut at_work = Vec::new();
    for n in 1..=8 {
        let store = harness.store().await;
        at_work.push(tokio::spawn(async move {
            let new = keyed("api@web-1", n, "job/1");
            // Each tries until it is told, whatever goes on meanwhile.
            loop {
                let version = store.workload(&new.workload).await.unwrap().version;
                match store.begin(&new, &holder(), version).await {
                    Ok(begun) => {
                        let end = super::settlement(&new.id, Outcome::Succeeded);
                        let then = rollback_core::history::Then::Release;
                        let done = store.finish(&begun.lease, &[], &end, super::at(n + 20), &then);
                        done.await.unwrap();
                        return true;
                    }
                    Err(e) if e.kind() == Kind::KeyTaken => return false,
                    Err(e) => assert!(
                        matches!(e.kind(), Kind::Conflict | Kind::Stale | Kind::Busy),
                        "{e}"
                    ),
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    let mut won = 0;
    for one in at_work {
        won += usize::from(one.await.unwrap());
    }
    assert_eq!(won, 1);
}

pub(super) async fn a_key_is_forgotten_with_its_record(harness: &dyn StoreHarness) {
    let store: Arc<_> = harness.store().await;
    let first = keyed("api@web-1", 1, "job/1");
    settle(&*store, &first, Outcome::Failed, 1).await;
    settle(&*store, &sample("api@web-1", 3), Outcome::Succeeded, 3).await;
    assert_eq!(
        store.forget(std::slice::from_ref(&first.id)).await.unwrap(),
        1
    );
    let key = &first.asked.as_ref().unwrap().key;
    assert_eq!(store.keyed(&first.workload, key).await.unwrap(), None);
    let state = store.workload(&first.workload).await.unwrap();
    assert!(state.version > Version(0));
    let again = keyed("api@web-1", 9, "job/1");
    let begun = store.begin(&again, &holder(), state.version).await;
    assert!(begun.is_ok(), "{begun:?}");
}
