//! A service that compose has made is taken over, deployed, put back by itself, and rolled back; and
//! whenever the compose file says what is live, `docker-compose up -d` finds nothing to change.
//!
//! `cargo run --example compose_service`, where `DOCKER_HOST` or the usual socket leads to a daemon.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rollback_compose::ComposeProject;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, PullPolicy};
use rollback_examples::shop::Shop;
use rollback_examples::story::{chapter, end, say, table, tell};
use rollback_testkit::fixtures::server::server;

fn main() -> ExitCode {
    end(play())
}

fn play() -> Result<(), Box<dyn Error>> {
    // Removes the project and its images when it is dropped, so it outlives the runtime.
    let shop = Shop::new()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let told = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            told = story(&shop) => told,
            _ = tokio::signal::ctrl_c() => Err("stopped".into()),
            _ = terminate.recv() => Err("stopped".into()),
        }
    });
    drop(runtime);
    drop(shop);
    told
}

/// An engine with what the compose file says now, and the image that it names.
async fn read(
    shop: &Shop,
    store: &MemoryStore,
) -> Result<(RollbackEngine, String), Box<dyn Error>> {
    let project = ComposeProject::at(shop.dir())
        .name(shop.name())
        .socket(shop.socket())
        .program(["docker-compose"]);
    let api = project.read("api").await?;
    let config = api
        .config("api@web-1".parse()?, shop.state())?
        // These images are in no registry.
        .pull(PullPolicy::Never);
    let gate = Gate::default().interval(Duration::from_millis(200));
    let workload = Workload::new(DockerBackend::new(config)?).gate(gate);
    let engine = RollbackEngine::builder(store.clone())
        .workload(workload.auto_rollback())
        .build()?;
    Ok((engine, api.image().to_owned()))
}

async fn story(shop: &Shop) -> Result<(), Box<dyn Error>> {
    chapter("Before rollback: the service is made by docker-compose");
    shop.build(&server()?, &[("v1", ""), ("v2", ""), ("v3", "sick")])?;
    shop.write("v1")?;
    say(shop.up()?);
    say(shop.shows()?);
    let api: WorkloadId = "api@web-1".parse()?;
    let ada = Actor::user("ada")?;
    // A program of yours has a store that lasts: with this one the history ends with the program.
    let store = MemoryStore::new();

    chapter("Adopt: what compose has made goes on record");
    let (engine, _) = read(shop, &store).await?;
    tell(&engine.adopt(&api, ada.clone()).await?.await?);

    for (version, what) in [
        ("v2", "Deploy v2, which the file names now"),
        (
            "v3",
            "Deploy v3: it fails its health check, and v2 is put back",
        ),
    ] {
        chapter(what);
        shop.write(version)?;
        let (engine, image) = read(shop, &store).await?;
        tell(&engine.deploy(&api, image, ada.clone()).await?.await?);
        say(shop.shows()?);
        // A file that names what failed is not true: put the older one back.
        shop.write("v2")?;
        say(format!("docker-compose up -d: {}", shop.up()?));
    }

    chapter("Roll back to v1, and put its file back");
    let (engine, _) = read(shop, &store).await?;
    let back = Request::rollback(api.clone(), Goal::LastHealthy, ada);
    tell(&engine.run(back.restore(Restore::Everything)).await?.await?);
    shop.write("v1")?;
    say(format!("docker-compose up -d: {}", shop.up()?));
    say(shop.shows()?);

    chapter("The history, oldest first");
    table(&engine.list(&Query::workload(&api)).await?.deployments);
    Ok(())
}
