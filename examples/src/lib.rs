//! What the example programs share: a small HTTP service to deploy, and the story they print.
//! Nothing here is needed to embed rollback.

pub mod abbreviation;
pub mod catalog;
pub mod playground;
pub mod service;
pub mod story;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
