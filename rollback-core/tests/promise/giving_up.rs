//! What recovery cannot end, and recovery while a program lives.

use std::time::Duration;

use rollback_core::engine::RollbackEngine;
use rollback_core::history::{HistoryStore, Holder, Version, WasAmended};
use rollback_core::prelude::*;

use crate::support::{Bench, me};
use crate::{left_by_the_dead, state};

#[tokio::test]
async fn a_workload_that_left_the_catalog_was_bricked_for_good() {
    let b = Bench::new();
    b.deploy("v1").await;
    let id = left_by_the_dead(&b, "v2", vec![Event::PrepareIntended]).await;
    let without = RollbackEngine::builder(b.store.clone()).build().unwrap();
    let recovered = without.recover().await.unwrap();
    let e = recovered[0].result.as_ref().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotRegistered);
    assert!(e.to_string().contains("abandon"), "{e}");
    let why = "the service was retired".parse().unwrap();
    assert_eq!(without.abandon(&b.api, why, me()).await.unwrap(), id);
    let after = state(&b).await;
    assert_eq!((after.live, after.in_flight), (LiveRecord::Unknown, None));
    let amended = &after.amendments[0];
    assert_eq!(amended.by, me());
    assert!(matches!(&amended.what, WasAmended::Abandoned { deployment, .. } if *deployment == id));
    let record = b.engine.get(&id).await.unwrap();
    assert_eq!(record.outcome(), Some(Outcome::Interrupted));
    let nothing = without.abandon(&b.api, "again".parse().unwrap(), me());
    assert_eq!(nothing.await.unwrap_err().kind(), ErrorKind::NotFound);
    // And back in the catalog it works as ever.
    assert!(b.adopt().await.succeeded());
    assert!(b.deploy("v3").await.succeeded());
}

#[tokio::test]
async fn what_is_in_flight_and_alive_was_abandoned() {
    let b = Bench::new();
    let request = Request::deploy(b.api.clone(), "v1", me());
    let plan = b.engine.preview(&request).await.unwrap();
    let holder = Holder::this_process(SystemClock.now());
    let begun = b.store.begin(plan.deployment(), &holder, Version(0)).await;
    let why = "impatience".parse().unwrap();
    let e = b.engine.abandon(&b.api, why, me()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict);
    drop(begun);
}

#[tokio::test(start_paused = true)]
async fn nobody_recovered_in_a_program_that_lives_on() {
    let b = Bench::new();
    b.deploy("v1").await;
    let supervision = b.engine.supervise(Duration::from_secs(30));
    tokio::time::sleep(Duration::from_secs(1)).await;
    left_by_the_dead(&b, "v2", vec![Event::PrepareIntended]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(state(&b).await.in_flight.is_none());
    supervision.stop().await;
    left_by_the_dead(&b, "v3", vec![Event::PrepareIntended]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(state(&b).await.in_flight.is_some(), "it was stopped");
}
