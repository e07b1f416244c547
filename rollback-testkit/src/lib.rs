//! Conformance suites, fault injection and fixtures for rollback's stores and backends.
//!
//! A store runs [`store_suite`], a backend runs [`backend_suite`] in a [`world::World`] of the
//! real thing. [`faults`] breaks stores, backends, checks and clocks on purpose, [`fake`] is a
//! strict backend in memory, [`kill`] ends the engine's process at every event boundary;
//! [`intercept`] is for who would meddle with a store's writes in a way of its own.
//!
//! Tests of real services call [`service::unavailable`] when one cannot be had: on a laptop the
//! test says so and passes, in CI it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

pub mod backend_suite;
pub mod fake;
pub mod faults;
pub mod fixtures;
pub mod intercept;
pub mod kill;
pub mod service;
pub mod simulator;
pub mod store_suite;
pub mod world;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
