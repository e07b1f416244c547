//! [`HistoryStore`]: where every deployment and each workload's state are kept, and
//! [`HistoryReader`]: what can be asked of it.

mod amendment;
mod claim;
mod conflict;
mod fault;
mod finish;
mod holder;
mod identity;
mod lease;
mod order;
mod published;
mod query;
mod reader;
mod rules;
mod settings;
mod shared;
mod state;
mod stats;
mod store;
mod summary;
mod trust;

pub use crate::deployment::Annotation;
pub use amendment::{Abandonment, Amend, Amended, Amendment, MAX_AMENDMENTS, Settings, WasAmended};
pub use claim::Claim;
pub use conflict::Conflict;
pub use fault::Fault;
pub use finish::{Finish, Finished, Then};
pub use holder::{Holder, InFlight, Liveness};
pub use identity::{Fence, HistoryId, Identity};
pub use lease::{Begun, Lease, Renewal};
pub use order::{Epoch, Sequence, Version};
pub use published::Published;
pub use query::{Page, Query};
pub use reader::HistoryReader;
pub use rules::{MAX_RECORD, capped_json, check_version, may_be_forgotten};
pub use settings::{Floor, Hold, PolicySet, Recall, StoredPolicy};
pub use state::{Damaged, States, WorkloadState};
pub use stats::{Settled, Stats};
pub use store::HistoryStore;
pub use summary::{ReleaseSummary, Settling, Summaries, Summarized, Summary, SummaryRules};
pub use trust::{Exclusion, Keep, Trust};
