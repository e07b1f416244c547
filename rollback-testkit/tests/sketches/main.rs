//! Sketches of platforms that are to come: each compiles against today's traits and does nothing, so
//! that a signature that would have to change is found before anything is built on it.
//!
//! Of each, the head of its file says what was checked on paper, and what was awkward.

#![allow(clippy::unwrap_used, clippy::panic)]

mod blue_green;
mod kubernetes;
mod postgres;

use std::sync::Arc;

use rollback_core::prelude::*;

/// What every verb of a sketch that acts or looks says.
fn sketched(verb: &str) -> BackendError {
    BackendError::new(BackendErrorKind::Unsupported, "this is a sketch")
        .on(verb)
        .untouched()
}

fn workload(text: &str) -> WorkloadId {
    text.parse().unwrap()
}

fn ada() -> Actor {
    Actor::user("ada").unwrap()
}

/// A release of this backend, without configuration.
fn release(backend: &dyn Backend) -> Release {
    Release::new(backend.kind(), Artifact::new("v1", "sha256:1"))
}

/// An engine takes the backend as any other, shared as one of a kind that is not known, and hands on
/// what it says.
async fn composes(backend: Arc<dyn Backend>) {
    let id = backend.workload().clone();
    let workload = Workload::new(backend).auto_rollback();
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let request = Request::deploy(id, "v1", ada());
    let e = engine.preview(&request).await.unwrap_err();
    let kind = ErrorKind::Backend(BackendErrorKind::Unsupported);
    assert_eq!(e.kind(), kind, "{e}");
}

/// Two of them at one place are refused when the engine is built, whatever their workloads.
fn has_its_place_alone(one: impl Backend + 'static, other: impl Backend + 'static) {
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(one))
        .workload(Workload::new(other));
    let e = engine.build().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest, "{e}");
}
