//! Three workloads on two backends move as one: forward, back because one of them is broken, and back by
//! hand to where all were healthy, and to a time.
//!
//! `cargo run --example stack_rollback`
#![allow(clippy::print_stdout)]

#[path = "../custom_backend/config_file.rs"]
mod config_file;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use config_file::ConfigFile;
use rollback_core::engine::{Group, GroupReport, RollbackEngine, Way, Workload};
use rollback_core::prelude::*;
use rollback_core::stack::{Stack, StackGoal, StackRequest};
use rollback_examples::playground::{Guest, Playground};
use rollback_examples::service;
use rollback_examples::story::{chapter, end, say};
use rollback_git::{GitBackend, GitConfig};
use rollback_health::HttpCheck;
use rollback_sqlite::SqliteStore;

fn main() -> ExitCode {
    // The service, and the command that restarts it, are this program too.
    match service::subcommand() {
        Some(code) => code,
        None => end(play()),
    }
}

fn play() -> Result<(), Box<dyn Error>> {
    if std::env::args().len() > 1 {
        return Err("usage: stack_rollback".into());
    }
    let playground = Playground::new(None)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let told = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            told = story(playground.guest()) => told,
            _ = tokio::signal::ctrl_c() => Err("stopped".into()),
            _ = terminate.recv() => Err("stopped".into()),
        }
    });
    drop(runtime);
    drop(playground);
    told
}

async fn story(at: Guest) -> Result<(), Box<dyn Error>> {
    at.commit(&[
        ("v1", "ok"),
        ("v2", "ok"),
        ("v3", "cannot reach the database"),
    ])?;
    let sources = at.root().join("sources");
    fs::create_dir(&sources)?;
    for (name, workers) in [("calm.conf", 2), ("busy.conf", 16)] {
        fs::write(sources.join(name), format!("workers = {workers}\n"))?;
    }

    let [api, proxy, queue] = ["api@shop-1", "proxy@shop-1", "queue@shop-1"].map(str::parse);
    let (api, proxy, queue): (WorkloadId, WorkloadId, WorkloadId) = (api?, proxy?, queue?);
    let health = format!("http://127.0.0.1:{}/healthz", at.port());
    let git = GitConfig::new(api.clone(), at.repository(), at.site())
        .restart_command(at.restart_command()?);
    let file =
        |of: &WorkloadId, dir: &str| ConfigFile::new(of.clone(), &sources, at.root().join(dir));
    // The service needs the queue; the proxy in front of it needs the service.
    let engine = RollbackEngine::builder(SqliteStore::open(at.history()).await?)
        .workload(
            Workload::new(GitBackend::new(git)?)
                .check(HttpCheck::new(&health)?)
                .gate(quick_gate())
                .depends_on(queue.clone()),
        )
        .workload(
            Workload::new(file(&proxy, "proxy")?)
                .gate(quick_gate())
                .depends_on(api.clone()),
        )
        .workload(Workload::new(file(&queue, "queue")?).gate(quick_gate()))
        .stack(Stack::new(
            "shop".parse()?,
            [api.clone(), proxy.clone(), queue.clone()],
        ))
        .build()?;
    engine.recover().await?; // also ends what a crash left of a group, all of it in one way
    let ada = Actor::user("ada")?;
    let deploy = |version: &str, proxy_file: &str, queue_file: &str| {
        let references = [
            (api.clone(), version.to_owned()),
            (proxy.clone(), proxy_file.to_owned()),
            (queue.clone(), queue_file.to_owned()),
        ];
        Ok::<_, Box<dyn Error>>(StackRequest::deploy(
            "shop".parse()?,
            references,
            ada.clone(),
        ))
    };
    let back =
        |goal| Ok::<_, Box<dyn Error>>(StackRequest::rollback("shop".parse()?, goal, ada.clone()));

    chapter("Deploy all three: what others need goes live first");
    let first = engine
        .run_stack(deploy("v1", "calm.conf", "calm.conf")?)
        .await?
        .await;
    tell(&first);
    serves(&at);
    let then = SystemClock.now();

    chapter("Deploy v3, which is broken: all three go back");
    let broken = deploy("v3", "busy.conf", "busy.conf")?;
    tell(&engine.run_stack(broken).await?.await);
    serves(&at);

    chapter("Deploy v2 and another proxy; what would not change is left alone");
    let plan = engine
        .preview_stack(&deploy("v2", "busy.conf", "calm.conf")?)
        .await?;
    say(plan.to_string());
    tell(&engine.execute_stack(plan).await?.await);
    serves(&at);

    chapter("Roll back to where all were healthy");
    tell(&engine.run_stack(back(StackGoal::LastHealthy)?).await?.await);
    serves(&at);

    chapter("Forward again, to what the group before left; and back to a time");
    let groups = engine.groups(&"shop".parse()?, 2).await?;
    if let [_, before] = groups.as_slice() {
        let forward = back(StackGoal::To(before.id.clone()))?;
        tell(&engine.run_stack(forward).await?.await);
    }
    serves(&at);
    tell(&engine.run_stack(back(StackGoal::AsOf(then))?).await?.await);
    serves(&at);

    chapter("The groups, oldest first");
    for group in engine.groups(&"shop".parse()?, 20).await?.iter().rev() {
        say(line(group));
    }
    Ok(())
}

fn tell(report: &GroupReport) {
    say(report.summary());
    for (workload, stays) in report.stays() {
        say(format!("{workload} stayed as it was: {}", stays.why));
    }
}

fn line(group: &Group) -> String {
    let way = match group.way {
        Way::Forward => "went live",
        Way::Back => "went back",
        _ => "is not decided",
    };
    let what = match &group.roll.goal {
        Some(goal) => format!("a rollback to {goal}"),
        None => "a deploy".to_owned(),
    };
    let members: Vec<String> = group.roll.moves().map(|(w, _)| w.to_string()).collect();
    format!("{}: {what} of {} {way}", group.id, members.join(", "))
}

fn serves(at: &Guest) {
    let says = |dir: &str| {
        let text = fs::read_to_string(at.root().join(Path::new(dir)).join("live.conf"));
        text.unwrap_or_default().trim().to_owned()
    };
    say(format!(
        "The service answers {}; the proxy has {}, the queue {}.",
        at.ask(),
        says("proxy"),
        says("queue")
    ));
}

/// The default gate is more patient; these are up at once.
fn quick_gate() -> Gate {
    Gate::default()
        .interval(Duration::from_millis(100))
        .start_period(Duration::from_millis(200))
}
