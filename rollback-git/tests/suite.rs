//! The git backend passes the suite that every backend passes, on real repositories.

mod support;

use async_trait::async_trait;
use rollback_testkit::backend_suite::{WorldBuilder, test_all, test_contract};
use rollback_testkit::world::World;

struct Builder;

#[async_trait]
impl WorldBuilder for Builder {
    async fn build(&self) -> Box<dyn World> {
        Box::new(support::GitWorld::new())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn git_backend_passes_the_suite() {
    test_all(&Builder).await;
    test_contract(&Builder).await;
}
