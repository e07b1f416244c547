//! Cases about who may write.

use rollback_core::deployment::{LiveRecord, Outcome, Phase};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::Event;
use rollback_core::history::{Epoch, Finished, Lease, Liveness, Then, Trust, Version};
use rollback_core::id::Actor;

use super::StoreHarness;
use super::sample::{
    at, begin, holder, prepared, refused, sample, settle, settlement, timed, workload,
};

pub(super) async fn a_deployment_begins_goes_on_and_settles(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    assert_eq!(begun.lease.deployment(), &new.id);
    assert_eq!(begun.lease.workload(), &new.workload);
    let state = store.workload(&new.workload).await.unwrap();
    assert_eq!(state.version, Version(1));
    let in_flight = state.in_flight.unwrap();
    assert_eq!(in_flight.deployment, new.id);
    assert_eq!(in_flight.liveness, Liveness::Alive);
    assert_eq!(in_flight.epoch, begun.lease.epoch());
    assert_eq!(in_flight.holder.pid, std::process::id());
    for (n, event) in [(2, Event::PrepareIntended), (3, prepared(&new))] {
        store
            .append(&begun.lease, &[timed(n, event)])
            .await
            .unwrap();
    }
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.opening(), &new);
    assert_eq!(record.sequence(), begun.sequence);
    assert_eq!(record.phase(), Phase::Prepared);
    assert_eq!(record.outcome(), None);
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store
        .finish(&begun.lease, &[], &end, at(9), &Then::Release)
        .await
        .unwrap();
    assert!(matches!(done, Finished::Released));
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.settlement(), Some(&end));
    assert_eq!(record.settled_at(), Some(at(9)));
    assert_eq!(record.events().len(), 3);
    let state = store.workload(&new.workload).await.unwrap();
    assert_eq!(state.version, Version(2));
    assert_eq!(state.live, LiveRecord::Known(new.id));
    assert_eq!(state.in_flight, None);
}

pub(super) async fn a_begin_on_an_old_version_is_stale(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    settle(&*store, &sample("api@web-1", 1), Outcome::Succeeded, 1).await;
    let late = sample("api@web-1", 2);
    for wrong in [0, 1, 3] {
        refused(
            store.begin(&late, &holder(), Version(wrong)).await,
            Kind::Stale,
        );
    }
    assert_eq!(store.get(&late.id).await.unwrap(), None);
    // The refusals have left no lock behind.
    store.begin(&late, &holder(), Version(2)).await.unwrap();
}

pub(super) async fn a_held_lease_is_a_living_conflict_and_is_never_taken_over(
    harness: &dyn StoreHarness,
) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let begun = begin(&*store, &new).await;
    let step = timed(2, Event::PrepareIntended);
    store.append(&begun.lease, &[step]).await.unwrap();
    for store in [&store, &other] {
        let second = sample("api@web-1", 3);
        let error = store
            .begin(&second, &holder(), Version(1))
            .await
            .unwrap_err();
        let conflict = error
            .conflict()
            .expect("a conflict names who is in the way");
        assert_eq!(conflict.liveness, Liveness::Alive);
        assert_eq!(conflict.deployment, new.id);
        assert_eq!(conflict.phase, Phase::Preparing);
        assert_eq!(conflict.holder.pid, std::process::id());
        refused(
            store.take_over(&new.workload, &holder()).await,
            Kind::Conflict,
        );
        assert_eq!(store.get(&second.id).await.unwrap(), None);
    }
    store.renew(&begun.lease).await.unwrap();
}

pub(super) async fn a_dropped_lease_is_a_dead_conflict_and_is_taken_over(
    harness: &dyn StoreHarness,
) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let idle = other.take_over(&new.workload, &holder()).await;
    refused(idle, Kind::NotFound);
    let begun = begin(&*store, &new).await;
    let epoch = begun.lease.epoch();
    harness.die(begun.lease).await;
    let error = other
        .begin(&sample("api@web-1", 2), &holder(), Version(1))
        .await
        .unwrap_err();
    assert_eq!(error.conflict().unwrap().liveness, Liveness::Dead);
    let seen = other.workload(&new.workload).await.unwrap();
    assert_eq!(seen.in_flight.unwrap().liveness, Liveness::Dead);
    let lease = other.take_over(&new.workload, &holder()).await.unwrap();
    assert!(lease.epoch() > epoch);
    assert_eq!(lease.deployment(), &new.id);
    let seen = store.workload(&new.workload).await.unwrap();
    assert_eq!(seen.in_flight.unwrap().liveness, Liveness::Alive);
    refused(
        store.take_over(&new.workload, &holder()).await,
        Kind::Conflict,
    );
    let end = settlement(&new.id, Outcome::Interrupted);
    let done = other.finish(&lease, &[], &end, at(3), &Then::Release).await;
    done.unwrap();
    refused(
        other.take_over(&new.workload, &holder()).await,
        Kind::NotFound,
    );
}

pub(super) async fn a_lease_that_is_renewed_outlives_its_span(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let (new, next) = (sample("api@web-1", 1), sample("api@web-1", 2));
    let begun = begin(&*store, &new).await;
    let Trust::For(span) = begun.lease.trust() else {
        // It lives as long as it is held.
        return;
    };
    let liveness = || async {
        let state = other.workload(&new.workload).await.unwrap();
        state.in_flight.unwrap().liveness
    };
    for _ in 0..3 {
        tokio::time::sleep(span / 3 * 2).await;
        let renewal = store.renew(&begun.lease).await.unwrap();
        assert_eq!(renewal.trust, Trust::For(span));
    }
    // So does what is appended, and what it has kept already.
    let step = [timed(2, Event::PrepareIntended)];
    for _ in 0..2 {
        tokio::time::sleep(span / 3 * 2).await;
        let renewal = store.append(&begun.lease, &step).await.unwrap();
        assert_eq!(renewal.trust, Trust::For(span));
    }
    tokio::time::sleep(span / 3 * 2).await;
    assert_eq!(liveness().await, Liveness::Alive);
    refused(
        other.take_over(&new.workload, &holder()).await,
        Kind::Conflict,
    );
    // Opening the successor renews it, too.
    let then = Then::Open(Box::new(next.clone()));
    let end = settlement(&new.id, Outcome::Failed);
    let done = store.finish(&begun.lease, &[], &end, at(3), &then).await;
    let Finished::Opened(begun) = done.unwrap() else {
        panic!("the successor is open")
    };
    assert_eq!(begun.lease.trust(), Trust::For(span));
    tokio::time::sleep(span / 3 * 2).await;
    assert_eq!(liveness().await, Liveness::Alive);
    tokio::time::sleep(span).await;
    assert_eq!(liveness().await, Liveness::Dead);
    let lease = other.take_over(&new.workload, &holder()).await.unwrap();
    assert_eq!(lease.trust(), Trust::For(span));
    assert_eq!(liveness().await, Liveness::Alive);
    refused(store.renew(&begun.lease).await, Kind::Fenced);
}

pub(super) async fn an_exclusion_is_renewed_and_ends(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let first = store.exclude(&new.workload).await.unwrap();
    let trust = first.trust();
    assert_eq!(store.renew_exclusion(&first).await.unwrap(), trust);
    refused(other.exclude(&new.workload).await, Kind::Busy);
    if let Trust::For(span) = trust {
        tokio::time::sleep(span / 3 * 2).await;
        store.renew_exclusion(&first).await.unwrap();
        tokio::time::sleep(span / 3 * 2).await;
        refused(other.exclude(&new.workload).await, Kind::Busy);
        tokio::time::sleep(span).await;
        // It was not renewed in time, and somebody else was quicker.
        let second = other.exclude(&new.workload).await.unwrap();
        refused(store.renew_exclusion(&first).await, Kind::Fenced);
        other.renew_exclusion(&second).await.unwrap();
        // Ending the first does nothing to the second.
        store.readmit(first).await.unwrap();
        refused(store.exclude(&new.workload).await, Kind::Busy);
        tokio::time::sleep(span).await;
        let begun = begin(&*store, &new).await;
        refused(other.renew_exclusion(&second).await, Kind::Fenced);
        store.renew(&begun.lease).await.unwrap();
    } else {
        store.readmit(first).await.unwrap();
        drop(begin(&*other, &new).await);
    }
}

pub(super) async fn a_lease_that_was_taken_over_is_fenced(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let new = sample("api@web-1", 1);
    let begun = begin(&*store, &new).await;
    let epoch = begun.lease.epoch();
    harness.die(begun.lease).await;
    let fresh = store.take_over(&new.workload, &holder()).await.unwrap();
    // What a process holds that was wrongly thought dead.
    for old in [epoch, Epoch(fresh.epoch().0 + 1)] {
        let old = Lease::new(new.workload.clone(), new.id.clone(), old, ());
        let step = timed(2, Event::PrepareIntended);
        refused(store.append(&old, &[step]).await, Kind::Fenced);
        refused(store.renew(&old).await, Kind::Fenced);
        let end = settlement(&new.id, Outcome::Failed);
        let done = store.finish(&old, &[], &end, at(3), &Then::Release).await;
        refused(done, Kind::Fenced);
    }
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert!(record.events().is_empty());
    store.renew(&fresh).await.unwrap();
}

pub(super) async fn a_lease_is_fenced_though_its_record_is_as_its_holder_left_it(
    harness: &dyn StoreHarness,
) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let begun = begin(&*store, &new).await;
    let step = timed(2, Event::PrepareIntended);
    store
        .append(&begun.lease, std::slice::from_ref(&step))
        .await
        .unwrap();
    let epoch = begun.lease.epoch();
    harness.die(begun.lease).await;
    // Whoever takes over has written nothing yet, and the first store may remember the record.
    let fresh = other.take_over(&new.workload, &holder()).await.unwrap();
    let old = Lease::new(new.workload.clone(), new.id.clone(), epoch, ());
    for event in [step, timed(3, Event::SwitchIntended)] {
        refused(store.append(&old, &[event]).await, Kind::Fenced);
    }
    let end = settlement(&new.id, Outcome::Failed);
    let done = other.finish(&fresh, &[], &end, at(4), &Then::Release).await;
    done.unwrap();
    // It is settled, and this is what settled it; but not under this lease.
    let done = store.finish(&old, &[], &end, at(4), &Then::Release).await;
    refused(done, Kind::Fenced);
}

pub(super) async fn a_holder_lives_as_long_as_anybody_keeps_its_lease(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let (new, next) = (sample("api@web-1", 1), sample("api@web-1", 2));
    let begun = begin(&*store, &new).await;
    if begun.lease.trust() != Trust::WhileHeld {
        // Here it lives as long as it is renewed, whoever keeps it.
        return;
    }
    // Kept by what acts for the first deployment, while its successor is opened and dropped.
    let keep = begun.lease.keep();
    let end = settlement(&new.id, Outcome::Failed);
    let then = Then::Open(Box::new(next.clone()));
    let finished = store
        .finish(&begun.lease, &[], &end, at(3), &then)
        .await
        .unwrap();
    drop((finished, begun));
    for store in [&store, &other] {
        let state = store.workload(&new.workload).await.unwrap();
        assert_eq!(state.in_flight.unwrap().liveness, Liveness::Alive);
        refused(
            store.take_over(&new.workload, &holder()).await,
            Kind::Conflict,
        );
    }
    drop(keep);
    let state = other.workload(&new.workload).await.unwrap();
    assert_eq!(state.in_flight.unwrap().liveness, Liveness::Dead);
    let lease = other.take_over(&new.workload, &holder()).await.unwrap();
    assert_eq!(lease.deployment(), &next.id);
    // The same once it was taken over.
    let keep = lease.keep();
    drop(lease);
    refused(
        store.take_over(&new.workload, &holder()).await,
        Kind::Conflict,
    );
    drop(keep);
    store.take_over(&new.workload, &holder()).await.unwrap();
}

pub(super) async fn who_settles_and_goes_is_not_seen_dead(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let api = workload("api@web-1");
    let settles = tokio::spawn(async move {
        for n in 1..40 {
            settle(&*store, &sample("api@web-1", n), Outcome::Succeeded, 1).await;
        }
    });
    while !settles.is_finished() {
        let one = other.workload(&api).await.unwrap();
        let all = other.workloads().await.unwrap().states;
        for state in all.into_iter().chain([one]) {
            let liveness = state.in_flight.map(|f| f.liveness);
            assert_ne!(liveness, Some(Liveness::Dead));
        }
        tokio::task::yield_now().await;
    }
    settles.await.unwrap();
}

pub(super) async fn of_eight_begins_at_once_exactly_one_wins(harness: &dyn StoreHarness) {
    let mut tasks = Vec::new();
    for n in 0..8 {
        let store = harness.store().await;
        tasks.push(tokio::spawn(async move {
            let new = sample("api@web-1", n);
            store.begin(&new, &holder(), Version(0)).await
        }));
    }
    // Every lease is kept until all have tried.
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(begun) => won.push(begun),
            Err(e) => assert!(matches!(e.kind(), Kind::Conflict | Kind::Stale), "{e}"),
        }
    }
    assert_eq!(won.len(), 1);
    let store = harness.store().await;
    let all = store.list(&Default::default()).await.unwrap();
    assert_eq!(all.deployments.len(), 1);
    assert_eq!(all.deployments[0].id(), won[0].lease.deployment());
}

pub(super) async fn a_cancellation_is_seen_by_renew(harness: &dyn StoreHarness) {
    let (store, other) = (harness.store().await, harness.store().await);
    let (ann, bob) = (Actor::user("ann").unwrap(), Actor::user("bob").unwrap());
    let new = sample("api@web-1", 1);
    refused(other.request_cancel(&new.id, &ann).await, Kind::NotFound);
    let begun = begin(&*store, &new).await;
    let before = store.renew(&begun.lease).await.unwrap();
    assert_eq!(before.cancel_requested_by, None);
    other.request_cancel(&new.id, &ann).await.unwrap();
    other.request_cancel(&new.id, &bob).await.unwrap();
    let after = store.renew(&begun.lease).await.unwrap();
    assert_eq!(after.cancel_requested_by, Some(ann.clone()));
    let end = settlement(&new.id, Outcome::Cancelled);
    let done = store
        .finish(&begun.lease, &[], &end, at(2), &Then::Release)
        .await;
    done.unwrap();
    refused(other.request_cancel(&new.id, &ann).await, Kind::NotFound);
    let next = begin(&*store, &sample("api@web-1", 3)).await;
    let fresh = store.renew(&next.lease).await.unwrap();
    assert_eq!(fresh.cancel_requested_by, None);
}

pub(super) async fn two_workloads_do_not_interfere(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let (one, two) = (sample("api@web-1", 1), sample("api@web-2", 2));
    let first = begin(&*store, &one).await;
    let second = store.begin(&two, &holder(), Version(0)).await.unwrap();
    assert!(second.sequence > first.sequence);
    let end = settlement(&two.id, Outcome::Succeeded);
    let done = store.finish(&second.lease, &[], &end, at(3), &Then::Release);
    done.await.unwrap();
    store.renew(&first.lease).await.unwrap();
    let state = store.workload(&workload("api@web-1")).await.unwrap();
    assert_eq!(state.version, Version(1));
    assert_eq!(state.live, LiveRecord::Nothing);
}

pub(super) async fn while_excluded_nothing_begins_and_in_flight_nothing_excludes(
    harness: &dyn StoreHarness,
) {
    let (store, other) = (harness.store().await, harness.store().await);
    let new = sample("api@web-1", 1);
    let excluded = store.exclude(&new.workload).await.unwrap();
    refused(
        other
            .begin(&new, &holder(), rollback_core::history::Version(0))
            .await,
        Kind::Busy,
    );
    // Another workload does not mind.
    settle(&*other, &sample("api@web-2", 1), Outcome::Succeeded, 1).await;
    store.readmit(excluded).await.unwrap();
    let begun = begin(&*other, &new).await;
    refused(store.exclude(&new.workload).await, Kind::Conflict);
    harness.die(begun.lease).await;
    // Dead is in flight too: recovery comes first.
    refused(store.exclude(&new.workload).await, Kind::Conflict);
}
