//! Images are deployed one after the other as one container, with a bar for each pull; what is sick is put
//! back automatically, and the first one is gone back to in the end.
//!
//! `cargo xtask docker` starts a daemon with images for it, and says how it is called:
//! `cargo run --example docker_swap -- IMAGE IMAGE ...`, where `DOCKER_HOST` or the usual socket leads to a
//! docker daemon. Each image has to listen on 127.0.0.1 at `PORT`, and to answer `/server check`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use rollback_core::context::TransferProgress;
use rollback_core::engine::{Report, RollbackEngine, Run, Workload};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, DockerConfig, Healthcheck};
use rollback_examples::container::Container;
use rollback_examples::story::{chapter, end, say, table, tell};

/// How often a bar is drawn.
const FRAME: Duration = Duration::from_millis(50);
/// How long it is.
const CELLS: u64 = 30;

fn main() -> ExitCode {
    end(play())
}

fn play() -> Result<(), Box<dyn Error>> {
    let images: Vec<String> = std::env::args().skip(1).collect();
    if images.len() < 2 {
        return Err(
            "which images? `cargo xtask docker` has some, and says how to call this".into(),
        );
    }
    // Removes the container and its images when it is dropped, so it outlives the runtime.
    let place = Container::new()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let told = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            told = story(&place, &images) => told,
            _ = tokio::signal::ctrl_c() => Err("stopped".into()),
            _ = terminate.recv() => Err("stopped".into()),
        }
    });
    drop(runtime);
    drop(place);
    told
}

async fn story(place: &Container, images: &[String]) -> Result<(), Box<dyn Error>> {
    // This is all an embedder composes. Docker runs the check, and a rollback waits for what it says.
    let api: WorkloadId = place.workload().parse()?;
    let check = Healthcheck::new(["/server", "check"])
        .interval(Duration::from_millis(500))
        .retries(2);
    let config = DockerConfig::new(api.clone(), place.name(), place.state())
        .socket(place.socket())
        .network("host")
        .env("PORT", place.port().to_string())
        .healthcheck(&check);
    let workload = Workload::new(DockerBackend::new(config)?).auto_rollback();
    // A program of yours has a store that lasts: with this one the history ends with the program.
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()?;
    let ada = Actor::user("ada")?;

    let mut first = None;
    for image in images {
        chapter(&format!("Deploy {image}"));
        let report = watched(engine.deploy(&api, image, ada.clone()).await?).await?;
        tell(&report);
        say(format!("docker shows: {}", place.shows()?));
        first.get_or_insert_with(|| report.deployment().id().clone());
    }
    if let Some(first) = first {
        chapter("Roll back to the first one: its container was kept, and nothing is pulled");
        let back = Request::rollback(api.clone(), Goal::To(first), ada);
        tell(&watched(engine.run(back).await?).await?);
        say(format!("docker shows: {}", place.shows()?));
    }

    chapter("The history, oldest first");
    table(&engine.list(&Query::workload(&api)).await?.deployments);
    Ok(())
}

/// Waits for a run, with a bar for what it pulls.
async fn watched(run: Run) -> Result<Report, Box<dyn Error>> {
    let mut shown = None;
    while !run.is_finished() {
        tokio::time::sleep(FRAME).await;
        // What is said next is said once everything is here.
        match run.progress().transfer {
            Some(now) if Some(now) != shown => {
                bar(now)?;
                shown = Some(now);
            }
            None if shown.take().is_some() && stdout().is_terminal() => println!(),
            _ => {}
        }
    }
    if shown.is_some() && stdout().is_terminal() {
        println!();
    }
    Ok(run.await?)
}

/// One line that is drawn over on a terminal, and a line each elsewhere.
fn bar(at: TransferProgress) -> std::io::Result<()> {
    let full = at.done.saturating_mul(CELLS) / at.total.max(1);
    let cell = |n| if n < full { '#' } else { '.' };
    let cells: String = (0..CELLS).map(cell).collect();
    let mut out = stdout().lock();
    match out.is_terminal() {
        true => write!(out, "\r   pulling [{cells}] {at}  ")?,
        false => writeln!(out, "   pulling [{cells}] {at}")?,
    }
    out.flush()
}
