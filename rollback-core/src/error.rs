//! The errors of this crate: what a backend says, what a store says, what a hook says, and what the
//! engine says.
//!
//! Each is one opaque struct with a `kind()` to branch on, and a text that says what happened, to
//! what, whether anything changed, and what to do next. A text does not repeat the error that
//! caused it: that is its `source()`. [`Chain`] is both, for records, logs and people.

mod backend;
mod chain;
mod detail;
mod engine;
mod hook;
mod refused;
mod store;

pub use backend::{BackendError, BackendErrorKind, LiveImpact};
pub use chain::Chain;
pub use engine::{Error, ErrorKind};
pub use hook::{HookError, HookErrorKind};
pub use store::{StoreError, StoreErrorKind};
