//! The example `history`, typed as people type it, on either store.
#![allow(clippy::unwrap_used, clippy::panic)]

mod left;
mod session;
mod short_ids;
