//! [`HistoryStore`]: where every deployment and each workload's state are kept, and
//! [`HistoryReader`]: what can be asked of it.

mod amendment;
mod identity;
mod lease;
mod query;
mod reader;
mod shared;
mod state;
mod stats;
mod store;
mod summary;
mod trust;

pub use crate::deployment::Annotation;
pub use amendment::{
    Abandonment, Amend, Amended, Amendment, MAX_AMENDMENTS, Settings, WasAmended, check_version,
};
pub use identity::{Fence, HistoryId, Identity, Published};
pub use lease::{
    Begun, Conflict, Epoch, Finished, Holder, Lease, Liveness, Renewal, Sequence, Then, Version,
};
pub use query::{Page, Query};
pub use reader::{Fault, HistoryReader};
pub use state::{
    Damaged, Floor, Hold, InFlight, PolicySet, Recall, States, StoredPolicy, WorkloadState,
};
pub use stats::{Settled, Stats};
pub use store::{HistoryStore, MAX_RECORD};
pub use summary::{ReleaseSummary, Settling, Summaries, Summarized, Summary, SummaryRules};
pub use trust::{Exclusion, Keep, Trust};
