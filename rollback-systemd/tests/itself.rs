//! An engine that runs in the very unit that it manages: restarting the unit ends the engine in
//! the middle of its own deployment, and the new one has to finish it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::prelude::*;
use rollback_sqlite::SqliteStore;
use rollback_systemd::{SystemdBackend, SystemdConfig};

/// Which version of the program this process is, if it is one.
const VERSION: &str = "ROLLBACK_ENGINE_VERSION";
const PROGRAM: &str = "opt/rollback/engine";
const HOME: &str = "var/lib/engine";
const UNIT: &str = "engine.service";

/// The program, when systemd has started this binary: recovers, and the first version deploys the
/// second.
#[tokio::test(flavor = "multi_thread")]
async fn program() {
    let Ok(version) = std::env::var(VERSION) else {
        return;
    };
    let home = Path::new("/").join(HOME);
    let say = |line: String| {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(home.join("log"));
        writeln!(log.unwrap(), "{line}").unwrap();
    };
    say(format!("start {version}"));
    let itself: WorkloadId = "engine@here".parse().unwrap();
    let config = SystemdConfig::new(
        itself.clone(),
        UNIT.parse().unwrap(),
        home.join("sources"),
        home.join("state"),
    );
    let config = config.soak(Duration::from_millis(500));
    let store = SqliteStore::open(home.join("history.db")).await.unwrap();
    let engine = RollbackEngine::builder(store)
        .workload(Workload::new(SystemdBackend::new(config).unwrap()).auto_rollback())
        .build()
        .unwrap();
    for recovered in engine.recover().await.unwrap() {
        let ended = recovered.result.map(|report| report.outcome().to_string());
        say(format!("recovered {ended:?}"));
    }
    let me = || Actor::user("itself").unwrap();
    if version == "v1" && !home.join("deployed").exists() {
        fs::write(home.join("deployed"), "").unwrap();
        engine.adopt(&itself, me()).await.unwrap().await.unwrap();
        let run = engine.deploy(&itself, "v2.service", me()).await.unwrap();
        let ended = run.await.map(|report| report.outcome().to_string());
        say(format!("survived {ended:?}"));
    } else {
        let health = engine.health(&itself).await.unwrap();
        say(format!("drift {}", health.drift.is_drift()));
    }
    std::future::pending::<()>().await;
}

fn unit(version: &str) -> String {
    format!(
        "[Service]\nEnvironment={VERSION}={version}\nEnvironment=RUST_BACKTRACE=0\n\
         ExecStart=/{PROGRAM} program --exact --nocapture --test-threads=1\n"
    )
}

fn log(home: &Path) -> Vec<String> {
    let log = fs::read_to_string(home.join("log")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_in_the_unit_that_it_manages_restarts_it_once_and_settles() {
    let Some(fixture) = support::boot() else {
        return;
    };
    let below = |path: &str| -> PathBuf { fixture.root().join(path) };
    fs::copy(std::env::current_exe().unwrap(), below(PROGRAM)).unwrap();
    let home = below(HOME);
    fs::create_dir_all(home.join("sources")).unwrap();
    fs::write(home.join("sources/v2.service"), unit("v2")).unwrap();
    fs::write(below("etc/systemd/system").join(UNIT), unit("v1")).unwrap();
    support::call(&fixture, &["Reload"]);
    support::call(&fixture, &["StartUnit", "ss", UNIT, "replace"]);
    let began = Instant::now();
    while !log(&home).iter().any(|l| l.starts_with("drift")) {
        let seen = log(&home);
        assert!(began.elapsed() < Duration::from_secs(60), "{seen:?}");
        assert!(seen.len() < 20, "an endless loop: {seen:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Nothing restarts it later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        log(&home),
        [
            "start v1",
            "start v2",
            "recovered Ok(\"succeeded\")",
            "drift false"
        ]
    );
}
