//! A store of your own: a history in one file of an embedded key-value store. See `redb_store.rs`.
//!
//! `cargo run --example custom_store`
#![allow(clippy::print_stdout)]

#[path = "../custom_backend/config_file.rs"]
mod config_file;
mod redb_store;
mod tables;

use std::error::Error;
use std::fs;
use std::path::Path;

use config_file::ConfigFile;
use redb_store::RedbStore;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::prelude::*;
use rollback_examples::story::{chapter, table, tell};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let sources = dir.path().join("sources");
    fs::create_dir(&sources)?;
    fs::write(sources.join("calm.conf"), "workers = 2\n")?;
    fs::write(sources.join("busy.conf"), "workers = 16\n")?;
    let proxy: WorkloadId = "proxy@web-1".parse()?;
    let ada = Actor::user("ada")?;

    let engine = engine(&proxy, dir.path()).await?;
    for reference in ["calm.conf", "busy.conf"] {
        chapter(&format!("Deploy {reference}"));
        tell(&engine.deploy(&proxy, reference, ada.clone()).await?.await?);
    }
    drop(engine);

    chapter("Another engine opens the file, and rolls back");
    let engine = self::engine(&proxy, dir.path()).await?;
    let back = Request::rollback(proxy.clone(), Goal::LastHealthy, ada);
    tell(&engine.run(back).await?.await?);

    chapter("The history, oldest first");
    table(&engine.list(&Query::workload(&proxy)).await?.deployments);
    Ok(())
}

/// An engine on the history in this directory.
async fn engine(proxy: &WorkloadId, dir: &Path) -> Result<RollbackEngine, Box<dyn Error>> {
    let backend = ConfigFile::new(proxy.clone(), dir.join("sources"), dir.join("etc"))?;
    let store = RedbStore::open(&dir.join("history.redb")).await?;
    Ok(RollbackEngine::builder(store)
        .workload(Workload::new(backend))
        .build()?)
}
