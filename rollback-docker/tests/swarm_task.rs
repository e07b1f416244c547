//! A container that is a task of a Swarm service is the Swarm's: whatever the container backend does to
//! it, the Swarm answers with another one.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use rollback_core::backend::{Backend, End};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::guard::Remediation;
use rollback_docker::{
    DockerBackend, DockerConfig, PullPolicy, RecreateContainer, RestartContainer,
};
use rollback_testkit::world::{Build, World};
use support::swarm::{SwarmWorld, swarm};
use support::{cx, operation};

/// A service of one task, and a container backend that was given that task's name.
async fn taken_for_a_container() -> Option<(SwarmWorld, Arc<DockerBackend>)> {
    let w = SwarmWorld::new(&Arc::new(swarm()?));
    w.deploy(&w.swarm(), Build::V1).await;
    let label = format!("label=com.docker.swarm.service.name={}", w.name);
    let shown = ["ps", "--filter", &label, "--format", "{{.Names}}"];
    let name = w.fixture.must(&shown);
    let workload = "task@web-1".parse().unwrap();
    let config = DockerConfig::new(workload, name.trim(), w.fixture.dir().join("task"))
        .socket(w.fixture.socket())
        .pull(PullPolicy::IfMissing);
    let backend = Arc::new(DockerBackend::new(config).unwrap());
    Some((w, backend))
}

async fn live(backend: &DockerBackend) -> End {
    let seen = backend.observe(&cx()).await.unwrap();
    End::Placed(seen.live_instance().unwrap().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_not_deployed_over() {
    let Some((w, backend)) = taken_for_a_container().await else {
        return;
    };
    let release = backend.resolve(&cx(), &w.reference(Build::V2)).await;
    let to = End::Planned(release.unwrap());
    let op = operation("task", live(&backend).await, to);
    let e = backend.prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("Swarm service"), "{e}");
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_neither_restarted_nor_recreated() {
    let Some((w, backend)) = taken_for_a_container().await else {
        return;
    };
    let ids = || w.fixture.must(&["ps", "-aq", "--no-trunc"]);
    let started = || {
        let format = "{{.State.StartedAt}}";
        w.fixture.must(&["inspect", "-f", format, ids().trim()])
    };
    let (id, began) = (ids(), started());
    let op = operation("task", End::Nothing, live(&backend).await);
    let remediations: [Box<dyn Remediation>; 2] = [
        Box::new(RestartContainer::new(Arc::clone(&backend))),
        Box::new(RecreateContainer::new(Arc::clone(&backend))),
    ];
    for remediation in remediations {
        let name = remediation.name();
        let told = remediation.attempt(&cx(), &op, "it is sick").await;
        let e = told.expect_err(&name);
        assert!(e.to_string().contains("Swarm service"), "{name}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{name}: {e}");
        assert_eq!((ids(), started()), (id.clone(), began.clone()), "{name}");
    }
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}
