//! References: stable when good, typed errors when not.

use std::sync::Arc;

use rollback_core::backend::End;
use rollback_core::error::{BackendErrorKind, LiveImpact};

use super::driver::Driver;
use crate::world::{Build, World};

pub(super) async fn whom_it_serves_and_where_every_value_says_alike(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let (one, other) = (d.backend(), d.backend());
    assert_eq!(*one.workload(), world.workload());
    assert_eq!(one.place(), other.place());
    d.deploy(Build::V1).await;
    assert_eq!(d.backend().place(), one.place(), "whatever is live");
}

pub(super) async fn resolving_is_stable_and_changes_nothing(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.resolve(Build::V1).await;
    assert_eq!(d.resolve(Build::V1).await, first);
    assert_ne!(d.resolve(Build::V2).await.digest(), first.digest());
    assert_eq!(*first.backend(), d.backend().kind());
    assert_eq!(d.live().await, End::Nothing);
    d.expect_nothing().await;
}

pub(super) async fn an_unknown_reference_is_a_typed_error(world: Arc<dyn World>) {
    let reference = world.reference(Build::Missing);
    let d = Driver::new(world);
    d.deploy(Build::V1).await;
    let e = d
        .backend()
        .resolve(&Driver::cx(), &reference)
        .await
        .expect_err("it is missing");
    assert_eq!(e.kind(), BackendErrorKind::NotFound, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    d.expect(Build::V1, None).await;
}

pub(super) async fn garbage_references_are_typed_errors(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let long = "x".repeat(10_000);
    for bad in [
        "",
        " ",
        "a\0b",
        "../../etc/passwd\0",
        "--upload-pack=x",
        "..",
        "а",
        "a\nb",
        &long,
    ] {
        let e = match d.backend().resolve(&Driver::cx(), bad).await {
            Ok(release) => panic!("{bad:?} resolved to {release}"),
            Err(e) => e,
        };
        assert!(
            matches!(
                e.kind(),
                BackendErrorKind::NotFound | BackendErrorKind::InvalidReference
            ),
            "{bad:?}: {e}"
        );
        assert_eq!(e.impact(), LiveImpact::Untouched, "{bad:?}: {e}");
        assert!(e.to_string().len() < 1_000, "an error does not echo 10 kB");
    }
}
