//! The simulator finds nothing.
//!
//! `ROLLBACK_SIMULATOR_PAIRS` says how many pairs are drawn, `ROLLBACK_SIMULATOR_SEED` which. Of what takes
//! longest each third point is taken, others each time; `ROLLBACK_SIMULATOR_ALL=1` takes all.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rollback_testkit::simulator::{self, Points, Tally};

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
    let (points, which) = points();
    let what = format!("single drops in trouble, {which}");
    finds_nothing(&what, || simulator::troubled(points));
}

#[test]
fn no_pair_of_drops_in_trouble_breaks_a_promise() {
    let pairs = from_environment("PAIRS").unwrap_or(600);
    let seed = seed();
    let what = format!("pairs of drops in trouble, seed {seed}");
    finds_nothing(&what, || simulator::pairs(seed, pairs as usize));
}

#[test]
fn no_single_drop_of_a_stack_leaves_it_in_parts() {
    let (points, which) = points();
    let what = format!("single drops of a stack, {which}");
    finds_nothing(&what, || simulator::stacks(points));
}

#[test]
fn no_pair_of_drops_of_a_stack_leaves_it_in_parts() {
    let pairs = from_environment("PAIRS").unwrap_or(600);
    let seed = seed();
    let what = format!("pairs of drops of a stack, seed {seed}");
    finds_nothing(&what, || simulator::stacks_twice(seed, pairs as usize / 3));
}

fn seed() -> u64 {
    from_environment("SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs()
    })
}

/// The points that are taken, and which they are.
fn points() -> (Points, String) {
    match from_environment("ALL") {
        Some(_) => (Points::ALL, "all of them".to_owned()),
        None => {
            let seed = seed();
            (Points::one_in(3, seed), format!("one in 3, seed {seed}"))
        }
    }
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
