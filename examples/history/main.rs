//! The history on the command line: list, show, compare, count, preview, roll back, undo, cancel,
//! trim; and several workloads moved as one.
//!
//! `cargo run --example history -- --store DIR list`, for a directory that
//! `cargo run --example quickstart -- --keep DIR` left behind.
//!
//! The exit codes are in `args.rs`, for `--help`.

mod act;
mod args;
mod ask;
mod bare;
mod cancel;
mod change;
mod cleanup;
mod copies;
mod end;
mod follow;
mod list;
mod out;
mod place;
mod read;
mod stack;
mod status;
mod table;
mod text;
mod withhold;
mod words;
mod world;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use end::End;
use rollback_core::request::Goal;
use world::World;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // This thread may wait for who reads what it says; what was begun goes on in another.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return End::from(e.to_string()).tell(),
    };
    let ended = runtime.block_on(run(cli));
    // What still runs was left by who typed this; nobody waits for it.
    runtime.shutdown_background();
    out::end(match ended {
        Ok(code) => code,
        Err(end) => end.tell(),
    })
}

async fn run(cli: Cli) -> Result<ExitCode, End> {
    if let Command::Restore { from, yes } = &cli.command {
        return copies::restore(&cli.store, from, *yes).await;
    }
    let world = World::open(&cli).await?;
    match cli.command {
        Command::List(list) => list::run(&world, list).await,
        Command::Status { workload, json } => status::run(&world, workload, json).await,
        Command::Show { id, json } => read::show(&world, &id, json).await,
        Command::Compare { from, to, json } => read::compare(&world, &from, &to, json).await,
        Command::Stats {
            service,
            days,
            json,
        } => read::stats(&world, service, days, json).await,
        Command::Verify { json } => read::verify(&world, json).await,
        Command::Preview(preview) => act::preview(&world, preview).await,
        Command::Rollback { back, yes } => act::rollback(&world, back, yes).await,
        Command::Undo(undo) => act::retrace(&world, Goal::Undo, undo).await,
        Command::Redo(redo) => act::retrace(&world, Goal::Redo, redo).await,
        Command::Redeploy { id, go } => act::redeploy(&world, &id, go).await,
        Command::Deploy { reference, go } => act::deploy(&world, reference, go).await,
        Command::Stack(command) => Box::pin(stack::run(&world, command)).await,
        Command::Adopt { workload, json } => act::adopt(&world, workload, json).await,
        Command::Cancel(cancel) => cancel::run(&world, cancel).await,
        Command::Recover {
            force_composition,
            json,
        } => act::recover(&world, force_composition, json).await,
        Command::Execute { plan, yes, json } => {
            Box::pin(act::execute(&world, &plan, yes, json)).await
        }
        Command::Abandon { workload, why, yes } => {
            change::abandon(&world, workload, &why, yes).await
        }
        Command::Backup { to } => copies::backup(&world, &to).await,
        Command::Restore { .. } => Ok(ExitCode::SUCCESS),
        Command::RebuildIndex => change::rebuild_index(&world).await,
        Command::Cleanup(cleanup) => cleanup::run(&world, cleanup).await,
        Command::Pin { id } => change::pin(&world, &id).await,
        Command::Unpin { id } => change::unpin(&world, &id).await,
        Command::Note { id, text } => change::note(&world, &id, &text).await,
        Command::MarkBad { id, why } => change::mark_bad(&world, &id, &why).await,
        Command::ClearBad { id } => change::clear_bad(&world, &id).await,
        Command::Hold { why, workload } => change::hold(&world, &why, workload).await,
        Command::Recall { artifact, why } => withhold::recall(&world, &artifact, &why).await,
        Command::ClearRecall { artifact } => withhold::clear_recall(&world, &artifact).await,
        Command::Floor { deployment, why } => withhold::floor(&world, &deployment, &why).await,
        Command::ClearFloor { workload } => withhold::clear_floor(&world, workload).await,
        Command::LiftHold { workload } => change::lift_hold(&world, workload).await,
        Command::Configure(configure) => change::configure(&world, configure).await,
    }
}
