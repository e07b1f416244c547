//! Deployment history as a directory of JSON records that people read with `jq`, for rollback.
//!
//! [`JsonStore`] keeps one file for each deployment and one for each workload's state; see
//! [`format`](mod@format) for what is in them.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use rollback_core::history::{HistoryReader, Query};
//! use rollback_json::JsonStore;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("history");
//! let store = JsonStore::open(&path).await?;
//! let newest = store.list(&Query::default().limit(10)).await?;
//! assert!(newest.deployments.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **Durable**: a file is written aside, synced, renamed and its directory synced before
//!   anything is acknowledged; a reader sees the old file or the new one, never half of one.
//! - **One commit point**: the workload's state file. Its rename settles a deployment, says what is
//!   live, opens the successor and forgets records, all at once.
//! - **Fenced**: a workload's lease is an epoch in its state and a kernel lock. A holder that died
//!   has lost the lock; one that is merely stopped has not, and is never taken over.
//! - **Patient with damage**: a record or a state that does not parse, or whose checksum is wrong,
//!   is left where it is and reported, and hides no other. Nothing is removed but what is surely
//!   the store's own and surely nobody's any more.

mod backup;
mod counter;
mod error;
mod folder;
mod index;
mod inner;
mod layout;
mod list;
mod open;
mod record;
mod reserve;
mod seal;
mod state;
mod store;
mod summaries;
mod unknown;
mod verify;
mod write;

#[doc = include_str!("../FORMAT.md")]
pub mod format {}

pub use store::JsonStore;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
