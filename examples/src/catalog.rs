//! A catalog in a file: which workloads there are, and how each is deployed and judged. An
//! embedder has this in its own configuration.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::engine::Workload;
use rollback_core::health::Gate;
use rollback_core::id::{StackName, WorkloadId};
use rollback_core::policy::{Policy, RollbackMode};
use rollback_core::stack::Stack;
use rollback_git::{GitBackend, GitConfig};
use rollback_health::HttpCheck;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The file beside a history.
pub const FILE: &str = "workloads.json";

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The workloads.
    pub workloads: Vec<Entry>,
    /// What of them belongs together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stacks: Vec<StackEntry>,
}

/// Workloads that move as one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackEntry {
    /// What they are called together.
    pub stack: StackName,
    /// Those that belong to it; each to one stack at most.
    pub workloads: Vec<WorkloadId>,
}

/// One workload, deployed from git.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its id.
    pub workload: WorkloadId,
    /// The repository that its releases come from.
    pub repository: PathBuf,
    /// The deploy root, with its `current` link.
    pub root: PathBuf,
    /// A program and its arguments that bring the service to what is current.
    #[serde(default)]
    pub restart: Vec<String>,
    /// The URL that answers 200 when it is healthy.
    pub health: Option<String>,
    /// The gate's patience.
    #[serde(default)]
    pub gate: Gate,
    /// What a failed gate sets off. `true` and `false` are taken for `record` and `off`.
    #[serde(default, deserialize_with = "mode")]
    pub rollback: RollbackMode,
    /// What it needs.
    #[serde(default)]
    pub depends_on: Vec<WorkloadId>,
}

fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<RollbackMode, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Bool(true) => RollbackMode::Record,
        Value::Bool(false) => RollbackMode::Off,
        word => serde_json::from_value(word).map_err(D::Error::custom)?,
    })
}

impl Catalog {
    /// Reads a file. The error names it.
    pub fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?)
    }

    /// Writes a file.
    pub fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        Ok(fs::write(path, serde_json::to_string_pretty(self)?)?)
    }
}

impl StackEntry {
    /// The same for the engine.
    pub fn stack(&self) -> Stack {
        Stack::new(self.stack.clone(), self.workloads.iter().cloned())
    }
}

impl Entry {
    /// The same for the engine.
    pub fn workload(&self) -> Result<Workload, Box<dyn Error>> {
        let mut config = GitConfig::new(self.workload.clone(), &self.repository, &self.root);
        if !self.restart.is_empty() {
            config = config.restart_command(self.restart.clone());
        }
        let policy = Policy::default().rollback(self.rollback);
        let mut workload = Workload::new(GitBackend::new(config)?)
            .gate(self.gate.clone())
            .policy(policy);
        if let Some(url) = &self.health {
            workload = workload.check(HttpCheck::new(url)?);
        }
        for other in &self.depends_on {
            workload = workload.depends_on(other.clone());
        }
        Ok(workload)
    }
}
