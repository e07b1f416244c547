//! Where everything is.

use std::path::{Path, PathBuf};

use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_fs::durable::TEMPORARY;

use crate::reserve::Reserve;

/// How many records of a workload share a directory.
pub(crate) const SHARD: u64 = 1_000;

/// The store's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format.json")
    }

    pub(crate) fn sequence(&self) -> PathBuf {
        self.root.join("sequence")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(crate) fn workloads(&self) -> PathBuf {
        self.root.join("workloads")
    }

    /// A workload id is two validated names, each a safe and short path component, and `@`.
    pub(crate) fn workload(&self, workload: &WorkloadId) -> Place {
        Place {
            dir: self.workloads().join(workload.to_string()),
        }
    }
}

/// One workload's directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    pub(crate) fn ended(&self) -> PathBuf {
        self.dir.join("ended")
    }

    pub(crate) fn reserve(&self) -> Reserve {
        Reserve::at(self.dir.join("reserve"))
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.dir.join("records")
    }

    pub(crate) fn shard(&self, shard: u64) -> PathBuf {
        self.records().join(format!("{shard:06}"))
    }

    pub(crate) fn record(&self, shard: u64, id: &DeploymentId) -> PathBuf {
        self.shard(shard).join(file_name(id))
    }

    /// A record that no commit has made true yet: no reader takes it for one.
    pub(crate) fn unpublished(&self, shard: u64, id: &DeploymentId) -> PathBuf {
        self.shard(shard)
            .join(format!("{TEMPORARY}{}", file_name(id)))
    }

    pub(crate) fn indices(&self) -> PathBuf {
        self.dir.join("index")
    }

    pub(crate) fn index(&self, shard: u64) -> PathBuf {
        self.indices().join(format!("{shard:06}.jsonl"))
    }
}

/// The directory of a workload's `nth` record, counted from 0.
pub(crate) fn shard_of(nth: u64) -> u64 {
    nth / SHARD
}

/// A deployment id is a validated, safe path component that begins with its time.
pub(crate) fn file_name(id: &DeploymentId) -> String {
    format!("{id}.json")
}

/// The id that a record's file name says.
pub(crate) fn id_of(name: &str) -> Option<DeploymentId> {
    name.strip_suffix(".json")?.parse().ok()
}
