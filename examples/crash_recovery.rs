//! The deploying program is killed in the middle of a switch; another one recovers.
//!
//! `cargo run --example crash_recovery`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::Liveness;
use rollback_core::prelude::*;
use rollback_examples::playground::{Guest, Playground};
use rollback_examples::service;
use rollback_examples::story::{chapter, say, tell, timeline};
use rollback_git::{GitBackend, GitConfig};
use rollback_health::HttpCheck;
use rollback_sqlite::SqliteStore;
use rustix::process::{Signal, getppid, kill_process};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // As the restart command, kill the program that runs it: once, where a marker says so.
    // By then the link has been moved, the service has not been restarted, and the record ends
    // with the intent to switch.
    if args.first().is_some_and(|a| a == "restart")
        && let Some(pid_file) = args.get(2)
        && std::fs::remove_file(PathBuf::from(pid_file).with_file_name("kill-once")).is_ok()
        && let Some(parent) = getppid()
    {
        kill_process(parent, Signal::KILL)?;
        return Ok(ExitCode::FAILURE);
    }
    if let Some(code) = service::subcommand() {
        return Ok(code);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    match args.as_slice() {
        [] => {}
        [what, dir, port] if what == "deploy-v2" => {
            let at = Playground::existing(dir.into(), port.parse()?);
            runtime.block_on(deploy(&at, "v2"))?;
            return Err("nobody killed this process".into());
        }
        _ => return Err("usage: crash_recovery".into()),
    }
    let playground = Playground::new(None)?;
    let told = runtime.block_on(async {
        tokio::select! {
            told = story(playground.guest()) => told,
            _ = tokio::signal::ctrl_c() => Err("stopped".into()),
        }
    });
    drop(runtime);
    drop(playground);
    told.map(|()| ExitCode::SUCCESS)
}

async fn story(at: Guest) -> Result<(), Box<dyn Error>> {
    at.commit(&[("v1", "ok"), ("v2", "ok")])?;

    chapter("v1 is deployed");
    deploy(&at, "v1").await?;
    serves(&at);

    chapter("Another process deploys v2 and is killed between the link and the restart");
    std::fs::write(at.root().join("kill-once"), "")?;
    let status = tokio::process::Command::new(std::env::current_exe()?)
        .arg("deploy-v2")
        .arg(at.root())
        .arg(at.port().to_string())
        .kill_on_drop(true)
        .status()
        .await?;
    say(format!(
        "It ended by signal {}.",
        status.signal().unwrap_or(0)
    ));
    serves(&at);

    chapter("What it left behind");
    let (engine, api) = engine(&at).await?;
    for state in engine.workloads().await?.states {
        let Some(unfinished) = state.in_flight else {
            return Err("the killed deployment is not on record".into());
        };
        say(format!(
            "{} is unfinished; the process that ran it {}.",
            unfinished.deployment,
            match unfinished.liveness {
                Liveness::Dead => "is dead",
                _ => "lives",
            }
        ));
        timeline(&engine.get(&unfinished.deployment).await?);
    }

    chapter("A new program starts and calls recover()");
    for recovered in engine.recover().await? {
        let report = recovered.result?;
        tell(&report);
        timeline(report.deployment());
    }
    serves(&at);

    chapter("Afterwards");
    say(format!(
        "Left to recover: {}",
        engine.recover().await?.len()
    ));
    let health = engine.health(&api).await?;
    say(format!(
        "Live: {}",
        health.live.unwrap_or_else(|| "nothing".into())
    ));
    Ok(())
}

async fn deploy(at: &Guest, reference: &str) -> Result<(), Box<dyn Error>> {
    let (engine, api) = engine(at).await?;
    let ada = Actor::user("ada")?;
    tell(&engine.deploy(&api, reference, ada).await?.await?);
    Ok(())
}

/// As each of the programs composes it.
async fn engine(at: &Guest) -> Result<(RollbackEngine, WorkloadId), Box<dyn Error>> {
    let api: WorkloadId = "api@web-1".parse()?;
    let config = GitConfig::new(api.clone(), at.repository(), at.site())
        .restart_command(at.restart_command()?);
    let gate = Gate::default()
        .interval(Duration::from_millis(200))
        .start_period(Duration::from_millis(500));
    let workload = Workload::new(GitBackend::new(config)?)
        .check(HttpCheck::new(&format!(
            "http://127.0.0.1:{}/healthz",
            at.port()
        ))?)
        .gate(gate)
        .auto_rollback();
    let engine = RollbackEngine::builder(SqliteStore::open(at.history()).await?)
        .workload(workload)
        .build()?;
    Ok((engine, api))
}

fn serves(at: &Guest) {
    say(format!("The service answers: {}", at.ask()));
}
