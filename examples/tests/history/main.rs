//! The example `history`, typed as people type it, on either store.
#![allow(clippy::unwrap_used, clippy::panic)]

mod left;
mod narrow;
mod pty;
mod session;
mod short_ids;
