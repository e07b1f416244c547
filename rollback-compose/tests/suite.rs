//! A container that is configured by a compose file passes the suite that every backend passes, on a
//! real dockerd and with a real compose.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use rollback_testkit::backend_suite::{WorldBuilder, test_all, test_contract, test_matching};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::world::World;
use support::world::ComposeWorld;

/// The cases where labels change hands; the rest is rollback-docker's to pass.
const WITH_LABELS: [&str; 3] = [
    "a_redeploy_takes_nothing_that_was_kept",
    "a_rollback_reuses_the_standby_and_rolls_forward_again",
    "a_half_made_switch_is_undone",
];

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
    let builder = Builder(Arc::new(fixture));
    if support::is_whole() {
        return test_all(&builder).await;
    }
    for part in WITH_LABELS {
        test_matching(&builder, part).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_a_compose_file_keeps_the_contract() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    test_contract(&Builder(Arc::new(fixture))).await;
}
