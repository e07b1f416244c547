//! The docker backend passes the suite that every backend passes, on a real dockerd with networks:
//! each container has ports of two addresses, and fixed addresses and an alias in a network.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use rollback_testkit::backend_suite::{WorldBuilder, test_all, test_contract};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::world::World;

struct Builder(Arc<DockerFixture>);

/// Of worlds in which a successor runs beside what is live.
struct Beside(Arc<DockerFixture>);

#[async_trait]
impl WorldBuilder for Beside {
    async fn build(&self) -> Box<dyn World> {
        Box::new(support::DockerWorld::beside(&self.0))
    }

    fn at_once(&self) -> usize {
        2
    }
}

#[async_trait]
impl WorldBuilder for Builder {
    async fn build(&self) -> Box<dyn World> {
        Box::new(support::DockerWorld::bridged(&self.0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_backend_passes_the_suite() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    test_all(&Builder(Arc::new(fixture))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_backend_keeps_the_contract() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    test_contract(&Builder(Arc::new(fixture))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_backend_passes_the_suite_with_a_successor_beside() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    test_all(&Beside(Arc::new(fixture))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the contract does not tell the two ways apart, and this takes two minutes: for who changes one"]
async fn docker_backend_keeps_the_contract_with_a_successor_beside() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    test_contract(&Beside(Arc::new(fixture))).await;
}
