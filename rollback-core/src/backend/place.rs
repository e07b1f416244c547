//! [`Place`]: where a workload lives.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a backend makes its workload live: by what name, and in whose hands. The same after a
/// restart of the program and of the machine, free of secrets, and recorded: two workloads that have
/// one place would undo each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Place {
    /// Who keeps it: a daemon's address, a unit manager, a cluster and namespace, `files` for a
    /// directory of this machine.
    pub keeper: String,
    /// The keeper's name for it: a container's name, a unit, an absolute path.
    pub name: String,
}

impl Place {
    /// What `keeper` calls `name`.
    pub fn new(keeper: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            keeper: keeper.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.keeper)
    }
}
