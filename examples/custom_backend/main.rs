//! A backend of your own: a config file, swapped atomically. See `config_file.rs`.
//!
//! `cargo run --example custom_backend`
#![allow(clippy::print_stdout)]

mod config_file;

use std::error::Error;
use std::fs;
use std::time::Duration;

use config_file::ConfigFile;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_examples::story::{chapter, say, table, tell};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let sources = dir.path().join("sources");
    fs::create_dir(&sources)?;
    fs::write(sources.join("calm.conf"), "workers = 2\n")?;
    fs::write(sources.join("busy.conf"), "workers = 16\n")?;
    fs::write(sources.join("typo.conf"), "wrokers = 16\n")?;

    let proxy: WorkloadId = "proxy@web-1".parse()?;
    let backend = ConfigFile::new(proxy.clone(), &sources, dir.path().join("etc"))?;
    let gate = Gate::default()
        .interval(Duration::from_millis(50))
        .start_period(Duration::ZERO);
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(backend).gate(gate).auto_rollback())
        .build()?;
    let ada = Actor::user("ada")?;
    let live = || {
        let text = fs::read_to_string(dir.path().join("etc/live.conf")).unwrap_or_default();
        say(format!("live.conf now says: {}", text.trim()));
    };

    for (title, reference) in [
        ("Deploy calm.conf", "calm.conf"),
        ("Deploy busy.conf", "busy.conf"),
        (
            "Deploy typo.conf: unhealthy, so busy.conf is put back",
            "typo.conf",
        ),
    ] {
        chapter(title);
        tell(&engine.deploy(&proxy, reference, ada.clone()).await?.await?);
        live();
    }

    chapter("Roll back to the last healthy release before that");
    let back = Request::rollback(proxy.clone(), Goal::LastHealthy, ada);
    tell(&engine.run(back).await?.await?);
    live();

    chapter("The history, oldest first");
    table(&engine.list(&Query::workload(&proxy)).await?.deployments);
    Ok(())
}
