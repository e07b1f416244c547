//! The systemd backend passes the suite that every backend passes, in a real systemd.

mod support;

use rollback_testkit::backend_suite::{test_all, test_contract};

#[tokio::test(flavor = "multi_thread")]
async fn systemd_backend_passes_the_suite() {
    let Some(fixture) = support::boot() else {
        return;
    };
    test_all(&support::Worlds(fixture)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_backend_keeps_the_contract() {
    let Some(fixture) = support::boot() else {
        return;
    };
    test_contract(&support::Worlds(fixture)).await;
}
