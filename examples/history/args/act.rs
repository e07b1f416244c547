//! What can be typed after the commands that change something.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use rollback_core::id::{GuardName, IdempotencyKey, InvalidId, WorkloadId};
use rollback_core::policy::RollbackMode;
use rollback_core::time::Timestamp;
use rollback_examples::abbreviation::Abbreviation;

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Which, or on which workload
    #[arg(value_name = "WORKLOAD|ID")]
    pub(crate) what: InFlight,
    /// Do not wait
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// A deployment in flight, by its id or by its workload, which has one at most.
#[derive(Debug, Clone)]
pub(crate) enum InFlight {
    On(WorkloadId),
    Is(Abbreviation),
}

impl FromStr for InFlight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            let workload: Result<WorkloadId, _> = text.parse();
            return workload.map(Self::On).map_err(|e| e.to_string());
        }
        let id: Result<Abbreviation, _> = text.parse();
        id.map(Self::Is)
            .map_err(|e| format!("{e}; or a workload, such as api@web-1"))
    }
}

/// How much comes back.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RestoreWhat {
    /// The artifact, with today's configuration
    Artifact,
    /// The configuration that was recorded, too
    Everything,
}

#[derive(Debug, Args)]
pub(crate) struct Back {
    /// To this deployment; to the last healthy one if no goal is named
    pub(crate) id: Option<Abbreviation>,
    /// To the release that was live before, healthy or not
    #[arg(long, conflicts_with_all = ["id", "before", "at"])]
    pub(crate) previous: bool,
    /// To what was live before this deployment: undoes it
    #[arg(long, value_name = "ID", conflicts_with_all = ["id", "at"])]
    pub(crate) before: Option<Abbreviation>,
    /// To what was live at this time, such as 2026-03-15T14:30:22Z
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    pub(crate) at: Option<Timestamp>,
    /// How much comes back
    #[arg(long)]
    pub(crate) restore: Option<RestoreWhat>,
    /// Mark what is skipped over as bad
    #[arg(long)]
    pub(crate) mark_skipped_bad: bool,
    /// Put the release in place anew even if it is live
    #[arg(long)]
    pub(crate) reapply: bool,
    /// As JSON
    #[arg(long, alias = "json-output")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    #[command(flatten)]
    pub(crate) back: Back,
    /// Of undo
    #[arg(long, conflicts_with_all = ["id", "previous", "before", "at", "redo"])]
    pub(crate) undo: bool,
    /// Of redo
    #[arg(long, conflicts_with_all = ["id", "previous", "before", "at"])]
    pub(crate) redo: bool,
}

/// What undo and redo take.
#[derive(Debug, Args)]
pub(crate) struct Retrace {
    /// How much comes back; everything unless said
    #[arg(long)]
    pub(crate) restore: Option<RestoreWhat>,
    #[command(flatten)]
    pub(crate) go: Go,
}

/// What every deployment takes.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// On which workload; may be left out if there is only one
    #[arg(long)]
    pub(crate) workload: Option<WorkloadId>,
    /// Skip a guard; without a name, the one over dependencies
    #[arg(long, num_args = 0..=1, value_name = "GUARD", default_missing_value = "dependencies")]
    pub(crate) force: Vec<GuardName>,
    /// Why; recorded
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Makes this one request, however often it is sent, such as a CI job's id
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

/// The same, where something is done at once.
#[derive(Debug, Args)]
pub(crate) struct Go {
    #[command(flatten)]
    pub(crate) how: How,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// As JSON
    #[arg(long, alias = "json-output")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// Keep so many of the newest records …
    pub(crate) newest: Option<usize>,
    /// … or those of so many days, whichever is more
    pub(crate) days: Option<u32>,
    /// Of this workload only
    #[arg(long)]
    pub(crate) workload: Option<WorkloadId>,
    /// Say what would go, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// As JSON
    #[arg(long, alias = "json-output")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Configure {
    /// Of which workload; may be left out if there is only one
    #[arg(long)]
    pub(crate) workload: Option<WorkloadId>,
    /// off, record or auto
    #[arg(long, value_parser = mode)]
    pub(crate) rollback: Option<RollbackMode>,
    /// Keep so many records, …
    #[arg(long)]
    pub(crate) keep_records: Option<usize>,
    /// … or so many days
    #[arg(long)]
    pub(crate) keep_days: Option<u32>,
    /// Hold deploys after a rollback
    #[arg(long)]
    pub(crate) hold_after_rollback: Option<bool>,
    /// Back to the program's own policy
    #[arg(
        long,
        conflicts_with_all = ["rollback", "keep_records", "keep_days", "hold_after_rollback"]
    )]
    pub(crate) reset: bool,
    /// Say what would change, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long, alias = "json-output")]
    pub(crate) json: bool,
}

fn mode(text: &str) -> Result<RollbackMode, String> {
    match text {
        "off" | "false" => Ok(RollbackMode::Off),
        "record" | "true" => Ok(RollbackMode::Record),
        word => word.parse().map_err(|e: InvalidId| e.to_string()),
    }
}
