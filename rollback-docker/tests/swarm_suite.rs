//! The Swarm backend passes the suite that every backend passes, on a real Swarm of one node.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use rollback_testkit::backend_suite::{WorldBuilder, test_all, test_contract};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::world::World;
use support::swarm::{SwarmWorld, swarm};

struct Builder(Arc<DockerFixture>);

#[async_trait]
impl WorldBuilder for Builder {
    async fn build(&self) -> Box<dyn World> {
        Box::new(SwarmWorld::new(&self.0))
    }

    // Swarm lets each task that stops wait for two seconds.
    fn at_once(&self) -> usize {
        4
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swarm_backend_passes_the_suite() {
    let Some(fixture) = swarm() else { return };
    test_all(&Builder(Arc::new(fixture))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swarm_backend_keeps_the_contract() {
    let Some(fixture) = swarm() else { return };
    test_contract(&Builder(Arc::new(fixture))).await;
}
