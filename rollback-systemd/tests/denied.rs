//! A user who may write unit files and may not manage units.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rollback_core::backend::{Backend, End, Operation};
use rollback_core::error::LiveImpact;
use rollback_core::history::Sequence;
use rollback_core::prelude::*;
use rollback_systemd::{SystemdBackend, SystemdConfig};
use rollback_testkit::backend_suite::Driver;

/// Where this process works, if it is the one without rights.
const HOME: &str = "ROLLBACK_DENIED_HOME";
const PROGRAM: &str = "opt/rollback/denied";
const UNIT: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// The program that systemd has started as nobody: says what it is told.
#[tokio::test(flavor = "multi_thread")]
async fn program() {
    let Ok(home) = std::env::var(HOME) else {
        return;
    };
    let home = Path::new(&home);
    let workload: WorkloadId = "svc@here".parse().unwrap();
    let (sources, state) = (home.join("sources"), home.join("state"));
    let unit = "denied.service".parse().unwrap();
    let config = SystemdConfig::new(workload.clone(), unit, sources, state);
    let backend = SystemdBackend::new(config).unwrap();
    let cx = Driver::cx();
    let release = backend.resolve(&cx, "v2.service").await.unwrap();
    let op = Operation::new(
        workload,
        DeploymentId::generate(SystemClock.now()),
        Sequence(1),
        End::Nothing,
        End::Planned(release),
    );
    let told = match backend.prepare(&cx, &op).await {
        Ok(prepared) => format!("prepared {prepared:?}"),
        Err(e) if e.impact() == LiveImpact::Untouched => format!("{:?} {e}", e.kind()),
        Err(e) => format!("touched {e}"),
    };
    fs::write(home.join("half"), told).unwrap();
    fs::rename(home.join("half"), home.join("told")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_manage_units_is_told_before_anything_moves() {
    let Some(fixture) = support::boot() else {
        return;
    };
    let below = |path: &str| fixture.root().join(path);
    fs::copy(std::env::current_exe().unwrap(), below(PROGRAM)).unwrap();
    let home = below("var/lib/denied");
    let units = below("etc/systemd/system");
    for dir in [&home, &home.join("sources"), &units] {
        fs::create_dir_all(dir).unwrap();
        fs::set_permissions(dir, Permissions::from_mode(0o777)).unwrap();
    }
    fs::write(
        home.join("sources/v2.service"),
        UNIT.replace("1000", "2000"),
    )
    .unwrap();
    fs::write(units.join("denied.service"), UNIT).unwrap();
    let asks = format!(
        "[Service]\nUser=nobody\nEnvironment={HOME}=/var/lib/denied\n\
         ExecStart=/{PROGRAM} program --exact --nocapture --test-threads=1\n"
    );
    fs::write(units.join("asks.service"), asks).unwrap();
    support::call(&fixture, &["Reload"]);
    for unit in ["denied.service", "asks.service"] {
        support::call(&fixture, &["StartUnit", "ss", unit, "replace"]);
    }
    let began = Instant::now();
    let told = loop {
        if let Ok(told) = fs::read_to_string(home.join("told")) {
            break told;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no answer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(told.starts_with("Denied"), "{told}");
    assert!(told.contains("polkit"), "{told}");
    assert_eq!(
        fs::read_to_string(units.join("denied.service")).unwrap(),
        UNIT
    );
}
