//! Trouble around a deployment, on a real systemd: what must be found before anything moves, and
//! what must not be lost.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollback_core::backend::{Backend, Live, Running, Sighting, WayBack};
use rollback_core::drift::drift;
use rollback_core::error::LiveImpact;
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::{Build, World};
use support::{SystemdWorld, boot};

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_found_early_and_nothing_is_lost() {
    let Some(fixture) = boot() else { return };
    let world = || Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    macro_rules! cases {
        ($($case:ident),* $(,)?) => {{
            let mut failed = Vec::new();
            $(
                let only = std::env::var("ROLLBACK_CASE").unwrap_or_default();
                if stringify!($case).contains(&only) {
                    match tokio::spawn($case(world())).await {
                        Ok(()) => eprintln!("ok {}", stringify!($case)),
                        Err(_) => failed.push(stringify!($case)),
                    }
                }
            )*
            assert!(failed.is_empty(), "failed: {failed:#?}");
        }};
    }
    cases![
        a_oneshot_that_did_its_work_passes,
        a_oneshot_that_failed_does_not_pass,
        a_unit_that_restarted_before_anybody_looked_is_found_out,
        a_unit_that_refuses_to_be_started_by_hand_is_refused_before_anything_moves,
        a_live_unit_that_refuses_to_be_started_by_hand_is_not_replaced,
        errors_of_syntax_are_found_before_anything_moves,
        going_back_from_what_did_not_load_restarts_nothing,
        a_job_whose_end_nobody_heard_is_followed_all_the_same,
        secrets_of_low_entropy_cannot_be_guessed_from_a_record,
        what_was_changed_by_hand_comes_back_when_the_deployment_goes_back,
        what_was_changed_by_hand_is_kept_when_a_deployment_overrides_it,
        what_was_changed_by_hand_after_the_preparation_is_kept,
        a_drop_in_that_came_after_planning_stays_drift,
        a_repeated_switch_back_to_what_has_drifted_does_not_restart,
        leftovers_of_a_kill_are_swept,
    ];
}

/// Makes this build's source something else.
fn source(world: &SystemdWorld, build: Build, text: &str) {
    let path = world.dir().join("sources").join(support::reference(build));
    fs::write(path, text).unwrap();
}

async fn sighting(d: &Driver) -> Sighting {
    match d.observe().await.live {
        Live::One(sighting) => sighting,
        other => panic!("one is live: {other:?}"),
    }
}

async fn invocation(d: &Driver) -> String {
    sighting(d).await.evidence.0["invocation_id"].clone()
}

const ONESHOT: &str = "[Service]\nType=oneshot\nExecStart=/bin/true\n";

async fn a_oneshot_that_did_its_work_passes(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    for (build, text) in [
        (Build::V1, ONESHOT.to_owned()),
        (Build::V2, format!("{ONESHOT}RemainAfterExit=yes\n")),
    ] {
        source(&world, build, &text);
        let op = d.deploy(build).await;
        assert_eq!(support::judged(&d, &op).await, Verdict::Passed, "{text}");
        let running = sighting(&d).await.running;
        assert!(!matches!(running, Running::No(_)), "{text}: {running:?}");
    }
}

async fn a_oneshot_that_failed_does_not_pass(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    source(
        &world,
        Build::V1,
        &ONESHOT.replace("/bin/true", "/bin/false"),
    );
    let mut op = d.operation_to(Build::V1).await;
    d.must(Step::Prepare, &mut op).await;
    let e = d.verb(Step::Switch, &Driver::cx(), &mut op).await;
    assert_eq!(e.unwrap_err().kind(), BackendErrorKind::Failed);
    assert!(support::judged(&d, &op).await.is_failed());
    assert!(matches!(sighting(&d).await.running, Running::No(_)));
}

async fn a_unit_that_restarted_before_anybody_looked_is_found_out(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let op = d.deploy(Build::V1).await;
    world.call(&["RestartUnit", "ss", &world.unit, "replace"]);
    assert_eq!(world.serving().await.as_deref(), Some("v1"));
    let verdict = support::judged(&d, &op).await;
    assert!(verdict.is_failed(), "{verdict}");
}

async fn refused_before_anything_moves(world: &Arc<SystemdWorld>, text: &str, says: &str) {
    let d = Driver::new(world.clone());
    let before = invocation(&d).await;
    let file = fs::read(world.fragment()).unwrap();
    source(world, Build::V2, text);
    let (backend, cx) = (world.systemd(), Driver::cx());
    let refused = async {
        let release = backend.resolve(&cx, &support::reference(Build::V2)).await?;
        let op = d
            .operation(rollback_core::backend::End::Planned(release))
            .await;
        backend.prepare(&cx, &op).await
    };
    let e = match refused.await {
        Ok(prepared) => panic!("{text}: prepared {prepared:?}"),
        Err(e) => e,
    };
    assert_eq!(e.impact(), LiveImpact::Untouched, "{text}: {e}");
    assert!(e.to_string().contains(says), "{text}: {e}");
    assert!(!e.is_transient(), "{text}: {e}");
    assert_eq!(fs::read(world.fragment()).unwrap(), file);
    assert_eq!(invocation(&d).await, before);
    let left: Vec<_> = fs::read_dir(world.fragment().parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.to_ascii_lowercase().contains("rollback"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn a_unit_that_refuses_to_be_started_by_hand_is_refused_before_anything_moves(
    world: Arc<SystemdWorld>,
) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    for refuses in ["RefuseManualStart=yes", "RefuseManualStop=true"] {
        let text = format!("[Unit]\n{refuses}\n{}", world.content(Build::V2));
        let name = refuses.split_once('=').unwrap().0;
        refused_before_anything_moves(&world, &text, name).await;
    }
    d.expect(Build::V1, first.to.instance()).await;
}

async fn a_live_unit_that_refuses_to_be_started_by_hand_is_not_replaced(world: Arc<SystemdWorld>) {
    // It could not be put back.
    let d = Driver::new(world.clone());
    d.deploy(Build::V1).await;
    let drop_in = world
        .fixture
        .root()
        .join(format!("etc/systemd/system/{}.d/x.conf", world.unit));
    fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    fs::write(&drop_in, "[Unit]\nRefuseManualStart=yes\n").unwrap();
    world.call(&["Reload"]);
    let text = world.content(Build::V2);
    refused_before_anything_moves(&world, &text, "RefuseManualStart").await;
}

async fn errors_of_syntax_are_found_before_anything_moves(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    for (text, says) in [
        // The manager does not load these.
        ("[Service]\nExecStart=not/absolute/at/all \"\n", "load"),
        ("[Service]\nType=dbus\nExecStart=/bin/true\n", "load"),
        (
            "[Service]\nType=simple\nExecStart=/bin/true\nExecStart=/bin/true\n",
            "load",
        ),
        // It passes over these, and runs something else than was meant.
        ("[Service]\nType=nonsense\nExecStart=/bin/true\n", "Type"),
        (
            "[Srevice]\nUser=nobody\n[Service]\nExecStart=/bin/true\n",
            "Srevice",
        ),
        ("[Service]\nExecStart=/bin/true\nUser nobody\n", "line 3"),
        ("User=nobody\n[Service]\nExecStart=/bin/true\n", "line 1"),
    ] {
        refused_before_anything_moves(&world, text, says).await;
    }
    d.expect(Build::V1, first.to.instance()).await;
}

async fn going_back_from_what_did_not_load_restarts_nothing(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    let before = invocation(&d).await;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    // It came after `prepare`, and with it no fragment loads.
    let dir = world
        .fixture
        .root()
        .join(format!("etc/systemd/system/{}.d", world.unit));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("bad.conf"), "[Service]\nType=dbus\n").unwrap();
    let e = d.verb(Step::Switch, &Driver::cx(), &mut op).await;
    assert_eq!(e.unwrap_err().kind(), BackendErrorKind::Failed);
    fs::remove_dir_all(&dir).unwrap();
    d.go_back(&op).await;
    d.expect(Build::V1, first.to.instance()).await;
    assert_eq!(invocation(&d).await, before, "it was never replaced");
    // And again, as recovery would.
    d.go_back(&op).await;
    assert_eq!(invocation(&d).await, before);
    assert_eq!(support::judged(&d, &first).await, Verdict::Passed);
}

async fn a_job_whose_end_nobody_heard_is_followed_all_the_same(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    for (build, trouble) in [
        (Build::V1, &["Reexecute"][..]),
        (Build::V2, &["RestartUnit", "ss", "dbus.service", "replace"]),
    ] {
        let slow = world
            .content(build)
            .replace("ExecStart=", "ExecStartPre=/bin/sleep 4\nExecStart=");
        source(&world, build, &slow);
        let mut op = d.operation_to(build).await;
        d.must(Step::Prepare, &mut op).await;
        let began = Instant::now();
        let meddler = {
            let world = world.clone();
            tokio::task::spawn_blocking(move || {
                std::thread::sleep(Duration::from_secs(2));
                world.try_call(trouble)
            })
        };
        let switched = d.verb(Step::Switch, &Driver::cx(), &mut op).await;
        let _ = meddler.await.unwrap();
        switched.unwrap_or_else(|e| panic!("{trouble:?}: {e}"));
        let took = began.elapsed();
        assert!(took > Duration::from_secs(4), "{trouble:?}: {took:?}");
        assert!(took < Duration::from_secs(60), "{trouble:?}: {took:?}");
        d.expect(build, op.to.instance()).await;
    }
}

async fn secrets_of_low_entropy_cannot_be_guessed_from_a_record(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let drop_in = world
        .fixture
        .root()
        .join(format!("etc/systemd/system/{}.d/pin.conf", world.unit));
    fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    let secret = "[Service]\nEnvironment=PIN=1234\n";
    fs::write(&drop_in, secret).unwrap();
    let content = world.content(Build::V1);
    world.install_by_hand(Build::V1).await;
    let found = serde_json::to_string(&d.observe().await).unwrap();
    let op = d.deploy(Build::V2).await;
    fs::write(&drop_in, secret.replace('4', "5")).unwrap();
    let seen = d.observe().await;
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    let recorded = found + &serde_json::to_string(&(op, seen)).unwrap();
    for guess in [
        content,
        world.content(Build::V2),
        secret.to_owned(),
        secret.replace('4', "5"),
    ] {
        let hash = support::sha256(guess.as_bytes());
        assert!(!recorded.contains(&hash), "of {guess:?}");
    }
}

async fn what_was_changed_by_hand_comes_back_when_the_deployment_goes_back(
    world: Arc<SystemdWorld>,
) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    world.tamper().await;
    world.call(&["Reload"]);
    let edited = fs::read(world.fragment()).unwrap();
    assert_eq!(sighting(&d).await.way_back, WayBack::Exact);
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    d.must(Step::Switch, &mut op).await;
    d.go_back(&op).await;
    d.expect(Build::V1, first.to.instance()).await;
    assert_eq!(fs::read(world.fragment()).unwrap(), edited);
    assert!(drift(first.to.instance(), &d.observe().await).is_drift());
}

async fn what_was_changed_by_hand_is_kept_when_a_deployment_overrides_it(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    d.deploy(Build::V1).await;
    world.tamper().await;
    world.call(&["Reload"]);
    let edited = fs::read(world.fragment()).unwrap();
    let next = d.deploy(Build::V2).await;
    world
        .systemd()
        .retain(&Driver::cx(), &[next.to.instance().unwrap().clone()])
        .await
        .unwrap();
    assert!(is_kept(&world, &edited), "it was overridden, and is lost");
}

/// Whether the backend keeps this content.
fn is_kept(world: &SystemdWorld, content: &[u8]) -> bool {
    fs::read_dir(world.dir().join("state/content"))
        .unwrap()
        .any(|e| fs::read(e.unwrap().path()).unwrap() == content)
}

async fn what_was_changed_by_hand_after_the_preparation_is_kept(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let edits = async || {
        world.tamper().await;
        fs::read(world.fragment()).unwrap()
    };
    let first = d.deploy(Build::V1).await;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    let before_the_switch = edits().await;
    d.must(Step::Switch, &mut op).await;
    d.expect(Build::V2, op.to.instance()).await;
    let before_the_way_back = edits().await;
    d.go_back(&op).await;
    d.expect(Build::V1, first.to.instance()).await;
    let before_it_is_taken_down = edits().await;
    let mut down = d.operation_to(Build::V2).await;
    (down.from, down.to) = (first.to.clone(), rollback_core::backend::End::Nothing);
    d.must(Step::Switch, &mut down).await;
    let last = d.observe().await;
    assert!(matches!(last.live, Live::Nothing), "{last:?}");
    // What is too large for a unit is no reason to leave it there.
    for (n, letter) in [(1, b'#'), (2, b';')] {
        let large = vec![letter; 2 * 1024 * 1024];
        fs::write(world.fragment(), &large).unwrap();
        d.must(Step::Switch, &mut down).await;
        assert!(!world.fragment().exists());
        let aside = format!("service.by-hand-{n}");
        let aside = fs::read(world.fragment().with_extension(aside)).unwrap();
        assert!(aside == large, "number {n}");
    }
    world
        .systemd()
        .retain(&Driver::cx(), &[first.to.instance().unwrap().clone()])
        .await
        .unwrap();
    for (when, edited) in [
        ("before the switch", before_the_switch),
        ("before the way back", before_the_way_back),
        ("before it was taken down", before_it_is_taken_down),
    ] {
        assert!(is_kept(&world, &edited), "edited {when}, and lost");
    }
}

async fn a_drop_in_that_came_after_planning_stays_drift(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    d.deploy(Build::V1).await;
    let dir = world
        .fixture
        .root()
        .join(format!("etc/systemd/system/{}.d", world.unit));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("planned.conf"), "[Service]\nNice=5\n").unwrap();
    // The plan shows this one; whoever carries it out accepts it.
    let mut op = d.operation_to(Build::V2).await;
    fs::write(dir.join("later.conf"), "[Service]\nNice=6\n").unwrap();
    d.must(Step::Prepare, &mut op).await;
    fs::write(dir.join("last.conf"), "[Service]\nNice=7\n").unwrap();
    d.must(Step::Switch, &mut op).await;
    let seen = d.observe().await;
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    fs::remove_file(dir.join("later.conf")).unwrap();
    let seen = d.observe().await;
    assert!(drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
    fs::remove_file(dir.join("last.conf")).unwrap();
    let seen = d.observe().await;
    assert!(!drift(op.to.instance(), &seen).is_drift(), "{seen:?}");
}

async fn a_repeated_switch_back_to_what_has_drifted_does_not_restart(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    let dir = world
        .fixture
        .root()
        .join(format!("etc/systemd/system/{}.d", world.unit));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("x.conf"), "[Service]\nNice=5\n").unwrap();
    world.call(&["Reload"]);
    let op = d.deploy(Build::V2).await;
    d.go_back(&op).await;
    let seen = d.observe().await;
    assert!(drift(first.to.instance(), &seen).is_drift(), "as before");
    let before = invocation(&d).await;
    d.go_back(&op).await;
    assert_eq!(invocation(&d).await, before);
}

async fn leftovers_of_a_kill_are_swept(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    let state = world.dir().join("state");
    let units = world.fragment().parent().unwrap().to_owned();
    let unit = &world.unit;
    let digest = "0".repeat(64);
    let ours = [
        state.join(".rollback-installed-aB3dE6"),
        state.join(format!("content/.rollback-{digest}-aB3dE6")),
        state.join("instances/.rollback-found-1-aB3dE6"),
        units.join(format!(".rollback-{unit}-aB3dE6")),
    ];
    let others = [
        // Another unit's, and what a person called so.
        units.join(".rollback-other.service-aB3dE6"),
        units.join(format!(".rollback-{unit}-notes-of-mine")),
        units.join(format!(".rollback-{unit}")),
    ];
    for path in ours.iter().chain(&others) {
        fs::write(path, "half").unwrap();
    }
    world
        .systemd()
        .retain(&Driver::cx(), &[first.to.instance().unwrap().clone()])
        .await
        .unwrap();
    for path in ours {
        assert!(!path.exists(), "{path:?}");
    }
    for path in others {
        assert!(path.exists(), "{path:?}");
        fs::remove_file(path).unwrap();
    }
}
