//! What can be typed after `stack`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use rollback_core::id::{GuardName, StackName, WorkloadId};
use rollback_core::time::Timestamp;
use rollback_examples::abbreviation::Abbreviation;

#[derive(Debug, Subcommand)]
pub(crate) enum StackCommand {
    /// The newest groups, and what each did to its members
    List {
        /// Of which stack; may be left out if there is only one
        stack: Option<StackName>,
        /// At most so many, 1 to 1000
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        /// As one JSON array
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// One group in full
    Show {
        /// Which, by its id or by that of any member
        group: Abbreviation,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// What is live on each workload, and whether the stack can go back
    Status {
        /// Of which stack; may be left out if there is only one
        stack: Option<StackName>,
        /// As JSON
        #[arg(long, alias = "json-output")]
        json: bool,
    },
    /// What a rollback would do
    Preview(StackPreview),
    /// Roll back: to what a group left, or to the last group in which all were healthy
    Rollback {
        #[command(flatten)]
        back: StackBack,
        #[command(flatten)]
        go: StackGo,
    },
    /// Deploy references; workloads that are not named are left alone
    Deploy {
        /// What to deploy where, such as api@web-1=v2
        #[arg(required = true, value_name = "WORKLOAD=REFERENCE")]
        references: Vec<Reference>,
        #[command(flatten)]
        go: StackGo,
    },
    /// Deploy what a group left anew, with today's configuration
    Redeploy {
        /// Which, by its id or by that of any member
        group: Abbreviation,
        #[command(flatten)]
        go: StackGo,
    },
    /// Undo the last change that is not undone, of the stack or of one of its workloads
    Undo(StackGo),
    /// Do again what was undone last
    Redo(StackGo),
    /// Carry out a plan that stack preview --json made, approved since, wherever that was
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
}

impl StackCommand {
    /// The workloads whose first deployments it may put on record, where it may.
    pub(crate) fn first_deployments(&self) -> Option<Vec<&WorkloadId>> {
        match self {
            Self::Deploy { references, .. } => {
                Some(references.iter().map(|r| &r.workload).collect())
            }
            _ => None,
        }
    }
}

/// Where a stack goes back to.
#[derive(Debug, Args)]
pub(crate) struct StackBack {
    /// To what this group left; to the last one in which all were healthy if no goal is named
    pub(crate) group: Option<Abbreviation>,
    /// To what was live before the last group that went forward
    #[arg(long, conflicts_with_all = ["group", "before", "at"])]
    pub(crate) previous: bool,
    /// To what was live before this group: undoes it
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["group", "at"])]
    pub(crate) before: Option<Abbreviation>,
    /// To what was live at this time, such as 2026-03-15T14:30:22Z
    #[arg(long, value_name = "TIME", conflicts_with = "group")]
    pub(crate) at: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct StackPreview {
    #[command(flatten)]
    pub(crate) back: StackBack,
    /// Of undo
    #[arg(long, conflicts_with_all = ["group", "previous", "before", "at", "redo"])]
    pub(crate) undo: bool,
    /// Of redo
    #[arg(long, conflicts_with_all = ["group", "previous", "before", "at"])]
    pub(crate) redo: bool,
    #[command(flatten)]
    pub(crate) how: StackHow,
    /// As JSON
    #[arg(long, alias = "json-output")]
    pub(crate) json: bool,
}

/// What everything takes that moves a stack.
#[derive(Debug, Args)]
pub(crate) struct StackHow {
    /// Which stack; may be left out if there is only one, or if a group or workload says it
    #[arg(long)]
    pub(crate) stack: Option<StackName>,
    /// Skip a guard of every member; without a name, the one over dependencies
    #[arg(long, num_args = 0..=1, value_name = "GUARD", default_missing_value = "dependencies")]
    pub(crate) force: Vec<GuardName>,
    /// Move this workload though what is live on it could not be put back
    #[arg(long, value_name = "WORKLOAD")]
    pub(crate) without_way_back: Vec<WorkloadId>,
    /// Why; recorded
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// The same, where something is done at once.
#[derive(Debug, Args)]
pub(crate) struct StackGo {
    #[command(flatten)]
    pub(crate) how: StackHow,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// As JSON
    #[arg(long, alias = "json-output")]
    pub(crate) json: bool,
}

/// What is to be deployed on one workload.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) workload: WorkloadId,
    pub(crate) reference: String,
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((workload, reference)) = text.split_once('=') else {
            return Err("write WORKLOAD=REFERENCE, such as api@web-1=v2".to_owned());
        };
        Ok(Self {
            workload: workload.parse().map_err(|e| format!("{e}"))?,
            reference: reference.to_owned(),
        })
    }
}

impl Reference {
    /// By workload; `Err`: one is named twice, which can only be a slip.
    pub(crate) fn each(all: Vec<Self>) -> Result<BTreeMap<WorkloadId, String>, WorkloadId> {
        let mut each = BTreeMap::new();
        for Self {
            workload,
            reference,
        } in all
        {
            if each.insert(workload.clone(), reference).is_some() {
                return Err(workload);
            }
        }
        Ok(each)
    }
}
