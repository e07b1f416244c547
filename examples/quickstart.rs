//! A service is adopted, deployed, broken, put back automatically, rolled back and deployed on.
//!
//! `cargo run --example quickstart [-- --keep DIR]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::prelude::*;
use rollback_examples::catalog::{self, Catalog, Entry};
use rollback_examples::playground::{Guest, Playground};
use rollback_examples::service;
use rollback_examples::story::{chapter, say, table, tell};
use rollback_git::{GitBackend, GitConfig};
use rollback_health::HttpCheck;
use rollback_sqlite::SqliteStore;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The service, and the command that restarts it, are this program too.
    if let Some(code) = service::subcommand() {
        return Ok(code);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let keep = match args.as_slice() {
        [] => None,
        [flag, dir] if flag == "--keep" => Some(PathBuf::from(dir)),
        _ => return Err("usage: quickstart [--keep DIR]".into()),
    };
    // Stops the service and deletes the directory when it is dropped, so it outlives the runtime.
    let playground = Playground::new(keep)?;
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
    told.map(|()| ExitCode::SUCCESS)
}

async fn story(at: Guest) -> Result<(), Box<dyn Error>> {
    chapter("Before rollback: v1 was put live by hand");
    at.commit(&[
        ("v1", "ok"),
        ("v2", "ok"),
        ("v3", "cannot reach the database"),
        ("v4", "ok"),
    ])?;
    at.install_by_hand("v1")?;
    say(format!(
        "A clone of the repository, a `current` link, a process on port {}.",
        at.port()
    ));
    serves(&at);

    // This is all an embedder composes: a store, a backend, a check.
    let api: WorkloadId = "api@web-1".parse()?;
    let health = format!("http://127.0.0.1:{}/healthz", at.port());
    let config = GitConfig::new(api.clone(), at.repository(), at.site())
        .restart_command(at.restart_command()?);
    let workload = Workload::new(GitBackend::new(config)?)
        .check(HttpCheck::new(&health)?)
        .gate(quick_gate())
        .auto_rollback();
    let engine = RollbackEngine::builder(SqliteStore::open(at.history()).await?)
        .workload(workload)
        .build()?;
    engine.recover().await?; // settles what a crash left unfinished; nothing, this first time
    let ada = Actor::user("ada")?;

    chapter("Adopt: what is live goes on record, so there is something to go back to");
    tell(&engine.adopt(&api, ada.clone()).await?.await?);

    chapter("Deploy v2: healthy");
    tell(&engine.deploy(&api, "v2", ada.clone()).await?.await?);
    serves(&at);

    chapter("Deploy v3: broken, so the gate fails and v2 is put back");
    tell(&engine.deploy(&api, "v3", ada.clone()).await?.await?);
    serves(&at);

    chapter("Preview a rollback: what would happen, and nothing happens");
    let back = Request::rollback(api.clone(), Goal::LastHealthy, ada.clone())
        .because("v2 is too slow".parse()?);
    let plan = engine.preview(&back).await?;
    say(plan.to_string());
    serves(&at);

    chapter("Carry that plan out");
    tell(&engine.execute(plan).await?.await?);
    serves(&at);

    chapter("Roll forward: deploy v4");
    tell(&engine.deploy(&api, "v4", ada).await?.await?);
    serves(&at);

    // For the example `history`, which composes the same from a file.
    let entry = Entry {
        workload: api.clone(),
        repository: at.repository(),
        root: at.site(),
        restart: at.restart_command()?,
        health: Some(health),
        gate: quick_gate(),
        rollback: RollbackMode::Auto,
        depends_on: Vec::new(),
    };
    let catalog = Catalog {
        workloads: vec![entry],
        stacks: Vec::new(),
    };
    catalog.write(&at.root().join(catalog::FILE))?;

    chapter("The history, oldest first");
    table(&engine.list(&Query::workload(&api)).await?.deployments);
    Ok(())
}

fn serves(at: &Guest) {
    say(format!("The service answers: {}", at.ask()));
}

/// The default gate is more patient; this service is up at once.
fn quick_gate() -> Gate {
    Gate::default()
        .interval(Duration::from_millis(200))
        .start_period(Duration::from_millis(500))
}
