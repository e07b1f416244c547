//! [`HistoryStore`]: where every deployment and each workload's state are kept.

mod lease;
mod query;
mod state;
mod stats;
mod store;

pub use crate::deployment::Annotation;
pub use lease::{
    Begun, Conflict, Epoch, Exclusion, Finished, Holder, Lease, Liveness, Renewal, Sequence, Then,
    Version,
};
pub use query::{Page, Query};
pub use state::{Hold, InFlight, PolicySet, StoredPolicy, WorkloadState};
pub use stats::{Settled, Stats};
pub use store::{Fault, HistoryStore, MAX_RECORD};
