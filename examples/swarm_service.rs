//! A service of a Swarm is deployed, fails its health check, is put back automatically, and is rolled
//! back.
//!
//! `cargo run --example swarm_service`, where `DOCKER_HOST` or the usual socket leads to a Swarm of one
//! node.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rollback_core::engine::{Report, RollbackEngine, Workload};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{Healthcheck, PullPolicy, SwarmBackend, SwarmConfig};
use rollback_examples::story::{chapter, end, say, table, tell};
use rollback_examples::swarm::Swarm;
use rollback_testkit::fixtures::server::server;

fn main() -> ExitCode {
    end(play())
}

fn play() -> Result<(), Box<dyn Error>> {
    // Removes the service and its images when it is dropped, so it outlives the runtime.
    let swarm = Swarm::new()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let told = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            told = story(&swarm) => told,
            _ = tokio::signal::ctrl_c() => Err("stopped".into()),
            _ = terminate.recv() => Err("stopped".into()),
        }
    });
    drop(runtime);
    drop(swarm);
    told
}

async fn story(swarm: &Swarm) -> Result<(), Box<dyn Error>> {
    chapter("Three releases: images of a small service, the third one sick");
    swarm.build(&server()?, &[("v1", ""), ("v2", ""), ("v3", "sick")])?;
    let image = |version: &str| format!("{}:{version}", swarm.name());
    say(format!("{}, v2 and v3", image("v1")));

    // This is all an embedder composes. Swarm runs the check inside each task, and calls a task
    // running once it passes; so no check of the engine's own is needed.
    let api: WorkloadId = swarm.workload().parse()?;
    let check = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_millis(500))
        .retries(2);
    let config = SwarmConfig::new(api.clone(), swarm.name(), swarm.state())
        .socket(swarm.socket())
        .env("PORT", "8080")
        .replicas(2)
        .healthcheck(&check)
        // How long Swarm watches each new task before it goes on to the next.
        .monitor(Duration::from_secs(1))
        // These images are in no registry.
        .pull(PullPolicy::Never);
    let workload = Workload::new(SwarmBackend::new(config)?).auto_rollback();
    // A program of yours has a store that lasts: with this one the history ends with the program.
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()?;
    let ada = Actor::user("ada")?;

    chapter("Deploy v1: the service is made, and both its tasks pass the check");
    tell(&engine.deploy(&api, image("v1"), ada.clone()).await?.await?);
    say(format!("Swarm shows: {}", swarm.shows()?));

    chapter("Deploy v2: Swarm replaces one task after the other");
    tell(&engine.deploy(&api, image("v2"), ada.clone()).await?.await?);
    say(format!("Swarm shows: {}", swarm.shows()?));

    chapter("Deploy v3: its first task fails the check, Swarm pauses, and v2 is put back");
    let report = engine.deploy(&api, image("v3"), ada.clone()).await?.await?;
    tell(&report);
    why(&report);
    say(format!("Swarm shows: {}", swarm.shows()?));

    chapter("Roll back to the last healthy release before that");
    let back = Request::rollback(api.clone(), Goal::LastHealthy, ada);
    tell(&engine.run(back).await?.await?);
    say(format!("Swarm shows: {}", swarm.shows()?));

    chapter("The history, oldest first");
    table(&engine.list(&Query::workload(&api)).await?.deployments);
    Ok(())
}

/// What Swarm had to say of the release that failed, which the record keeps.
fn why(report: &Report) {
    let Some(diagnosis) = report.diagnosis() else {
        return;
    };
    for (name, fact) in &diagnosis.platform.facts {
        say(format!("{name}: {fact}"));
    }
    for line in &diagnosis.platform.log {
        say(format!("its log: {line}"));
    }
}
