//! What broke in other people's tools, on a real systemd.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rollback_core::backend::{End, Live};
use rollback_core::drift::drift;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::guard::Remediation;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_systemd::RestartUnit;
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::{Build, World};
use support::{SystemdWorld, boot};

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_elsewhere_does_not_break_here() {
    let Some(fixture) = boot() else { return };
    let world = || Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    a_unit_that_hit_its_start_limit_is_restarted_by_a_rollback(world()).await;
    a_simple_unit_without_a_binary_is_found_unhealthy(world()).await;
    what_the_manager_said_of_a_unit_that_crashed_went_away_with_it(world()).await;
    a_remediation_restarts_what_is_live_and_nothing_else(world()).await;
    a_new_drop_in_directory_is_drift_before_any_reload(world()).await;
    a_vendors_unit_is_shadowed_and_put_back_unwritten(world()).await;
    a_masked_unit_is_refused(world()).await;
    secrets_stay_out_of_records(world()).await;
    a_deleted_unit_file_is_seen_as_missing(world()).await;
    enablement_is_made_as_asked_watched_and_undone(world()).await;
    enablement_is_left_alone_unless_asked(world()).await;
    todays_configuration_says_whether_it_is_enabled_and_nothing_else(world()).await;
    what_another_instance_does_says_nothing_of_this_one(world()).await;
}

async fn a_unit_that_hit_its_start_limit_is_restarted_by_a_rollback(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let good = d.deploy(Build::V1).await;
    let looping = world.content(Build::Broken) + "Restart=always\nRestartSec=10ms\n";
    std::fs::write(world.dir().join("sources/broken.service"), looping).unwrap();
    let mut op = d.operation_to(Build::Broken).await;
    d.must(Step::Prepare, &mut op).await;
    let _ = d.verb(Step::Switch, &Driver::cx(), &mut op).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(d.health(&op).await.is_failed());
    d.go_back(&op).await;
    d.expect(Build::V1, good.to.instance()).await;
}

async fn a_remediation_restarts_what_is_live_and_nothing_else(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let old = d.deploy(Build::V1).await;
    let op = d.deploy(Build::V2).await;
    let running = |live: Live| match live {
        Live::One(sighting) => (sighting.instance, sighting.evidence),
        other => panic!("one is live: {other:?}"),
    };
    let (instance, before) = running(d.observe().await.live);
    let restart = RestartUnit::new(world.systemd());
    let did = restart.attempt(&Driver::cx(), &op, "500").await.unwrap();
    assert!(did.contains("restarted, invocation"), "{did}");
    let (same, after) = running(d.observe().await.live);
    assert_eq!(instance, same);
    assert_ne!(before, after, "it runs anew");
    d.expect(Build::V2, op.to.instance()).await;
    // A switch that is repeated after a crash does not restart it once more.
    let mut again = op.clone();
    d.must(Step::Switch, &mut again).await;
    assert_eq!(running(d.observe().await.live).1, after);
    let e = restart
        .attempt(&Driver::cx(), &old, "500")
        .await
        .unwrap_err();
    let e = e.to_string();
    assert!(e.contains("another unit file is in place"), "{e}");
    assert_eq!(running(d.observe().await.live).1, after);
}

async fn a_simple_unit_without_a_binary_is_found_unhealthy(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let unit = "[Service]\nType=simple\nExecStart=/opt/no-such-program\n";
    std::fs::write(world.dir().join("sources/v2.service"), unit).unwrap();
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    if d.verb(Step::Switch, &Driver::cx(), &mut op).await.is_ok() {
        assert!(
            d.health(&op).await.is_failed(),
            "the job reports success all the same"
        );
    }
    d.go_back(&op).await;
    d.expect_nothing().await;
}

async fn what_the_manager_said_of_a_unit_that_crashed_went_away_with_it(world: Arc<SystemdWorld>) {
    let gate = Gate::default()
        .retries(1)
        .interval(std::time::Duration::from_millis(200));
    let workload = Workload::new(world.systemd()).auto_rollback().gate(gate);
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let deploy = async |build: Build| {
        let (id, me) = (world.workload(), Actor::user("me").unwrap());
        let run = engine.deploy(&id, world.reference(build), me);
        run.await.unwrap().await.unwrap()
    };
    let good = deploy(Build::V1).await;
    assert!(good.succeeded(), "{}", good.summary());
    let report = deploy(Build::Broken).await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(world.serving().await.as_deref(), Some("v1"));
    let seen = report.diagnosis().unwrap();
    let facts = &seen.platform.facts;
    for fact in ["state", "result", "exit_status", "restarts"] {
        assert!(facts.contains_key(fact), "{fact}: {seen}");
    }
    assert_ne!(facts["result"], "success", "{seen}");
}

async fn a_new_drop_in_directory_is_drift_before_any_reload(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    let dir = world
        .fixture
        .root()
        .join(format!("etc/systemd/system/{}.d", world.unit));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("override.conf"), "[Service]\nNice=5\n").unwrap();
    let seen = d.observe().await;
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    d.deploy(Build::V2).await;
    assert!(
        dir.join("override.conf").exists(),
        "a drop-in it did not write is not lost"
    );
}

async fn a_vendors_unit_is_shadowed_and_put_back_unwritten(world: Arc<SystemdWorld>) {
    let vendor = world
        .fixture
        .root()
        .join("usr/lib/systemd/system")
        .join(&world.unit);
    std::fs::write(&vendor, world.content(Build::V1)).unwrap();
    world.call(&["Reload"]);
    world.call(&["RestartUnit", "ss", &world.unit, "replace"]);
    let d = Driver::new(world.clone());
    let Live::One(found) = d.observe().await.live else {
        panic!("one is live")
    };
    let op = d.deploy(Build::V2).await;
    d.expect(Build::V2, op.to.instance()).await;
    assert_eq!(
        std::fs::read_to_string(&vendor).unwrap(),
        world.content(Build::V1)
    );
    let back = d.operation(End::Placed(found.instance.clone())).await;
    d.run(back).await;
    d.expect(Build::V1, Some(&found.instance)).await;
    assert!(!world.fragment().exists(), "nothing shadows it any more");
}

async fn a_masked_unit_is_refused(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.operation_to(Build::V1).await;
    std::os::unix::fs::symlink("/dev/null", world.fragment()).unwrap();
    world.call(&["Reload"]);
    let e = world
        .systemd()
        .prepare(&Driver::cx(), &op)
        .await
        .unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    std::fs::remove_file(world.fragment()).unwrap();
}

async fn secrets_stay_out_of_records(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    let shown = format!("{op:?}{:?}", d.look(&[&op.to]).await);
    assert!(!shown.contains("s3cret"), "{shown}");
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt;
        world
            .dir()
            .join(path)
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("state/installed"), 0o600);
    for entry in std::fs::read_dir(world.dir().join("state/content"))
        .unwrap()
        .flatten()
    {
        assert_eq!(
            mode(&format!("state/content/{}", entry.file_name().display())),
            0o600
        );
    }
}

async fn a_deleted_unit_file_is_seen_as_missing(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    std::fs::remove_file(world.fragment()).unwrap();
    let seen = d.observe().await;
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    let again = d.deploy(Build::V2).await;
    d.expect(Build::V2, again.to.instance()).await;
}

/// Makes every build one that can be enabled; where its link then is.
fn installable(world: &SystemdWorld) -> std::path::PathBuf {
    for build in [Build::V1, Build::V2] {
        let unit = world.content(build) + "\n[Install]\nWantedBy=multi-user.target\n";
        let path = world.dir().join("sources").join(support::reference(build));
        std::fs::write(path, unit).unwrap();
    }
    let wants = "etc/systemd/system/multi-user.target.wants";
    world.fixture.root().join(wants).join(&world.unit)
}

async fn enablement_is_made_as_asked_watched_and_undone(world: Arc<SystemdWorld>) {
    let link = installable(&world);
    world.enable.store(true, Ordering::SeqCst);
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    assert!(link.is_symlink(), "it starts at boot");
    let op = d.deploy(Build::V2).await;
    assert!(link.is_symlink());
    assert!(!drift(op.to.instance(), &d.observe().await).is_drift());
    world.call(&["DisableUnitFiles", "asb", "1", &world.unit, "false"]);
    world.call(&["Reload"]);
    let seen = d.observe().await;
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    d.go_back(&op).await;
    assert!(link.is_symlink(), "as it was before");
    d.go_back(&first).await;
    d.expect_nothing().await;
    assert!(!link.is_symlink(), "nothing is left");
}

async fn enablement_is_left_alone_unless_asked(world: Arc<SystemdWorld>) {
    let link = installable(&world);
    let d = Driver::new(world.clone());
    d.deploy(Build::V1).await;
    assert!(!link.is_symlink());
    world.call(&[
        "EnableUnitFiles",
        "asbb",
        "1",
        &world.unit,
        "false",
        "false",
    ]);
    world.call(&["Reload"]);
    d.deploy(Build::V2).await;
    assert!(link.is_symlink());
}

async fn todays_configuration_says_whether_it_is_enabled_and_nothing_else(
    world: Arc<SystemdWorld>,
) {
    installable(&world);
    world.enable.store(true, Ordering::SeqCst);
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    world.call(&["DisableUnitFiles", "asb", "1", &world.unit, "false"]);
    world.call(&["Reload"]);
    let live = d.live().await.release().cloned().unwrap();
    let recorded = op.to.release().unwrap();
    assert_ne!(live, *recorded, "it is seen that somebody has disabled it");
    let cx = Driver::cx();
    let today = world.systemd().configured(&cx, Some(&live)).await.unwrap();
    assert_eq!(today.as_ref(), Some(recorded), "the next switch enables it");
    world.enable.store(false, Ordering::SeqCst);
    let today = world.systemd().configured(&cx, Some(&live)).await.unwrap();
    assert_eq!(today, None, "the unit is its reference's, all of it");
}

async fn what_another_instance_does_says_nothing_of_this_one(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    assert_eq!(d.health(&first).await, View::Healthy);
    let second = d.deploy(Build::V2).await;
    assert_eq!(d.health(&second).await, View::Healthy);
    assert!(d.health(&first).await.is_failed(), "V2 is in place");
}

#[tokio::test]
async fn an_unreachable_bus_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let config = support::config(
        "x.service",
        dir.path(),
        dir.path(),
        "unix:path=/nonexistent",
    );
    let backend = rollback_systemd::SystemdBackend::new(config).unwrap();
    let e = backend.observe(&Driver::cx()).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unreachable);
    assert!(e.is_transient());
    assert!(
        e.to_string().contains("not touched") && e.to_string().contains("try again"),
        "{e}"
    );
}
