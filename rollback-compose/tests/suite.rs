//! A container that is configured by a compose file passes the suite that every backend passes, on a
//! real dockerd and with a real compose.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use rollback_testkit::backend_suite::{WorldBuilder, test_all, test_contract};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::world::World;
use support::world::ComposeWorld;

struct Builder(Arc<DockerFixture>);

#[async_trait]
impl WorldBuilder for Builder {
    async fn build(&self) -> Box<dyn World> {
        Box::new(ComposeWorld::new(&self.0).await)
    }

    // Compose takes half a second to say anything.
    fn at_once(&self) -> usize {
        4
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_a_compose_file_passes_the_suite() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    test_all(&Builder(Arc::new(fixture))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_a_compose_file_keeps_the_contract() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    test_contract(&Builder(Arc::new(fixture))).await;
}
