//! What the shelf says of instances, and of what is in place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rollback_core::backend::Handle;
use rollback_core::id::DeploymentId;
use rollback_core::release::Release;
use serde::{Deserialize, Serialize};

use crate::state::UnitState;

/// An instance on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shelved {
    pub(crate) release: Release,
    /// The deployment that made it; `None`: it was found.
    pub(crate) by: Option<DeploymentId>,
    /// Where it was found, below the root.
    pub(crate) found_at: Option<PathBuf>,
    /// What its file led to, if it was found as a link.
    pub(crate) link: Option<PathBuf>,
    /// Whether it was found enabled, in the manager's words.
    pub(crate) enablement: Option<String>,
    pub(crate) was_live: bool,
    /// Drop-ins that were accepted with it, when it was last planned: others are drift. Earlier
    /// versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drop_ins: Option<BTreeMap<String, String>>,
    /// A person made it of what was in place, and a deployment overrode it. Nothing but this says
    /// what it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) edited: bool,
    /// By what a manager has loaded a copy of its unit, with nothing against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loaded: Option<Loaded>,
}

/// All that decides, beside a unit's own content, whether a manager loads it: where it is the same
/// once more, to ask again would prove nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// When that manager was started, in microseconds since 1970.
    pub(crate) boot: u64,
    /// Which it is: it may be another one after `daemon-reexec`.
    pub(crate) version: String,
    /// The drop-ins of the unit, those of all services among them.
    pub(crate) drop_ins: BTreeMap<String, String>,
}

impl Shelved {
    /// One that a deployment makes.
    pub(crate) fn made(release: Release, by: DeploymentId) -> Self {
        Self {
            release,
            by: Some(by),
            found_at: None,
            link: None,
            enablement: None,
            was_live: false,
            drop_ins: None,
            edited: false,
            loaded: None,
        }
    }
}

/// What is in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    pub(crate) handle: Handle,
    /// The deployment that put it there.
    pub(crate) by: DeploymentId,
    /// The invocation that its restart made; `None` while that is still to be done.
    pub(crate) invocation: Option<String>,
    /// Drop-ins that belong to it: others are drift.
    pub(crate) drop_ins: BTreeMap<String, String>,
    /// Whether it was enabled after that restart.
    pub(crate) enablement: Option<String>,
    /// What ran when it was put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former: Option<Former>,
    /// The invocation before its restart, written once the manager has loaded this file and before
    /// it is asked to restart: any other invocation since then is of this file. An engine in the
    /// very unit that it restarts gets no further than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    /// Automatic restarts that had been counted when its invocation was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restarts: Option<u32>,
    /// When the manager that made that invocation was started, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<u64>,
    /// That invocation has done its work: a oneshot, which has no process afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) done: bool,
}

impl Installed {
    /// Whether the unit has done its work by this record, and rests: nothing of it is left but
    /// this, and that it did not fail.
    pub(crate) fn is_done(&self, state: &UnitState, boot: u64) -> bool {
        let own = self.invocation.as_ref() == Some(&state.invocation);
        let forgotten = state.invocation.is_empty() && self.boot == Some(boot);
        self.done && state.rests() && (own || forgotten)
    }
}

/// Whether the unit has done its work, for all that is known of it: what somebody else has made
/// says no more than that it rests.
pub(crate) fn is_done(installed: Option<&Installed>, state: &UnitState, boot: u64) -> bool {
    installed.map_or(state.rests(), |installed| installed.is_done(state, boot))
}

/// What was in place, and ran, before something else was put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Former {
    pub(crate) handle: Handle,
    /// Of the file that was in place.
    pub(crate) digest: String,
    pub(crate) invocation: String,
}
