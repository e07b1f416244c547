//! Several workloads move as one: all of them, or none.
#![allow(clippy::unwrap_used, clippy::panic)]

mod died;
mod goals;
mod keys;
mod moving;
mod owed;
mod refused;
mod shop;
#[path = "../support/mod.rs"]
mod support;
