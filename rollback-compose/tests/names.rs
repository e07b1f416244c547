//! What the names of images mean at a real dockerd, before and after.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use rollback_core::backend::End;
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::{Build, World};
use support::world::ComposeWorld;
use support::{Shop, me};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_others_use_is_moved_when_its_container_goes_live_and_not_before() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    let fixture = Arc::new(fixture);
    let world = Arc::new(ComposeWorld::new(&fixture).await);
    let d = Driver::new(world.clone());
    d.deploy(Build::V1).await;
    let name = world.reference(Build::V2);
    let meant = || {
        let id = fixture.docker(&["image", "inspect", "-f", "{{.Id}}", &name]);
        id.ok().map(|id| id.trim().to_owned())
    };
    // Somebody has it here, and the registry has a newer one.
    fixture.must(&["pull", "-q", &name]);
    let older = meant().unwrap();
    let copy = format!("{}/other:v2", fixture.registry());
    fixture.publish(&copy, &["ENV VERSION=v2", "LABEL newer=1"]);
    fixture.must(&["pull", "-q", &copy]);
    fixture.must(&["tag", &copy, &name]);
    let newer = meant().unwrap();
    fixture.must(&["push", "-q", &name]);
    fixture.must(&["pull", "-q", &world.reference(Build::V3)]);
    fixture.must(&["rmi", &name]);
    fixture.must(&["tag", &older, &name]);
    assert_ne!(older, newer);
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    assert_eq!(meant(), Some(older));
    d.must(Step::Switch, &mut op).await;
    assert_eq!(meant(), Some(newer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_given_is_taken_away_with_the_last_container_that_was_made_by_it() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    let fixture = Arc::new(fixture);
    let world = Arc::new(ComposeWorld::new(&fixture).await);
    let d = Driver::new(world.clone());
    let is_here = |build| {
        let name = world.reference(build);
        fixture.docker(&["image", "inspect", &name]).is_ok()
    };
    // Not given here: a person has pulled it.
    fixture.must(&["pull", "-q", &world.reference(Build::V1)]);
    d.deploy(Build::V1).await;
    d.deploy(Build::V2).await;
    let last = d.deploy(Build::V3).await;
    assert!([Build::V1, Build::V2, Build::V3].into_iter().all(is_here));
    let End::Placed(live) = last.to else { panic!() };
    let retained = d.backend().retain(&Driver::cx(), &[live]).await;
    retained.unwrap();
    assert!(!is_here(Build::V2), "its name is left over");
    assert!(is_here(Build::V1) && is_here(Build::V3));
    assert_eq!(world.serving().await.as_deref(), Some("v3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_name_does_not_mean_is_not_up_to_date_for_compose() {
    let Some(shop) = Shop::new() else { return };
    let build = |version| {
        let line = format!("ENV VERSION={version}");
        shop.fixture.build("api:latest", &[&line]);
    };
    build("v1");
    shop.write_api("api:latest", &[]);
    shop.deploy().await;
    build("v2");
    shop.deploy().await;
    shop.up_changes_nothing();
    // What stands by is lost: it is made anew, of the image that is still held.
    for id in shop
        .fixture
        .must(&["ps", "-aq", "--filter", "status=exited"])
        .lines()
    {
        shop.fixture.must(&["rm", id]);
    }
    let engine = shop.engine().await;
    let back = engine.rollback(&Shop::id(), Goal::Previous, me()).await;
    let report = back.unwrap().await.unwrap();
    assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
    assert_eq!(shop.version(), "v1");
    // The name means v2, and the next `up` makes that.
    let said = shop.compose(&["up", "-d"]);
    assert!(said.contains("Recreating"), "{said}");
    assert_eq!(shop.version(), "v2");
    assert_eq!(shop.counted().len(), 1);
}
