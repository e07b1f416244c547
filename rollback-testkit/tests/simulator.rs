//! The simulator finds nothing.
//!
//! `ROLLBACK_SIMULATOR_PAIRS` says how many pairs are drawn, `ROLLBACK_SIMULATOR_SEED` which.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rollback_testkit::simulator::{self, Tally};

#[test]
fn no_single_drop_of_any_act_breaks_a_promise() {
    finds_nothing("single drops", simulator::singles);
}

#[test]
fn no_single_drop_of_recovery_breaks_a_promise() {
    finds_nothing("drops of recovery", simulator::recoveries);
}

#[test]
fn no_single_drop_in_trouble_breaks_a_promise() {
    finds_nothing("single drops in trouble", simulator::troubled);
}

#[test]
fn no_pair_of_drops_in_trouble_breaks_a_promise() {
    let pairs = from_environment("PAIRS").unwrap_or(600);
    let seed = from_environment("SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs()
    });
    let what = format!("pairs of drops in trouble, seed {seed}");
    finds_nothing(&what, || simulator::pairs(seed, pairs as usize));
}

#[test]
fn no_single_drop_of_a_stack_leaves_it_in_parts() {
    finds_nothing("single drops of a stack", simulator::stacks);
}

#[test]
fn no_pair_of_drops_of_a_stack_leaves_it_in_parts() {
    let pairs = from_environment("PAIRS").unwrap_or(600);
    let seed = from_environment("SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs()
    });
    let what = format!("pairs of drops of a stack, seed {seed}");
    finds_nothing(&what, || simulator::stacks_twice(seed, pairs as usize / 3));
}

fn finds_nothing(what: &str, sweep: impl FnOnce() -> Tally) {
    let began = Instant::now();
    let tally = sweep();
    println!("{what}: {tally}in {:.1?}", began.elapsed());
    assert!(tally.breaches.is_empty(), "{what}: {tally}");
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(format!("ROLLBACK_SIMULATOR_{name}")).ok()?;
    Some(value.parse().unwrap())
}
