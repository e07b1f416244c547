//! What rollback's file-based stores share: files written whole and durably, kernel locks that
//! say whether a holder lives, and checks that a path can be used at all.

#[cfg(test)]
mod alone;
mod birth;
mod blocking;
pub mod durable;
mod error;
mod local;
mod lock;
pub mod owner;
pub mod random;
pub mod room;
pub mod strict;
mod witness;

pub use birth::Birth;
pub use blocking::blocking;
pub use error::{full, read_only, system};
pub use local::{beside, check_local, check_single, make_dir, resolve};
pub use lock::{Held, Locks, Shared};

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
