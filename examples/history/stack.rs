//! Several workloads that move as one: what was moved, and moving them.

mod act;
mod follow;
mod list;
mod show;
mod status;
mod told;

use std::process::ExitCode;

use rollback_core::stack::StackGoal;

use crate::args::StackCommand;
use crate::end::End;
use crate::world::World;

pub(crate) async fn run(world: &World, command: StackCommand) -> Result<ExitCode, End> {
    match command {
        StackCommand::List { stack, limit, json } => list::run(world, stack, limit, json).await,
        StackCommand::Show { group, json } => show::run(world, &group, json).await,
        StackCommand::Status { stack, json } => status::run(world, stack, json).await,
        StackCommand::Preview(asked) => act::preview(world, asked).await,
        StackCommand::Rollback { back, go } => act::rollback(world, back, go).await,
        StackCommand::Deploy { references, go } => act::deploy(world, references, go).await,
        StackCommand::Redeploy { group, go } => act::redeploy(world, &group, go).await,
        StackCommand::Undo(go) => act::retrace(world, StackGoal::Undo, go).await,
        StackCommand::Redo(go) => act::retrace(world, StackGoal::Redo, go).await,
        StackCommand::Execute { plan, yes, json } => act::execute(world, &plan, yes, json).await,
    }
}
