//! The rules of going back, on random histories, against a model of a few lines: what is last
//! healthy and previous, what has become of each deployment, what retention lets go, and which
//! deployments a rollback can go to. No engine, no store: records are folded from events.
//!
//! `PROPTEST_CASES` sets how many histories each property sees.

#![allow(clippy::unwrap_used, clippy::panic)]

mod history;
mod lineage;
mod model;
mod points;
mod records;
mod retention;
mod summaries;
mod told;

use proptest::prelude::ProptestConfig;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|n| n.parse().ok()).unwrap_or(2_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
