//! What can be typed.

mod act;
mod stack;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rollback_core::id::{ServiceName, TargetName, WorkloadId};
use rollback_examples::abbreviation::Abbreviation;

pub(crate) use act::{
    Back, Cancel, Cleanup, Configure, Go, How, InFlight, Preview, RestoreWhat, Retrace,
};
pub(crate) use stack::{Reference, StackBack, StackCommand, StackGo, StackHow, StackPreview};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the deployment failed or was cancelled
  2  wrong usage
  3  it failed and was rolled back
  4  refused
  5  degraded, by itself or by its automatic rollback
  6  busy, or changed meanwhile
  7  no such thing, or no history there
  8  the history or the platform cannot be reached
  130  left by a second Ctrl-C, unfinished; the first one asks the deployment to stop";

const JSON_KEYS: &str = "\
Each deployment as JSON is its whole record, and for scripts:
  id              of the deployment, whole
  user            who deployed
  service         of the workload, and
  machine         its target
  status          how it ended: succeeded, failed, failed_and_rolled_back, refused,
                  cancelled, interrupted, degraded; or in_progress
  health          passed, healed, failed or unknown
  release         for people
  duration_ms     null until it has ended
  rollback_point  whether a rollback can go to it";

/// The history of deployments, and the way back.
///
/// A deployment is named by its id, by the beginning of it, or by 4 or more of the digits that its
/// last part begins with, as lists show them.
#[derive(Debug, Parser)]
#[command(name = "history", after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// The history: sqlite:FILE, json:DIR, or a path. A directory that has a history.db is taken
    /// for that file.
    #[arg(
        long,
        env = "ROLLBACK_STORE",
        global = true,
        default_value = "history.db"
    )]
    pub(crate) store: String,
    /// The workloads; workloads.json beside the history unless said.
    #[arg(long, global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Who you are; recorded. Unless said: USER, SUDO_USER or LOGNAME, or else your uid.
    #[arg(long, global = true)]
    pub(crate) user: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The newest deployments
    List(List),
    /// What is live, and whether it can be rolled back
    Status {
        /// Of this workload only
        workload: Option<WorkloadId>,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// One deployment in full
    Show {
        /// Which
        id: Abbreviation,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// What differs between two deployments
    Compare {
        /// The one
        from: Abbreviation,
        /// The other
        to: Abbreviation,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// Success rate, durations, rollbacks, recent failures
    Stats {
        /// Of this service
        service: Option<ServiceName>,
        /// Of so many days
        days: Option<u32>,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// What a rollback would do
    Preview(Preview),
    /// Roll back: to a deployment, or to the last healthy one
    Rollback {
        #[command(flatten)]
        back: Back,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Undo the last change that is not undone; once more, the one before it
    Undo(Retrace),
    /// Do again what was undone last
    Redo(Retrace),
    /// Deploy an earlier deployment's artifact anew, with today's configuration
    Redeploy {
        /// Which
        id: Abbreviation,
        #[command(flatten)]
        go: Go,
    },
    /// Deploy a reference
    Deploy {
        /// A tag, branch or commit
        reference: String,
        #[command(flatten)]
        go: Go,
    },
    /// Move several workloads as one: all of them go live, or none
    #[command(subcommand)]
    Stack(StackCommand),
    /// Put on record what is live
    Adopt {
        /// On which workload; may be left out if there is only one
        #[arg(long)]
        workload: Option<WorkloadId>,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// Ask a deployment in flight to stop, and wait until it has
    Cancel(Cancel),
    /// Settle what a crash left unfinished
    Recover {
        /// Finish it on this workload though it was begun by a program that was composed otherwise
        #[arg(long, value_name = "WORKLOAD")]
        force_composition: Option<WorkloadId>,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// Forget old records, and let go what only they needed
    Cleanup(Cleanup),
    /// Keep a deployment from clean-ups
    Pin {
        /// Which
        id: Abbreviation,
    },
    /// Give it back to clean-ups
    Unpin {
        /// Which
        id: Abbreviation,
    },
    /// Add a note
    Note {
        /// To which
        id: Abbreviation,
        /// What
        text: String,
    },
    /// Keep rollbacks from ever going to a deployment
    MarkBad {
        /// Which
        id: Abbreviation,
        /// Why
        why: String,
    },
    /// Take that back
    ClearBad {
        /// Which
        id: Abbreviation,
    },
    /// Let nothing but rollbacks through
    Hold {
        /// Why
        why: String,
        /// On which workload; may be left out if there is only one
        #[arg(long)]
        workload: Option<WorkloadId>,
    },
    /// Let deploys through again
    LiftHold {
        /// On which workload; may be left out if there is only one
        #[arg(long)]
        workload: Option<WorkloadId>,
    },
    /// Withdraw an artifact: no rollback goes to it by itself, and nothing deploys it unforced
    Recall {
        /// Its digest, as `show` has it
        artifact: String,
        /// Why
        why: String,
    },
    /// Take a recall back
    ClearRecall {
        /// The artifact's digest
        artifact: String,
    },
    /// Set the oldest deployment that rollbacks go to
    Floor {
        /// Which
        deployment: Abbreviation,
        /// Why
        why: String,
    },
    /// Let rollbacks go to any deployment again
    ClearFloor {
        /// On which workload; may be left out if there is only one
        #[arg(long)]
        workload: Option<WorkloadId>,
    },
    /// Set a workload's policy, for good
    Configure(Configure),
    /// Read everything, and say what is wrong with it
    Verify {
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// Carry out a plan that preview --json made, approved since, wherever that was
    Execute {
        /// The file that it is in; - for the standard input
        plan: PathBuf,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// Give up what a dead process left in flight and recover cannot settle, and say so on record
    Abandon {
        /// On which workload
        workload: WorkloadId,
        /// Why; recorded
        why: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Copy the whole history, while others go on writing
    Backup {
        /// To where nothing is yet
        to: PathBuf,
    },
    /// Put a copy in the history's place. What was there is kept beside it; a JSON history is moved
    /// away first
    Restore {
        /// The copy
        from: PathBuf,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Make the index anew, after files of a JSON history were restored or removed by hand
    RebuildIndex,
}

impl Command {
    /// The workloads whose first deployments it may put on record, where it may: none of them if none
    /// is named.
    pub(crate) fn first_deployments(&self) -> Option<Vec<&WorkloadId>> {
        match self {
            Self::Adopt { workload, .. } => Some(workload.iter().collect()),
            Self::Deploy { go, .. } => Some(go.how.workload.iter().collect()),
            Self::Stack(command) => command.first_deployments(),
            _ => None,
        }
    }

    /// Whether it is nothing without knowing how workloads are deployed. What only reads, or adds
    /// to records, goes on without.
    pub(crate) fn needs_catalog(&self) -> bool {
        !matches!(
            self,
            Self::List(_)
                | Self::Status { .. }
                | Self::Show { .. }
                | Self::Compare { .. }
                | Self::Stats { .. }
                | Self::Cancel(_)
                | Self::Pin { .. }
                | Self::Unpin { .. }
                | Self::Note { .. }
                | Self::MarkBad { .. }
                | Self::ClearBad { .. }
                | Self::Verify { .. }
                | Self::Abandon { .. }
                | Self::Backup { .. }
                | Self::RebuildIndex
                | Self::Stack(StackCommand::Show { .. })
        )
    }
}

#[derive(Debug, Args)]
#[command(after_help = JSON_KEYS)]
pub(crate) struct List {
    /// Of this service
    pub(crate) service: Option<ServiceName>,
    /// As one JSON array
    #[arg(long, alias = "json-output")]
    pub(crate) json: bool,
    /// On this target
    #[arg(long)]
    pub(crate) target: Option<TargetName>,
    /// By this backend
    #[arg(long)]
    pub(crate) backend: Option<String>,
    /// Ended like this: succeeded, failed, failed-and-rolled-back, …
    #[arg(long)]
    pub(crate) outcome: Option<String>,
    /// Set off by this: deploy, redeploy, rollback, automatic-rollback, adopt, …
    #[arg(long)]
    pub(crate) trigger: Option<String>,
    /// By this person
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// With this label, as name=value
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Not older than so many days
    #[arg(long)]
    pub(crate) days: Option<u32>,
    /// At most so many, 1 to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) limit: u16,
    /// Older than this number: the next page
    #[arg(long)]
    pub(crate) before: Option<u64>,
    /// So many columns wide; as wide as the terminal unless said, and without end into a file
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) width: Option<u16>,
}
