//! [`Tally`]: how it went, in figures and by class.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::oracle::Breaches;
use crate::rounds::Asked;

/// How many of each class are told in full.
const SHOWN: usize = 12;

/// How it went.
#[derive(Debug)]
pub(crate) struct Tally {
    kind: &'static str,
    store: &'static str,
    seed: u64,
    began: Instant,
    /// Rounds played.
    pub(crate) rounds: u64,
    /// SIGKILLs.
    pub(crate) kills: u64,
    /// SIGSTOPs.
    pub(crate) stops: u64,
    breached: u64,
    /// The rounds in which something of a class was found, as often as it was.
    classes: BTreeMap<String, Vec<u64>>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new(kind: &'static str, asked: &Asked) -> Self {
        Self {
            kind,
            store: asked.store.as_str(),
            seed: asked.seed,
            began: Instant::now(),
            rounds: 0,
            kills: 0,
            stops: 0,
            breached: 0,
            classes: BTreeMap::new(),
        }
    }

    /// Takes what a round found, and tells it at once.
    pub(crate) fn round(&mut self, round: u64, breaches: Breaches) {
        self.rounds += 1;
        if !breaches.0.is_empty() {
            self.breached += 1;
        }
        for breach in breaches.0 {
            let found = self.classes.entry(breach.class.clone()).or_default();
            // The first of a round says what is wrong; the rest is most often the same.
            if found.len() < SHOWN && found.last() != Some(&round) {
                println!(
                    "{} round {round} (seed {}): {}: {}",
                    self.store, self.seed, breach.class, breach.what
                );
            }
            found.push(round);
        }
        if self.rounds.is_multiple_of(50) {
            println!(
                "{} {}: {} rounds, {} with breaches, {:.0} s",
                self.kind,
                self.store,
                self.rounds,
                self.breached,
                self.began.elapsed().as_secs_f64()
            );
        }
    }

    /// Prints the end; whether all was well.
    pub(crate) fn close(self) -> bool {
        for (class, found) in &self.classes {
            let rounds: std::collections::BTreeSet<u64> = found.iter().copied().collect();
            println!(
                "  {:>5} in {:>4} rounds: {class}",
                found.len(),
                rounds.len()
            );
        }
        println!(
            "{} on {}, seed {}: {} rounds, {} SIGKILL, {} SIGSTOP, {} rounds with breaches, {:.0} s",
            self.kind,
            self.store,
            self.seed,
            self.rounds,
            self.kills,
            self.stops,
            self.breached,
            self.began.elapsed().as_secs_f64()
        );
        self.breached == 0
    }
}
