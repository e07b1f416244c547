//! Deployment history in one SQLite file, for rollback.
//!
//! [`SqliteStore`] is the embedded default of `HistoryStore`: one file, several processes, no
//! server and no C library from the system.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use rollback_core::history::{HistoryReader, Query};
//! use rollback_sqlite::SqliteStore;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("state/history.db");
//! let store = SqliteStore::open(&path).await?;
//! let newest = store.list(&Query::default().limit(10)).await?;
//! assert!(newest.deployments.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **Durable**: write-ahead log with `synchronous=FULL`; what was acknowledged survives a power
//!   cut.
//! - **Fenced**: a workload's lease is an epoch in its row and a kernel lock on a file in
//!   `<path>.locks`. A holder that died has lost the lock; one that is merely stopped has not, and
//!   is never taken over.
//! - **Sealed**: a record or a state that was changed by hand is not served as the truth.
//! - **Careful**: files are 0600 and directories 0700; a newer schema, another program's database
//!   and network file systems are refused, and left as they are.

mod abandon;
mod backup;
mod columns;
mod connection;
mod create;
mod error;
mod filter;
mod find;
mod identity;
mod inner;
mod kept;
mod open;
mod place;
mod read;
mod read_only;
mod record;
mod restore;
mod room;
mod schema;
mod seal;
mod sealing;
mod state;
mod stats;
mod store;
mod summaries;
mod verify;
mod write;
mod writer;

pub use store::SqliteStore;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
