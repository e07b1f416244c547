//! A shelf that an earlier version wrote: its digests had no key. What it has on record is
//! recognised, and gone back to.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rollback_core::backend::{Backend, End, Handle, Instance, Live};
use rollback_core::drift::drift;
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::{Driver, Step};
use support::{SystemdWorld, boot};

/// As version 0.1.0 wrote it, of `old.service`: the first deployment stands by, the second is live.
const SHELF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/shelf-1");
const FIRST: &str = "deploy-20250101-000001-0123456789abcdef";
const SECOND: &str = "deploy-20250101-000002-0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_has_on_record_is_recognised() {
    let Some(fixture) = boot() else { return };
    let world = || Arc::new(SystemdWorld::called(Arc::clone(&fixture), "old.service"));
    what_it_put_in_place_is_the_same_release(world()).await;
    what_it_found_is_the_same_instance(world()).await;
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// An instance as the history has it.
fn recorded(id: &str) -> Instance {
    let shelved = fs::read(Path::new(SHELF).join("instances").join(id)).unwrap();
    let shelved: serde_json::Value = serde_json::from_slice(&shelved).unwrap();
    Instance::new(
        serde_json::from_value(shelved["release"].clone()).unwrap(),
        Handle::new(id),
    )
}

fn content(instance: &Instance) -> PathBuf {
    let digest = &instance.release.artifact().digest;
    Path::new(SHELF)
        .join("content")
        .join(digest.strip_prefix("sha256:").unwrap())
}

fn drop_in(world: &SystemdWorld) -> PathBuf {
    let path = world
        .fixture
        .root()
        .join("etc/systemd/system/old.service.d/nice.conf");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "[Service]\nNice=5\n").unwrap();
    path
}

fn start(world: &SystemdWorld, what: &Instance) {
    fs::copy(content(what), world.fragment()).unwrap();
    world.call(&["Reload"]);
    world.call(&["RestartUnit", "ss", &world.unit, "replace"]);
}

async fn live(d: &Driver) -> rollback_core::backend::Sighting {
    match d.observe().await.live {
        Live::One(sighting) => sighting,
        other => panic!("one is live: {other:?}"),
    }
}

async fn what_it_put_in_place_is_the_same_release(world: Arc<SystemdWorld>) {
    let (first, second) = (recorded(FIRST), recorded(SECOND));
    let drop_in = drop_in(&world);
    start(&world, &second);
    let state = world.dir().join("state");
    copied(Path::new(SHELF), &state);
    let d = Driver::new(world.clone());
    let invocation = live(&d).await.evidence.0["invocation_id"].clone();
    let installed = fs::read_to_string(state.join("installed")).unwrap();
    let installed = installed.replace("INVOCATION", &invocation);
    fs::write(state.join("installed"), installed).unwrap();

    let seen = d.observe().await;
    assert!(!drift(Some(&second), &seen).is_drift(), "{seen:?}");
    let near = d.availability(&End::Placed(first.clone())).await;
    assert_eq!(near, Availability::Standby);
    fs::write(&drop_in, "[Service]\nNice=6\n").unwrap();
    assert!(drift(Some(&second), &d.observe().await).is_drift());
    fs::write(&drop_in, "[Service]\nNice=5\n").unwrap();

    // What is asked for again is what is on record: already live, or a way back.
    let sources = world.dir().join("sources");
    for (name, what) in [("same.service", &second), ("former.service", &first)] {
        fs::copy(content(what), sources.join(name)).unwrap();
        let release = world.systemd().resolve(&Driver::cx(), name).await.unwrap();
        assert_eq!(release.digest(), what.release.digest(), "{name}");
    }

    let back = d.operation(End::Placed(first.clone())).await;
    let back = d.run(back).await;
    assert_eq!(back.to, End::Placed(first.clone()));
    assert_eq!(
        fs::read(world.fragment()).unwrap(),
        fs::read(content(&first)).unwrap()
    );
    assert_eq!(support::judged(&d, &back).await, Verdict::Passed);
    assert!(!drift(Some(&first), &d.observe().await).is_drift());

    // What is new has a key, and what is old is still gone back to.
    let new = fs::read_to_string(content(&first)).unwrap() + "# new\n";
    fs::write(sources.join("new.service"), new).unwrap();
    let release = world.systemd().resolve(&Driver::cx(), "new.service").await;
    let release = release.unwrap();
    assert!(
        release.artifact().digest.starts_with("hmac-sha256:"),
        "{release:?}"
    );
    let op = d.operation(End::Planned(release)).await;
    let op = d.run(op).await;
    d.go_back(&op).await;
    assert!(!drift(Some(&first), &d.observe().await).is_drift());
    let forward = d.operation(End::Placed(second.clone())).await;
    d.run(forward).await;
    assert!(!drift(Some(&second), &d.observe().await).is_drift());
    world.call(&["StopUnit", "ss", &world.unit, "replace"]);
    fs::remove_file(world.fragment()).unwrap();
    fs::remove_dir_all(drop_in.parent().unwrap()).unwrap();
    world.call(&["Reload"]);
}

/// The earlier version adopted what somebody else had made; only the history knows of it.
async fn what_it_found_is_the_same_instance(world: Arc<SystemdWorld>) {
    let made = recorded(FIRST);
    let drop_in = drop_in(&world);
    start(&world, &made);
    let state = world.dir().join("state");
    fs::create_dir_all(&state).unwrap();
    fs::copy(
        Path::new(SHELF).join("fingerprint.key"),
        state.join("fingerprint.key"),
    )
    .unwrap();
    let path = "etc/systemd/system/old.service";
    let drop_ins = [(
        format!("{path}.d/nice.conf"),
        FacetValue::Plain(support::sha256(&fs::read(&drop_in).unwrap())),
    )];
    let artifact = Artifact::new(path, made.release.artifact().digest.clone());
    let release = Release::new(made.release.backend().clone(), artifact)
        .with_facet("drop-ins", Facet::Table(drop_ins.into()))
        .with_facet("unit", made.release.facets()["unit"].clone());
    let name = support::sha256(format!("{path}\0{}", release.digest()).as_bytes());
    let handle = Handle::new(format!("found-{}", &name[..24]));
    let adopted = Instance::new(release, handle);
    let d = Driver::new(world.clone());
    assert_eq!(live(&d).await.instance, adopted);
    // Also once something was prepared, and nothing came of it.
    fs::write(
        world.dir().join("sources/new.service"),
        "[Service]\nExecStart=/bin/sleep 9\n",
    )
    .unwrap();
    let release = world.systemd().resolve(&Driver::cx(), "new.service").await;
    let mut op = d.operation(End::Planned(release.unwrap())).await;
    d.must(Step::Prepare, &mut op).await;
    d.must(Step::Retire, &mut op.reversed()).await;
    assert_eq!(live(&d).await.instance, adopted);
    let mut op = d.operation(op.to).await;
    for step in [Step::Prepare, Step::Switch, Step::Retire] {
        d.must(step, &mut op).await;
    }
    let back = d.operation(End::Placed(adopted.clone())).await;
    d.run(back).await;
    assert!(!drift(Some(&adopted), &d.observe().await).is_drift());
    // What is found from now on has a key.
    fs::write(world.fragment(), "[Service]\nExecStart=/bin/sleep 8\n").unwrap();
    fs::remove_file(state.join("installed")).unwrap();
    let found = live(&d).await.instance;
    assert!(
        found.release.artifact().digest.starts_with("hmac-sha256:"),
        "{found:?}"
    );
}
