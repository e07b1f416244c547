//! The fake backend passes the suite that real ones pass, in every rollout.

use rollback_testkit::backend_suite::{test_all, test_contract};
use rollback_testkit::fake::{FakeTarget, FakeWorlds};

#[tokio::test(flavor = "multi_thread")]
async fn fake_backend_passes_the_suite_replacing() {
    test_all(&FakeWorlds::new(FakeTarget::replacing)).await;
    test_contract(&FakeWorlds::new(FakeTarget::replacing)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_backend_passes_the_suite_beside() {
    test_all(&FakeWorlds::new(FakeTarget::beside)).await;
    test_contract(&FakeWorlds::new(FakeTarget::beside)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_backend_passes_the_suite_managed() {
    test_all(&FakeWorlds::new(FakeTarget::managed)).await;
    test_contract(&FakeWorlds::new(FakeTarget::managed)).await;
}
