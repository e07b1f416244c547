//! The machine goes down, and comes up again, around a deployment.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rollback_core::backend::{Backend, Live, Running, Sighting};
use rollback_core::health::View;
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::Build;
use support::{SystemdWorld, boot};

async fn sighting(d: &Driver) -> Sighting {
    match d.observe().await.live {
        Live::One(sighting) => sighting,
        other => panic!("one is live: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_what_does_not_run_is_said_and_what_runs_is_judged_anew() {
    let Some(fixture) = boot() else { return };
    let world = || Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    // One starts at boot, one does not, and one had its work done.
    let (enabled, left, done) = (world(), world(), world());
    enabled.enable.store(true, Ordering::SeqCst);
    let install = "\n[Install]\nWantedBy=basic.target\n";
    let unit = enabled.content(Build::V1) + install;
    fs::write(enabled.dir().join("sources/v1.service"), unit).unwrap();
    let oneshot = "[Service]\nType=oneshot\nExecStart=/bin/true\n";
    fs::write(done.dir().join("sources/v1.service"), oneshot).unwrap();
    let mut deployed = Vec::new();
    for world in [&enabled, &left, &done] {
        let d = Driver::new(Arc::<SystemdWorld>::clone(world));
        let op = d.deploy(Build::V1).await;
        assert_eq!(support::judged(&d, &op).await, Verdict::Passed);
        deployed.push((d, op));
    }
    fixture.reboot().unwrap();

    let (d, op) = &mut deployed[0];
    let after = sighting(d).await;
    assert_eq!(after.running, Running::Yes);
    // It is another invocation by right, not one that restarted by itself.
    assert_eq!(support::judged(d, op).await, Verdict::Passed);
    d.must(Step::Switch, op).await;
    assert_eq!(sighting(d).await.evidence, after.evidence, "not once more");
    assert_eq!(support::judged(d, op).await, Verdict::Passed);

    for (d, op) in &mut deployed[1..] {
        let after = sighting(d).await;
        assert!(matches!(after.running, Running::No(_)), "{after:?}");
        assert!(support::judged(d, op).await.is_failed());
        // What recovery does: it switches again, and judges.
        d.must(Step::Switch, op).await;
        assert!(!matches!(sighting(d).await.running, Running::No(_)));
        assert_eq!(support::judged(d, op).await, Verdict::Passed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_in_progress_is_transient() {
    let Some(fixture) = boot() else { return };
    let world = Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    // The bus lasts until this one has ended.
    let slow = "[Unit]\nAfter=dbus.service dbus.socket\n[Service]\nType=oneshot\n\
                RemainAfterExit=yes\nExecStart=/bin/touch /etc/slow-began\n\
                ExecStop=/bin/sleep 12\n";
    let units = fixture.root().join("etc/systemd/system");
    fs::write(units.join("slow.service"), slow).unwrap();
    world.call(&["Reload"]);
    world.call(&["StartUnit", "ss", "slow.service", "replace"]);
    // What has not begun is not waited for.
    let patience = Instant::now() + Duration::from_secs(30);
    while !fixture.root().join("etc/slow-began").exists() {
        assert!(Instant::now() < patience, "it never began");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    // As `systemctl reboot` does.
    let args = ["StartUnit", "ss", "reboot.target", "replace-irreversibly"];
    world.call(&args);
    let began = Instant::now();
    let (mut errors, mut views) = (Vec::new(), Vec::new());
    let mut in_place = first;
    while began.elapsed() < Duration::from_secs(9) {
        let (backend, cx) = (world.systemd(), Driver::cx());
        match backend.health(&cx, in_place.to.instance().unwrap()).await {
            Ok(view) => views.push(view),
            Err(e) => errors.push(e),
        }
        match d.verb(Step::Switch, &cx, &mut op.clone()).await {
            Ok(evidence) => panic!("it was switched: {evidence:?}"),
            Err(e) => errors.push(e),
        }
        // Its file is, all the same: after the boot recovery goes on from there.
        in_place = op.clone();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for e in &errors {
        assert_eq!(e.kind(), BackendErrorKind::Unreachable, "{e}");
        assert!(e.is_transient(), "{e}");
    }
    for view in &views {
        assert!(matches!(view, View::NotYet(_)), "{view}");
    }
    let destructive = |e: &&BackendError| format!("{e:?}").contains("Destructive");
    assert!(errors.iter().any(|e| destructive(&e)), "{errors:#?}");
    assert!(views.len() > 1, "{views:?}");
}
