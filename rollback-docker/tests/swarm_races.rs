//! Others at the same Swarm, and managers that are away.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::{Backend, End, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::history::{Epoch, Fence, HistoryId};
use rollback_docker::SwarmBackend;
use rollback_testkit::fixtures::relay::{Mode, Relay};
use rollback_testkit::world::{Build, World};
use support::swarm::world;
use support::{cx, operation};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_run_again_where_nothing_else_was_asked_for() {
    let Some(w) = world() else { return };
    let relay = Relay::new(w.fixture.dir().join("relay"), w.fixture.socket());
    let backend = SwarmBackend::new(w.config().socket(relay.socket())).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = w.prepared(&backend, Build::V2).await;
    let hand = |args: &'static [&'static str]| {
        let (fixture, name) = (Arc::clone(&w.fixture), w.name.clone());
        let first = ["service", "update", "-d", "-q"];
        move || drop(fixture.must(&[&first[..], args, &[&*name]].concat()))
    };
    let updates = || {
        let heard = String::from_utf8_lossy(&relay.take().bytes).into_owned();
        heard.matches("/update?version=").count()
    };
    // The same again: its version moves, and nothing else.
    updates();
    let id = format!("/services/{}/update", w.show()["ID"].as_str().unwrap());
    relay.before(&id, hand(&["--no-resolve-image"]));
    backend.switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    assert!(updates() >= 2, "it was refused once");
    // Something else: that is somebody's wish.
    let op = w.prepared(&backend, Build::V3).await;
    relay.before(&id, hand(&["--label-add", "by=hand"]));
    let e = backend.switch(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    let e = backend.switch(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    assert!(
        !e.is_transient() && e.to_string().contains("by hand"),
        "{e}"
    );
    assert_eq!(w.show()["Spec"]["Labels"]["by"], "hand");
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_somebody_removes_as_it_is_updated_is_a_lost_race() {
    let Some(w) = world() else { return };
    let relay = Relay::new(w.fixture.dir().join("relay"), w.fixture.socket());
    let backend = SwarmBackend::new(w.apart().socket(relay.socket())).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = w.prepared(&backend, Build::V2).await;
    let id = format!("/services/{}/update", w.show()["ID"].as_str().unwrap());
    let (fixture, name) = (Arc::clone(&w.fixture), w.name.clone());
    relay.before(&id, move || drop(fixture.must(&["service", "rm", &name])));
    let e = backend.switch(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_away_for_one_look_does_not_end_a_rollout() {
    let Some(w) = world() else { return };
    let relay = Relay::new(w.fixture.dir().join("relay"), w.fixture.socket());
    let relay = Arc::new(relay);
    let backend = SwarmBackend::new(w.apart().socket(relay.socket())).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = w.prepared(&backend, Build::V2).await;
    let id = format!("/services/{}/update", w.show()["ID"].as_str().unwrap());
    let body = r#"{"message":"rpc error: code = Unavailable desc = connection error"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let next = Arc::clone(&relay);
    relay.before(&id, move || next.set(Mode::Answer(answer.into_bytes())));
    backend.switch(&cx(), &op).await.unwrap();
    assert_eq!(w.live().await.as_ref(), op.to.instance());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_in_no_swarm_is_said_to_be_no_manager() {
    let Some(w) = world() else { return };
    w.fixture.must(&["swarm", "leave", "--force"]);
    let e = w
        .swarm()
        .observe(&Context::new(Duration::from_secs(20)))
        .await;
    let e = e.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("manager"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_place_already_bears_the_token_of_who_asked_for_it_last() {
    let Some(w) = world() else { return };
    let backend = SwarmBackend::new(w.apart()).unwrap();
    let own = HistoryId::generate().unwrap();
    let under = |op: &Operation| {
        let (history, life) = (own.clone(), own.clone());
        let epoch = Epoch(op.sequence.0);
        cx().fenced(Fence::new(
            history,
            life,
            op.sequence,
            epoch,
            op.deployment.clone(),
        ))
    };
    let op = w
        .plan(&backend, End::Nothing, &w.reference(Build::V1))
        .await;
    let mut first = op.clone();
    first.to = End::Placed(backend.prepare(&under(&op), &op).await.unwrap().to);
    let before = backend.switch(&under(&op), &first).await.unwrap();
    let again = operation(&w.name, first.to.clone(), first.to.clone());
    backend.prepare(&under(&again), &again).await.unwrap();
    let after = backend.switch(&under(&again), &again).await.unwrap();
    assert_eq!(before, after, "no task was started anew");
    let label = w.show()["Spec"]["Labels"]["rollback.fence"].clone();
    let borne: Fence = serde_json::from_str(label.as_str().unwrap()).unwrap();
    assert_eq!(borne.sequence, again.sequence);
    // So an earlier one is refused even where somebody has removed the token.
    let tokens = w.fixture.must(&["config", "ls", "--format", "{{.Name}}"]);
    let token = tokens.lines().find(|name| name.ends_with(".token"));
    w.fixture.must(&["config", "rm", token.unwrap()]);
    let e = backend.switch(&under(&first), &first).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
}
