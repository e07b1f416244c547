//! What the example programs share: a small HTTP service to deploy, and the story they print.
//! Nothing here is needed to embed rollback.

// Not published, and an error ends the program with its text.
#![allow(clippy::missing_errors_doc)]

pub mod abbreviation;
pub mod catalog;
pub mod client;
pub mod container;
pub mod playground;
pub mod service;
pub mod shop;
pub mod story;
pub mod swarm;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
