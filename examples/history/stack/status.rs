//! What is live on each workload of a stack, and whether the stack can go back, and to where.

use std::process::ExitCode;

use rollback_core::error::ErrorKind;
use rollback_core::id::StackName;
use rollback_core::plan::Refusal;
use rollback_core::stack::{StackGoal, StackPlan, StackRequest};
use serde_json::{Value, json};

use super::told::Told;
use crate::end::End;
use crate::out::say;
use crate::status;
use crate::text::{ago, field};
use crate::words;
use crate::world::World;

/// Whether a stack can go back.
enum CanGoBack {
    Yes(Box<StackPlan>),
    No(String),
    NotNow(String),
}

pub(crate) async fn run(
    world: &World,
    named: Option<StackName>,
    json: bool,
) -> Result<ExitCode, End> {
    let stack = world.stack(named.as_ref())?;
    let newest = world.engine.groups(stack.name(), 1).await?.pop();
    let newest = match newest {
        Some(group) => Some(Told::of(world, group).await?),
        None => None,
    };
    let mut states = Vec::new();
    for workload in stack.workloads() {
        states.push(world.store.workload(workload).await?);
    }
    let can = can_go_back(world, stack.name()).await;
    if json {
        let mut workloads = Vec::new();
        for state in &states {
            workloads.push(status::as_json(world, state).await?);
        }
        let told = json!({
            "stack": stack.name(),
            "workloads": workloads,
            "newest_group": newest.as_ref().map(Told::as_json).transpose()?,
            "rollback": can.as_json(),
        });
        say!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    for state in &states {
        say!("{}", state.workload);
        status::seen(world, state).await?;
        say!();
    }
    say!("{}", stack.name());
    match &newest {
        Some(told) => {
            let ids = world.ids(told.ids()).await?;
            let group = &told.group;
            let (what, way) = (told.what(&ids), told.way());
            let (by, when) = (group.actor.name(), ago(group.opened_at, world.now));
            field(
                "  newest group",
                format!("{what} by {by} {when}: {way}\n{}", group.id),
            );
        }
        None => field("  newest group", "none: it was never moved as one"),
    }
    field("  can roll back", can.in_words());
    Ok(ExitCode::SUCCESS)
}

async fn can_go_back(world: &World, stack: &StackName) -> CanGoBack {
    let actor = world.actor.clone();
    let request = StackRequest::rollback(stack.clone(), StackGoal::LastHealthy, actor);
    match world.engine.preview_stack(&request).await {
        Ok(plan) => CanGoBack::Yes(Box::new(plan)),
        Err(e) => match e.refusal() {
            Some(Refusal::NoGroup { stack, goal }) => CanGoBack::No(words::no_group(stack, goal)),
            Some(_) => CanGoBack::No(words::of(&e)),
            None if e.kind() == ErrorKind::AlreadyLive => CanGoBack::No(words::of(&e)),
            None => CanGoBack::NotNow(words::of(&e)),
        },
    }
}

impl CanGoBack {
    fn as_json(&self) -> Value {
        match self {
            Self::Yes(plan) => json!({ "can": "yes", "plan": plan }),
            Self::No(why) => json!({ "can": "no", "why": why }),
            Self::NotNow(why) => json!({ "can": "not_now", "why": why }),
        }
    }

    fn in_words(&self) -> String {
        let plan = match self {
            Self::Yes(plan) => plan,
            Self::No(why) => return format!("no: {why}"),
            Self::NotNow(why) => return format!("not now: {why}"),
        };
        let mut lines = vec!["yes".to_owned()];
        for member in plan.moves() {
            let to = member.release().map(ToString::to_string);
            let point = member.rollback_point().map(ToString::to_string);
            lines.push(format!(
                "{} to {} ({})",
                member.workload(),
                to.unwrap_or_default(),
                point.unwrap_or_default()
            ));
        }
        for (workload, stays) in plan.stays() {
            lines.push(format!("{workload} stays as it is: {}", stays.why));
        }
        lines.join("\n")
    }
}
