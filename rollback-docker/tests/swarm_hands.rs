//! What people do to a Swarm's services, secrets and nodes, and what a deployment makes of it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::backend::{Availability, Backend, End, Live, WayBack};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_docker::{PullPolicy, SwarmBackend};
use rollback_testkit::fixtures::relay::Relay;
use rollback_testkit::world::{Build, World};
use serde_json::json;
use support::answers::answering;
use support::swarm::{SwarmWorld, world};
use support::{cx, operation};

/// A service of one task by hand, of the image that this tag means here.
fn by_hand(w: &SwarmWorld, args: &[&str], image: &str) {
    let create = ["service", "create", "-q", "--no-resolve-image", "--name"];
    let name = [w.name.as_str()];
    w.fixture
        .must(&[&create[..], &name, args, &[image]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_id_begins_with_our_name_was_taken_for_ours() {
    let Some(mut w) = world() else { return };
    by_hand(&w, &["--replicas=0", "-d"], &w.reference(Build::V1));
    let theirs = w.show()["ID"].as_str().unwrap().to_owned();
    // dockerd resolves it, as there is nobody of that name.
    w.name = theirs[..4].to_owned();
    assert_eq!(w.show()["ID"].as_str(), Some(theirs.as_str()));
    let seen = w.swarm().observe(&cx()).await.unwrap();
    assert!(matches!(seen.live, Live::Nothing), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_by_hand_went_back_to_what_its_tag_had_come_to_mean() {
    let Some(w) = world() else { return };
    let mode = ["ENV MODE="];
    let version = |v: &str| [format!("ENV VERSION={v}"), mode[0].to_owned()];
    let build = |v: &str| {
        let lines = version(v);
        w.fixture.build("by-hand:latest", &[&lines[0], &lines[1]]);
        let format = ["image", "inspect", "-f", "{{.Id}}", "by-hand:latest"];
        w.fixture.must(&format).trim().to_owned()
    };
    let first = build("first");
    let port = format!("PORT={}", w.port);
    by_hand(&w, &["--network=host", "--env", &port], "by-hand:latest");
    assert_eq!(w.serving().await.as_deref(), Some("first"));
    assert_ne!(build("second"), first);
    let backend = SwarmBackend::new(w.apart().pull(PullPolicy::IfMissing)).unwrap();
    let seen = backend.observe(&cx()).await.unwrap();
    let Live::One(found) = seen.live else {
        panic!("{seen:?}")
    };
    assert_eq!(found.instance.release.artifact().digest, first);
    assert_eq!(found.way_back, WayBack::Exact);
    let from = End::Placed(found.instance.clone());
    let op = w.plan(&backend, from, &w.reference(Build::V2)).await;
    let op = w.run(&backend, op).await;
    assert_eq!(w.serving().await.as_deref(), Some("v2"));
    backend.switch(&cx(), &op.reversed()).await.unwrap();
    backend.retire(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.serving().await.as_deref(), Some("first"));
    // Where no task shows it any more, that is said.
    w.fixture.must(&["service", "rm", &w.name]);
    by_hand(&w, &["--replicas=0", "-d"], "by-hand:latest");
    let seen = backend.observe(&cx()).await.unwrap();
    let Live::One(found) = seen.live else {
        panic!("{seen:?}")
    };
    assert!(matches!(found.way_back, WayBack::Lossy(_)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_kept_specification_is_missed_before_anything_moves_and_found_by_its_name() {
    let Some(w) = world() else { return };
    let source = w.fixture.dir().join("key");
    std::fs::write(&source, "value").unwrap();
    let source = source.to_str().unwrap().to_owned();
    let make = |what: &str| w.fixture.must(&[what, "create", "key", &source]);
    make("secret");
    make("config");
    let given = ["--secret=key", "--config=key"];
    by_hand(&w, &given, &w.reference(Build::V1));
    let with = SwarmBackend::new(w.apart()).unwrap();
    let first = w.deploy(&with, Build::V1).await;
    let names = ["container:Secrets", "container:Configs"];
    let bare = names
        .iter()
        .fold(w.apart(), |config, row| config.without(row));
    let without = SwarmBackend::new(bare).unwrap();
    let second = w.deploy(&without, Build::V2).await;
    let (from, to) = (End::Placed(second), End::Placed(first));
    let near = with.availability(&cx(), &to).await.unwrap();
    assert_eq!(near, Availability::Standby);
    for (what, gone) in [("secret", "secret key"), ("config", "config key")] {
        w.fixture.must(&[what, "rm", "key"]);
        let near = with.availability(&cx(), &to).await.unwrap();
        let Availability::Gone(why) = near else {
            panic!("{near:?}")
        };
        assert!(why.contains(gone), "{why}");
        let op = operation(&w.name, from.clone(), to.clone());
        let e = with.prepare(&cx(), &op).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Gone, "{e}");
        assert!(e.to_string().contains(gone), "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched);
        make(what);
    }
    let near = with.availability(&cx(), &to).await.unwrap();
    assert_eq!(near, Availability::Standby);
    let op = w.run(&with, operation(&w.name, from, to)).await;
    let container = &w.show()["Spec"]["TaskTemplate"]["ContainerSpec"];
    let id = w
        .fixture
        .must(&["secret", "inspect", "-f", "{{.ID}}", "key"]);
    assert_eq!(container["Secrets"][0]["SecretID"], id.trim());
    assert_eq!(w.live().await.as_ref(), op.to.instance());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_hand_again_is_prepared_for_again() {
    let Some(w) = world() else { return };
    let backend = SwarmBackend::new(w.apart()).unwrap();
    w.deploy(&backend, Build::V1).await;
    let hand = |label: &str| {
        w.fixture
            .must(&["service", "update", "-q", "--label-add", label, &w.name])
    };
    hand("by=one");
    let live = w.live().await.unwrap();
    let reference = w.reference(Build::V2);
    let mut op = w.plan(&backend, End::Placed(live), &reference).await;
    backend.prepare(&cx(), &op).await.unwrap();
    hand("by=two");
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    backend.switch(&cx(), &op).await.unwrap();
    assert_eq!(w.live().await.as_ref(), op.to.instance());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_delay_and_settings_of_a_way_back_outlive_a_deployment() {
    let Some(w) = world() else { return };
    let own = ["--update-delay=7ms", "--rollback-delay=9ms"];
    let more = [
        "--rollback-monitor=11ms",
        "--update-failure-action=continue",
    ];
    by_hand(&w, &[own, more].concat(), &w.reference(Build::V1));
    let rollback = w.show()["Spec"]["RollbackConfig"].clone();
    let kept = || {
        let spec = w.show()["Spec"].take();
        assert_eq!(spec["RollbackConfig"], rollback);
        spec["UpdateConfig"]["Delay"].clone()
    };
    let backend = SwarmBackend::new(w.apart()).unwrap();
    w.deploy(&backend, Build::V2).await;
    assert_eq!(kept(), 7_000_000);
    // Said anew, it holds for what was recorded before, too.
    w.fixture
        .must(&["service", "update", "-q", "--update-delay=8ms", &w.name]);
    w.deploy(&backend, Build::V3).await;
    assert_eq!(kept(), 8_000_000);
    assert_eq!(w.show()["Spec"]["UpdateConfig"]["FailureAction"], "pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_keeps_no_swarm_of_several_nodes_from_going_back() {
    let Some(w) = world() else { return };
    let backend = SwarmBackend::new(w.apart()).unwrap();
    let first = w.deploy(&backend, Build::V1).await;
    let second = w.deploy(&backend, Build::V2).await;
    let id = w.fixture.must(&["node", "ls", "-q"]);
    let node = |id: &str| json!({"ID": id, "Status": {"State": "ready"}});
    let nodes = json!([node(id.trim()), node("another")]);
    let socket = w.fixture.dir().join("two");
    answering(&socket, w.fixture.socket(), vec![("nodes".into(), nodes)]);
    let backend = SwarmBackend::new(w.apart().socket(&socket)).unwrap();
    let (from, to) = (End::Placed(second), End::Placed(first));
    let near = backend.availability(&cx(), &to).await.unwrap();
    assert_eq!(near, Availability::Remote);
    let fresh = w
        .plan(&backend, from.clone(), &w.reference(Build::V3))
        .await;
    w.fixture.stop_registry();
    let near = backend.availability(&cx(), &to).await.unwrap();
    assert_eq!(
        near,
        Availability::Remote,
        "nobody has said that it is gone"
    );
    // Of what never stood here nobody knows whether any node has it.
    let e = backend.prepare(&cx(), &fresh).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unreachable, "{e}");
    let op = w.run(&backend, operation(&w.name, from, to)).await;
    assert_eq!(w.live().await.as_ref(), op.to.instance());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_one_node_is_no_exact_way_back_where_there_are_several() {
    let Some(w) = world() else { return };
    w.fixture.build("local:latest", &["ENV VERSION=local"]);
    by_hand(&w, &[], "local:latest");
    let seen = |socket| async {
        let backend = SwarmBackend::new(w.apart().socket(socket)).unwrap();
        let Live::One(found) = backend.observe(&cx()).await.unwrap().live else {
            panic!("one is live")
        };
        found.way_back
    };
    assert_eq!(seen(w.fixture.socket()).await, WayBack::Exact);
    let nodes = json!([{"ID": "one"}, {"ID": "another"}]);
    let socket = w.fixture.dir().join("two");
    answering(&socket, w.fixture.socket(), vec![("nodes".into(), nodes)]);
    let way_back = seen(socket).await;
    assert!(matches!(way_back, WayBack::Lossy(_)), "{way_back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_a_service_that_31_bits_do_not_hold_is_sent() {
    let Some(w) = world() else { return };
    let backend = SwarmBackend::new(w.apart()).unwrap();
    w.deploy(&backend, Build::V1).await;
    let op = w.prepared(&backend, Build::V2).await;
    let mut shown = w.show();
    shown["Version"]["Index"] = json!(3_000_000_000_u64);
    let relay = Relay::new(w.fixture.dir().join("relay"), w.fixture.socket());
    let socket = w.fixture.dir().join("high");
    let question = format!("services/{}", w.name);
    answering(&socket, relay.socket().to_owned(), vec![(question, shown)]);
    let backend = SwarmBackend::new(w.apart().socket(&socket)).unwrap();
    let e = backend.switch(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    let heard = String::from_utf8_lossy(&relay.take().bytes).into_owned();
    assert!(heard.contains("/update?version=3000000000 "), "{heard}");
}
