//! What lies in the units' search path, made by others, on a real systemd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::{Backend, End, Live, Operation, WayBack};
use rollback_core::drift::drift;
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::{Build, World};
use support::{SystemdWorld, boot};

#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_is_seen_and_not_lost() {
    let Some(fixture) = boot() else { return };
    let world = || Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    an_instance_of_a_template_is_adopted_and_put_back(Arc::new(SystemdWorld::of_template(
        Arc::clone(&fixture),
    )))
    .await;
    every_directory_of_drop_ins_is_looked_at(world()).await;
    a_fragment_that_would_hide_ours_is_refused(world()).await;
    a_linked_unit_comes_back_as_a_link(world()).await;
    a_vendors_unit_that_was_updated_meanwhile_comes_back_as_it_was(world()).await;
    a_unit_that_runs_on_without_its_file_is_stopped_when_undone(world()).await;
    what_never_ends_to_be_read_is_no_unit(world()).await;
    an_empty_unit_file_is_a_mask(world()).await;
    an_alias_is_refused(world()).await;
    a_transient_unit_is_refused(world()).await;
    a_unit_that_is_not_utf8_comes_back_byte_for_byte(world()).await;
    a_way_back_loses_nothing_whatever_was_done_by_hand(world()).await;
}

fn below_root(world: &SystemdWorld, path: &str) -> PathBuf {
    let path = world.fixture.root().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn found(live: Live) -> rollback_core::backend::Sighting {
    match live {
        Live::One(sighting) => sighting,
        other => panic!("one is live, not {other:?}"),
    }
}

async fn an_instance_of_a_template_is_adopted_and_put_back(world: Arc<SystemdWorld>) {
    let template = below_root(&world, "etc/systemd/system/tpl@.service");
    fs::write(&template, world.content(Build::V1)).unwrap();
    world.call(&["Reload"]);
    world.call(&["RestartUnit", "ss", &world.unit, "replace"]);
    assert_eq!(world.serving().await.as_deref(), Some("v1"));
    let d = Driver::new(world.clone());
    let before = found(d.observe().await.live).instance;
    let op = d.deploy(Build::V2).await;
    d.expect(Build::V2, op.to.instance()).await;
    let back = d.operation(End::Placed(before.clone())).await;
    d.run(back).await;
    d.expect(Build::V1, Some(&before)).await;
    assert!(template.exists(), "other instances still need it");
    assert!(!world.fragment().exists());
    fs::remove_file(template).unwrap();
}

async fn every_directory_of_drop_ins_is_looked_at(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    let unit = &world.unit;
    for dir in [
        // What `systemctl set-property` writes, for ever and until the next boot.
        format!("etc/systemd/system.control/{unit}.d"),
        format!("run/systemd/system.control/{unit}.d"),
        format!("run/systemd/system/{unit}.d"),
        format!("usr/lib/systemd/system/{unit}.d"),
        // Of all units with this prefix, and of all services.
        "etc/systemd/system/svc-.service.d".to_owned(),
        "etc/systemd/system/service.d".to_owned(),
    ] {
        let path = below_root(&world, &format!("{dir}/50-by-hand.conf"));
        assert!(!drift(op.to.instance(), &d.observe().await).is_drift());
        fs::write(&path, "[Service]\nNice=5\n").unwrap();
        let seen = d.observe().await;
        assert!(drift(op.to.instance(), &seen).is_drift(), "{dir}");
        fs::remove_file(&path).unwrap();
        fs::remove_dir(path.parent().unwrap()).unwrap();
    }
}

async fn a_fragment_that_would_hide_ours_is_refused(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    let hiding = below_root(
        &world,
        &format!("etc/systemd/system.control/{}", world.unit),
    );
    fs::write(&hiding, world.content(Build::V3)).unwrap();
    let seen = d.observe().await;
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    let next = d.operation_to(Build::V2).await;
    let e = world.systemd().prepare(&Driver::cx(), &next).await;
    let e = e.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("system.control"), "{e}");
    // It came after `prepare`: the switch must not claim what the manager did not load.
    fs::remove_file(&hiding).unwrap();
    let mut next = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut next).await;
    fs::write(&hiding, world.content(Build::V3)).unwrap();
    let switched = d.verb(Step::Switch, &Driver::cx(), &mut next).await;
    let e = switched.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Failed, "{e}");
    fs::remove_file(&hiding).unwrap();
    d.go_back(&next).await;
    d.expect(Build::V1, op.to.instance()).await;
}

async fn a_linked_unit_comes_back_as_a_link(world: Arc<SystemdWorld>) {
    let real = world.dir().join("linked.service");
    // The link has to lead to the same file from inside and outside the container.
    let inside = PathBuf::from(format!("/opt/rollback/{}", world.unit));
    let outside = below_root(&world, inside.strip_prefix("/").unwrap().to_str().unwrap());
    fs::write(&outside, world.content(Build::V1)).unwrap();
    fs::write(&real, world.content(Build::V1)).unwrap();
    let relative = PathBuf::from("../../..").join(inside.strip_prefix("/").unwrap());
    symlink(&relative, world.fragment()).unwrap();
    world.call(&["Reload"]);
    world.call(&["RestartUnit", "ss", &world.unit, "replace"]);
    let d = Driver::new(world.clone());
    let before = found(d.observe().await.live);
    assert_eq!(before.way_back, WayBack::Exact);
    let op = d.deploy(Build::V2).await;
    d.expect(Build::V2, op.to.instance()).await;
    assert_eq!(
        fs::read_to_string(&outside).unwrap(),
        world.content(Build::V1),
        "what it leads to is not written"
    );
    let back = d.operation(End::Placed(before.instance.clone())).await;
    d.run(back).await;
    d.expect(Build::V1, Some(&before.instance)).await;
    assert_eq!(fs::read_link(world.fragment()).unwrap(), relative);
}

async fn a_vendors_unit_that_was_updated_meanwhile_comes_back_as_it_was(world: Arc<SystemdWorld>) {
    let vendor = below_root(&world, &format!("usr/lib/systemd/system/{}", world.unit));
    fs::write(&vendor, world.content(Build::V1)).unwrap();
    world.call(&["Reload"]);
    world.call(&["RestartUnit", "ss", &world.unit, "replace"]);
    let d = Driver::new(world.clone());
    let before = found(d.observe().await.live).instance;
    d.deploy(Build::V2).await;
    fs::write(&vendor, world.content(Build::V3)).unwrap();
    let back = d.operation(End::Placed(before.clone())).await;
    d.run(back).await;
    d.expect(Build::V1, Some(&before)).await;
    assert!(!drift(Some(&before), &d.observe().await).is_drift());
}

async fn a_unit_that_runs_on_without_its_file_is_stopped_when_undone(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    fs::remove_file(world.fragment()).unwrap();
    world.call(&["Reload"]);
    assert_eq!(world.running().await, 1);
    d.go_back(&op).await;
    d.expect_nothing().await;
}

async fn what_never_ends_to_be_read_is_no_unit(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let sources = world.dir().join("sources");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = |path: &std::path::Path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    pipe(&sources.join("pipe.service"));
    fs::create_dir(sources.join("dir.service")).unwrap();
    symlink("/dev/zero", sources.join("zero.service")).unwrap();
    fs::write(sources.join("empty.service"), "").unwrap();
    fs::write(
        sources.join("binary.service"),
        [0x7f, 0x45, 0x4c, 0x46, 0xff, 0],
    )
    .unwrap();
    fs::write(sources.join("large.service"), vec![b'#'; 2 << 20]).unwrap();
    for name in ["pipe", "dir", "zero", "empty", "binary", "large"] {
        let (backend, cx) = (world.systemd(), Driver::cx());
        let reference = format!("{name}.service");
        let resolving = backend.resolve(&cx, &reference);
        let e = tokio::time::timeout(Duration::from_secs(30), resolving).await;
        let e = e.unwrap_or_else(|_| panic!("{name} hangs")).unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::InvalidReference, "{name}: {e}");
        assert!(e.to_string().contains("not touched"), "{name}: {e}");
    }
    let op = d.deploy(Build::V1).await;
    let drop_in = below_root(
        &world,
        &format!("etc/systemd/system/{}.d/pipe.conf", world.unit),
    );
    pipe(&drop_in);
    let seen = tokio::time::timeout(Duration::from_secs(30), d.observe()).await;
    let seen = seen.expect("observe hangs");
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    fs::remove_file(&drop_in).unwrap();
}

async fn an_empty_unit_file_is_a_mask(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.operation_to(Build::V1).await;
    fs::write(world.fragment(), "").unwrap();
    let e = world.systemd().prepare(&Driver::cx(), &op).await;
    let e = e.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("unmask"), "{e}");
    fs::remove_file(world.fragment()).unwrap();
}

async fn refused(world: &SystemdWorld, op: &Operation, why: &str) {
    let e = world.systemd().prepare(&Driver::cx(), op).await;
    let e = e.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(
        e.to_string().contains(why) && e.to_string().contains("not touched"),
        "{e}"
    );
}

async fn an_alias_is_refused(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.operation_to(Build::V1).await;
    let other = below_root(&world, "etc/systemd/system/real.service");
    fs::write(&other, world.content(Build::V1)).unwrap();
    symlink("real.service", world.fragment()).unwrap();
    world.call(&["Reload"]);
    refused(&world, &op, "manage real.service instead").await;
    fs::remove_file(world.fragment()).unwrap();
    fs::remove_file(other).unwrap();
    world.call(&["Reload"]);
}

async fn a_transient_unit_is_refused(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.operation_to(Build::V1).await;
    world.call(&[
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        &world.unit,
        "replace",
        "1",
        "ExecStart",
        "a(sasb)",
        "1",
        "/bin/sleep",
        "2",
        "/bin/sleep",
        "100",
        "false",
        "0",
    ]);
    refused(&world, &op, "transient").await;
}

async fn a_unit_that_is_not_utf8_comes_back_byte_for_byte(world: Arc<SystemdWorld>) {
    let mut content = world.content(Build::V1).into_bytes();
    content.extend(b"# caf\xe9\n");
    fs::write(world.fragment(), &content).unwrap();
    world.call(&["Reload"]);
    world.call(&["RestartUnit", "ss", &world.unit, "replace"]);
    let d = Driver::new(world.clone());
    let before = found(d.observe().await.live).instance;
    d.deploy(Build::V2).await;
    let back = d.operation(End::Placed(before.clone())).await;
    d.run(back).await;
    d.expect(Build::V1, Some(&before)).await;
    assert_eq!(fs::read(world.fragment()).unwrap(), content);
}

async fn a_way_back_loses_nothing_whatever_was_done_by_hand(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    d.deploy(Build::V1).await;
    let prepared = |op: Operation| {
        let backend = world.systemd();
        async move { backend.prepare(&Driver::cx(), &op).await.unwrap().way_back }
    };
    let next = d.operation_to(Build::V2).await;
    assert_eq!(prepared(next.clone()).await, WayBack::Exact);
    world.tamper().await;
    // Also what is nowhere else: neither on the shelf nor among the sources.
    world.lose(Build::V1).await;
    let edited = fs::read(world.fragment()).unwrap();
    let mut next = d.operation_to(Build::V2).await;
    assert_eq!(prepared(next.clone()).await, WayBack::Exact);
    d.must(Step::Prepare, &mut next).await;
    d.must(Step::Switch, &mut next).await;
    d.go_back(&next).await;
    d.expect(Build::V1, None).await;
    assert_eq!(fs::read(world.fragment()).unwrap(), edited);
}
