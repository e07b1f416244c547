//! The history on the command line: list, show, compare, count, preview, roll back, cancel,
//! trim.
//!
//! `cargo run --example history -- --store DIR list`, for a directory that
//! `cargo run --example quickstart -- --keep DIR` left behind.
//!
//! The exit codes are in `args.rs`, for `--help`.

mod act;
mod args;
mod ask;
mod cancel;
mod change;
mod cleanup;
mod end;
mod follow;
mod list;
mod out;
mod read;
mod status;
mod table;
mod text;
mod words;
mod world;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use end::End;
use world::World;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return End::from(e.to_string()).tell(),
    };
    out::end(match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(end) => end.tell(),
    })
}

async fn run(cli: Cli) -> Result<ExitCode, End> {
    let world = World::open(&cli).await?;
    match cli.command {
        Command::List(list) => list::run(&world, list).await,
        Command::Status { workload } => status::run(&world, workload).await,
        Command::Show { id, json } => read::show(&world, &id, json).await,
        Command::Compare { from, to, json } => read::compare(&world, &from, &to, json).await,
        Command::Stats {
            service,
            days,
            json,
        } => read::stats(&world, service, days, json).await,
        Command::Verify => read::verify(&world).await,
        Command::Preview(back) => act::preview(&world, back).await,
        Command::Rollback { back, yes } => act::rollback(&world, back, yes).await,
        Command::Redeploy { id, go } => act::redeploy(&world, &id, go).await,
        Command::Deploy { reference, go } => act::deploy(&world, reference, go).await,
        Command::Adopt { workload } => act::adopt(&world, workload).await,
        Command::Cancel(cancel) => cancel::run(&world, cancel).await,
        Command::Recover => act::recover(&world).await,
        Command::Cleanup(cleanup) => cleanup::run(&world, cleanup).await,
        Command::Pin { id } => change::pin(&world, &id).await,
        Command::Unpin { id } => change::unpin(&world, &id).await,
        Command::Note { id, text } => change::note(&world, &id, &text).await,
        Command::MarkBad { id, why } => change::mark_bad(&world, &id, &why).await,
        Command::ClearBad { id } => change::clear_bad(&world, &id).await,
        Command::Hold { why, workload } => change::hold(&world, &why, workload).await,
        Command::LiftHold { workload } => change::lift_hold(&world, workload).await,
        Command::Configure(configure) => change::configure(&world, configure).await,
    }
}
