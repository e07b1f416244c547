//! Registries: who is asked, with what, and what an answer means.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rollback_core::backend::{Availability, Backend, End};
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::{BackendError, BackendErrorKind, ErrorKind, LiveImpact};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, PullPolicy};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, cx, fixture, registry_that_says};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

/// A registry that asks everyone for a password, has nothing, and remembers what it was asked.
fn recording(fixture: &DockerFixture) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = fixture.listen().unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = vec![0; 8192];
            let n = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let known = request
                .to_ascii_lowercase()
                .contains("authorization: basic");
            record.lock().unwrap().push(request);
            let status = match known {
                true => "404 Not Found\r\n",
                false => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\n",
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    (at, asked)
}

/// `me:right-password`, as HTTP says it.
const BASIC: &str = "bWU6cmlnaHQtcGFzc3dvcmQ=";

#[tokio::test]
async fn a_password_is_sent_to_any_registry() {
    let Some(w) = world() else { return };
    let ((own, of_own), (evil, of_evil)) = (recording(&w.fixture), recording(&w.fixture));
    let config = w.config().credentials(&own, "me", "right-password");
    let backend = DockerBackend::new(config).unwrap();
    let base = w
        .plan(&backend, End::Nothing, &w.reference(Build::V1))
        .await;
    for at in [&own, &evil] {
        let tag = backend.resolve(&cx(), &format!("{at}/x:v1")).await;
        tag.unwrap_err();
        let mut planned = serde_json::to_value(base.to.release().unwrap()).unwrap();
        planned["artifact"]["digest"] = format!("{at}/x@sha256:{}", "a".repeat(64)).into();
        let to = End::Planned(serde_json::from_value(planned).unwrap());
        backend.availability(&cx(), &to).await.unwrap();
        let op = w.operation(End::Nothing, to);
        backend.prepare(&cx(), &op).await.unwrap_err();
    }
    let sent = |asked: &Mutex<Vec<String>>| {
        let asked = asked.lock().unwrap();
        assert!(asked.len() >= 3, "it was asked: {asked:?}");
        asked.iter().filter(|r| r.contains(BASIC)).count()
    };
    assert!(sent(&of_own) > 0, "where it belongs it is sent");
    assert_eq!(sent(&of_evil), 0, "to another host it is not");
    let of_evil = of_evil.lock().unwrap();
    assert!(
        !of_evil
            .iter()
            .any(|r| r.to_ascii_lowercase().contains("authorization:"))
    );
    let bad = w.config().credentials("not a host", "me", "right-password");
    let e = DockerBackend::new(bad).unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::InvalidReference);
    assert!(!format!("{e} {e:?}").contains("right-password"));
}

#[tokio::test]
async fn a_stale_local_tag_is_deployed_when_the_registry_is_away() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let stale = w.reference(Build::V1);
    w.fixture.must(&["pull", "-q", &stale]);
    let refused = async |reference: &str, kind: BackendErrorKind| {
        let e = backend.resolve(&cx(), reference).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{reference}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    };
    for (status, kind) in [
        ("401 Unauthorized", BackendErrorKind::Unauthorized),
        ("404 Not Found", BackendErrorKind::NotFound),
        ("429 Too Many Requests", BackendErrorKind::Exhausted),
        ("503 Service Unavailable", BackendErrorKind::Unreachable),
    ] {
        let reference = format!("{}/api:v1", registry_that_says(&w.fixture, status));
        w.fixture.must(&["tag", &stale, &reference]);
        refused(&reference, kind).await;
    }
    w.fixture.stop_registry();
    refused(&stale, BackendErrorKind::Unreachable).await;
    // By name it is taken, and the release says so.
    for policy in [PullPolicy::IfMissing, PullPolicy::Never] {
        let backend = DockerBackend::new(w.config().pull(policy)).unwrap();
        let release = backend.resolve(&cx(), &stale).await.unwrap();
        assert_eq!(release.artifact().digest, w.digest(Build::V1));
        let note = release.artifact().note.clone().unwrap();
        assert!(note.contains("no registry was asked"), "{note}");
    }
    // What is not here is asked for, or is not there.
    let other = w.reference(Build::V2);
    for (policy, kind) in [
        (PullPolicy::IfMissing, BackendErrorKind::Unreachable),
        (PullPolicy::Never, BackendErrorKind::NotFound),
    ] {
        let backend = DockerBackend::new(w.config().pull(policy)).unwrap();
        let e = backend.resolve(&cx(), &other).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
    }
}

/// Removes a build's containers and its image from the daemon; the registry keeps it.
fn forget(w: &DockerWorld, build: Build) {
    let image = ["image", "inspect", "-f", "{{.Id}}", w.digest(build)];
    let image = w.fixture.must(&image);
    for (id, _) in w.containers() {
        if w.inspect(&id, "{{.Image}}") == image.trim() {
            w.fixture.must(&["rm", "-f", &id]);
        }
    }
    w.fixture.must(&["rmi", "-f", image.trim()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_registry_passes_over_the_last_healthy_release() {
    let Some(w) = world() else { return };
    let workload = Workload::new(w.docker());
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let (id, me) = (w.workload(), Actor::user("me").unwrap());
    let mut ids = Vec::new();
    for build in [Build::V1, Build::V2, Build::V3] {
        let run = engine.deploy(&id, w.reference(build), me.clone());
        let report = run.await.unwrap().await.unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        ids.push(report.deployment().clone());
    }
    let second = ids[1].instance().unwrap().clone();
    forget(&w, Build::V2);
    let backend = w.docker();
    let end = End::Planned(second.release.clone());
    let availability = async || backend.availability(&cx(), &end).await.unwrap();
    assert_eq!(availability().await, Availability::Remote);
    w.fixture.stop_registry();
    assert_eq!(availability().await, Availability::Remote, "not gone");
    let back = engine.rollback(&id, Goal::LastHealthy, me.clone());
    let report = back.await.unwrap().await.unwrap();
    assert_eq!(report.verdict(), &Verdict::Unknown);
    assert!(!report.succeeded());
    let tried = report.deployment().trigger().restores();
    assert_eq!(tried, Some(ids[1].id()), "the last healthy one");
    let said = format!("{:?}", report.deployment().cause());
    assert!(said.contains("connection refused"), "{said}");
    assert_eq!(w.serving().await.as_deref(), Some("v3"), "untouched");
    w.fixture.start_registry().unwrap();
    let back = engine.rollback(&id, Goal::LastHealthy, me.clone());
    assert!(back.await.unwrap().await.unwrap().succeeded());
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    // Only who says that it is gone is believed.
    let v1 = ids[0].instance().unwrap().release.clone();
    for (status, gone) in [
        ("401 Unauthorized", false),
        ("429 Too Many Requests", false),
        ("503 Service Unavailable", false),
        ("404 Not Found", true),
    ] {
        let mut planned = serde_json::to_value(&v1).unwrap();
        let at = registry_that_says(&w.fixture, status);
        planned["artifact"]["digest"] = format!("{at}/x@sha256:{}", "b".repeat(64)).into();
        let end = End::Planned(serde_json::from_value(planned).unwrap());
        let seen = backend.availability(&cx(), &end).await.unwrap();
        assert_eq!(
            matches!(&seen, Availability::Gone(_)),
            gone,
            "{status}: {seen:?}"
        );
    }
    let e = engine.deploy(&id, w.reference(Build::Missing), me);
    let e = e.await.map(drop).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
}

#[tokio::test]
async fn registry_failures_are_told_apart() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let live = w.deploy(Build::V2).await;
    let (from, state) = (
        || End::Placed(live.clone()),
        || w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}"),
    );
    let before = state();
    let op = w.plan(&backend, from(), &w.reference(Build::V1)).await;
    let missing = backend.resolve(&cx(), &w.reference(Build::Missing)).await;
    let missing = missing.unwrap_err();
    assert_eq!(missing.kind(), BackendErrorKind::NotFound);
    assert!(
        missing.to_string().contains("manifest unknown"),
        "{missing}"
    );
    for (status, kind, said) in [
        (
            "401 Unauthorized",
            BackendErrorKind::Unauthorized,
            "unauthorized",
        ),
        ("404 Not Found", BackendErrorKind::NotFound, "404"),
        ("429 Too Many Requests", BackendErrorKind::Exhausted, "429"),
        (
            "503 Service Unavailable",
            BackendErrorKind::Unreachable,
            "503",
        ),
    ] {
        let at = support::registry_that_says(&w.fixture, status);
        let reference = format!("{at}/api:v1");
        let e = backend.resolve(&cx(), &reference).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{status}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{status}: {e}");
        let says = |e: &BackendError| e.to_string().to_ascii_lowercase().contains(said);
        assert!(says(&e), "{status}: {e}");
        // The same inside the stream of a pull.
        let digest = format!("{at}/api@sha256:{}", "a".repeat(64));
        let mut planned = serde_json::to_value(op.to.release().unwrap()).unwrap();
        planned["artifact"]["digest"] = digest.into();
        let to = End::Planned(serde_json::from_value(planned).unwrap());
        let pull = backend.prepare(&cx(), &w.operation(from(), to)).await;
        let e = pull.unwrap_err();
        // What was there once, and is no longer, is told as that.
        let (kind, said) = match kind {
            BackendErrorKind::NotFound => (BackendErrorKind::Gone, "no longer has the image"),
            kind => (kind, said),
        };
        let says = |e: &BackendError| e.to_string().to_ascii_lowercase().contains(said);
        assert_eq!(e.kind(), kind, "pull, {status}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "pull, {status}: {e}");
        assert!(says(&e), "pull, {status}: {e}");
        assert_eq!(state(), before, "{status}");
    }
    w.fixture.stop_registry();
    let e = backend.resolve(&cx(), &w.reference(Build::V1)).await;
    assert_eq!(e.unwrap_err().kind(), BackendErrorKind::Unreachable);
    let e = backend.prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unreachable, "{e}");
    assert!(e.is_transient());
    assert!(e.to_string().contains("connection refused"), "{e}");
    assert_eq!(state(), before);
    assert_eq!(w.containers().len(), 1, "nothing is left of what failed");
    w.fixture.start_registry().unwrap();
    w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
}
