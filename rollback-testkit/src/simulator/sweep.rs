//! Sweeps: every single point in turn, or pairs of them by chance; [`Tally`]: what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::oracle::Breach;
use super::play::{Play, Played};
use super::scenario::{Says, Scenario, Verb};
use super::story::Story;
use super::trouble::Trouble;

/// More points than any act has.
const TOO_MANY: usize = 1_000;

/// Which points of each act are taken.
#[derive(Debug, Clone, Copy)]
pub struct Points {
    one_in: usize,
    seed: u64,
}

impl Points {
    /// Every single one.
    pub const ALL: Self = Self { one_in: 1, seed: 0 };

    /// One in so many: other ones for each seed.
    pub fn one_in(many: usize, seed: u64) -> Self {
        Self {
            one_in: many.max(1),
            seed,
        }
    }

    fn of(self, nth: usize) -> impl Iterator<Item = usize> {
        let first = Chance::new(self.seed, nth).below(self.one_in);
        (first..TOO_MANY).step_by(self.one_in)
    }
}

/// What came of a sweep.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Stories played to their end.
    pub plays: usize,
    /// How often a process was cut short.
    pub drops: usize,
    /// Promises broken: which, and in what trouble.
    pub breaches: BTreeMap<(&'static str, String), Broken>,
}

/// A promise broken in one kind of trouble.
#[derive(Debug, Clone)]
pub struct Broken {
    /// In how many stories it was broken.
    pub times: usize,
    /// The first story in which it was.
    pub first: String,
}

impl Tally {
    fn add(&mut self, play: &Play, played: Played) {
        self.count(play, &play.trouble.to_string(), played);
    }

    fn count(&mut self, story: &impl fmt::Display, kind: &str, played: Played) {
        self.plays += 1;
        self.drops += usize::from(played.cut_at.is_some());
        self.drops += usize::from(played.cut_again_at.is_some());
        for Breach { what, seen } in played.breaches {
            let key = (what, kind.to_owned());
            let broken = self.breaches.entry(key).or_insert_with(|| Broken {
                times: 0,
                first: format!(
                    "{seen} | {story} | cut {:?}, then {:?}",
                    played.cut_at, played.cut_again_at
                ),
            });
            broken.times += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        self.plays += other.plays;
        self.drops += other.drops;
        for (key, broken) in other.breaches {
            self.breaches
                .entry(key)
                .and_modify(|b| b.times += broken.times)
                .or_insert(broken);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} stories, {} processes cut short",
            self.plays, self.drops
        )?;
        for ((what, trouble), broken) in &self.breaches {
            writeln!(
                f,
                "{:6} × {what} [{trouble}]\n         {}",
                broken.times, broken.first
            )?;
        }
        Ok(())
    }
}

/// Cuts every act short at every single point, and lets the next process recover.
pub fn singles() -> Tally {
    let all = Scenario::all().into_iter();
    let all: Vec<_> = all.map(|s| (s, Trouble::None)).collect();
    sweep(&all, Points::ALL)
}

/// The same with every trouble, for one act of each kind, at these points.
pub fn troubled(points: Points) -> Tally {
    let mut work = Vec::new();
    for scenario in Scenario::of_each_kind() {
        let troubles = Trouble::all().into_iter();
        work.extend(
            troubles
                .filter(|t| t.suits(&scenario))
                .map(|t| (scenario, t)),
        );
    }
    sweep(&work, points)
}

/// Cuts acts short after every single write, and the recovery from them at every single point.
pub fn recoveries() -> Tally {
    let mut scenarios = Scenario::all();
    scenarios.retain(|s| matches!(s.verb, Verb::Deploy | Verb::Rollback) && s.says == Says::Auto);
    spread(scenarios.len(), |nth, tally| {
        let play = |first, second| Play {
            scenario: scenarios[nth],
            trouble: Trouble::None,
            first: Some(first),
            second,
        };
        for first in 0..TOO_MANY {
            let Some(cut_at) = play(first, None).play().cut_at else {
                break;
            };
            if !cut_at.starts_with("after") {
                continue;
            }
            for second in 0..TOO_MANY {
                let play = play(first, Some(second));
                let played = play.play();
                let was_last = played.cut_again_at.is_none();
                tally.add(&play, played);
                if was_last {
                    break;
                }
            }
        }
    })
}

/// Cuts acts and the recoveries from them short by chance, with every trouble: `count` stories, the
/// same for the same seed.
pub fn pairs(seed: u64, count: usize) -> Tally {
    let scenarios = Scenario::all();
    let troubles = Trouble::all();
    spread(count, |nth, tally| {
        let mut chance = Chance::new(seed, nth);
        let (scenario, trouble) = loop {
            let scenario = scenarios[chance.below(scenarios.len())];
            let trouble = troubles[chance.below(troubles.len())];
            if trouble.suits(&scenario) {
                break (scenario, trouble);
            }
        };
        let play = Play {
            scenario,
            trouble,
            first: Some(chance.below(60)),
            second: Some(chance.below(40)),
        };
        let played = play.play();
        tally.add(&play, played);
    })
}

/// Moves stacks of three workloads, and cuts that short at these points, in each way of recovering.
pub fn stacks(points: Points) -> Tally {
    let all = Story::all();
    spread(all.len(), |nth, tally| {
        for first in points.of(nth) {
            let story = Story {
                first: Some(first),
                ..all[nth]
            };
            let played = story.play();
            let was_last = played.cut_at.is_none();
            tally.count(&story, "a stack", played);
            if was_last {
                break;
            }
        }
    })
}

/// The same with the recovery cut short as well, by chance: `count` stories, the same for the same seed.
pub fn stacks_twice(seed: u64, count: usize) -> Tally {
    let all = Story::all();
    spread(count, |nth, tally| {
        let mut chance = Chance::new(seed, nth);
        let story = Story {
            first: Some(chance.below(80)),
            second: Some(chance.below(40)),
            ..all[chance.below(all.len())]
        };
        let played = story.play();
        tally.count(&story, "a stack", played);
    })
}

/// Cuts these acts short at these points.
fn sweep(work: &[(Scenario, Trouble)], points: Points) -> Tally {
    spread(work.len(), |nth, tally| {
        let (scenario, trouble) = work[nth];
        for first in points.of(nth) {
            let play = Play {
                scenario,
                trouble,
                first: Some(first),
                second: None,
            };
            let played = play.play();
            let was_last = played.cut_at.is_none();
            tally.add(&play, played);
            if was_last {
                break;
            }
        }
    })
}

/// Spreads work over all processors.
fn spread(items: usize, work: impl Fn(usize, &mut Tally) + Sync) -> Tally {
    let next = AtomicUsize::new(0);
    let whole = Mutex::new(Tally::default());
    let hands = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..hands {
            scope.spawn(|| {
                let mut own = Tally::default();
                loop {
                    let nth = next.fetch_add(1, Ordering::SeqCst);
                    if nth >= items {
                        break;
                    }
                    work(nth, &mut own);
                }
                whole.lock().expect("no panic").merge(own);
            });
        }
    });
    whole.into_inner().expect("no panic")
}

/// Chance that comes out the same for the same seed.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn new(seed: u64, nth: usize) -> Self {
        let mut chance = Self(seed ^ (nth as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        chance.next();
        chance
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }
}
