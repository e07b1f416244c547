//! Random histories that could have happened: what people do, as plain facts.

use std::fmt;

use proptest::prelude::*;

/// How a deployment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Passed,
    Unjudged,
    /// Its gate fails, and it stays live.
    Failed,
    /// Its gate fails, and an automatic rollback follows, to a deployment that was live.
    RolledBack(usize),
    /// Its switch fails and is undone.
    SwitchedBack,
    /// It is refused, cancelled, or fails before anything is touched.
    NeverSwitched,
    /// Nobody knows what is live afterwards.
    Lost,
}

/// What a person does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Deploy(u8, Fate),
    /// To the `n`th deployment that was live, counted round.
    Rollback(usize, Fate),
    Adopt(u8),
    /// From now on with this mode.
    Mode(bool),
    Pin(usize),
    MarkBad(usize),
    /// Days go by.
    Wait(u8),
}

/// A deployment as plain facts. Others are named by their index, the oldest being 0.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) release: u8,
    pub(crate) day: u64,
    /// Its release was put where it can be reached.
    pub(crate) placed: bool,
    pub(crate) went_live: bool,
    /// Good or not, where anybody looked.
    pub(crate) verdict: Option<bool>,
    pub(crate) off: bool,
    pub(crate) bad: bool,
    pub(crate) pinned: bool,
    pub(crate) in_flight: bool,
    pub(crate) restores: Option<usize>,
    pub(crate) adopted: bool,
    pub(crate) rolled_back_by: Option<usize>,
    pub(crate) fate: Fate,
    /// What was live when it was opened, and when it was settled.
    pub(crate) before: Live,
    pub(crate) after: Live,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    Nothing,
    Known(usize),
    Unknown,
}

impl Live {
    pub(crate) fn known(self) -> Option<usize> {
        match self {
            Self::Known(i) => Some(i),
            _ => None,
        }
    }
}

/// A history, oldest first, and what is live at its end.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) plain: Vec<Plain>,
    pub(crate) live: Live,
    pub(crate) day: u64,
    /// From this one on, records say where their release first came from.
    pub(crate) origins_since: usize,
}

/// One line a deployment: a failure is read by a person.
impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.plain.iter().enumerate() {
            write!(f, "\n{i}: day {} r{} {:?}", p.day, p.release, p.fate)?;
            if let Some(target) = p.restores {
                write!(f, ", restores {target}")?;
            }
            let marks = [
                (p.adopted, "adopted"),
                (p.off, "off"),
                (p.bad, "bad"),
                (p.pinned, "pinned"),
                (p.in_flight, "in flight"),
            ];
            for (_, mark) in marks.iter().filter(|m| m.0) {
                write!(f, ", {mark}")?;
            }
        }
        write!(f, "\nlive: {:?} on day {}", self.live, self.day)?;
        write!(f, ", origins since {}", self.origins_since)
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Passed),
        2 => Just(Fate::Unjudged),
        2 => Just(Fate::Failed),
        2 => any::<usize>().prop_map(Fate::RolledBack),
        1 => Just(Fate::SwitchedBack),
        1 => Just(Fate::NeverSwitched),
        1 => Just(Fate::Lost),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..4_u8, fate()).prop_map(|(release, fate)| Act::Deploy(release, fate)),
        4 => (any::<usize>(), fate()).prop_map(|(n, fate)| Act::Rollback(n, fate)),
        1 => (0..4_u8).prop_map(Act::Adopt),
        1 => any::<bool>().prop_map(Act::Mode),
        1 => any::<usize>().prop_map(Act::Pin),
        1 => any::<usize>().prop_map(Act::MarkBad),
        2 => (1..9_u8).prop_map(Act::Wait),
    ]
}

/// Any history of at most `longest` acts, the last deployment in flight or not.
pub(crate) fn histories(longest: usize) -> impl Strategy<Value = History> {
    let acts = proptest::collection::vec(act(), 0..longest);
    let origins_since = prop_oneof![2 => Just(0), 1 => 0..longest];
    (acts, any::<bool>(), origins_since).prop_map(|(acts, in_flight, origins_since)| History {
        origins_since,
        ..History::of(&acts, in_flight)
    })
}

impl History {
    fn of(acts: &[Act], in_flight: bool) -> Self {
        let mut h = Self {
            plain: Vec::new(),
            live: Live::Nothing,
            day: 0,
            origins_since: 0,
        };
        let mut off = false;
        for act in acts {
            match *act {
                Act::Deploy(release, fate) => h.deploy(release, fate, off, None),
                Act::Rollback(n, fate) => {
                    if let Some(target) = h.was_live(n) {
                        // The engine does not double back.
                        let fate = match fate {
                            Fate::RolledBack(_) => Fate::Failed,
                            fate => fate,
                        };
                        h.deploy(h.plain[target].release, fate, off, Some(target));
                    }
                }
                Act::Adopt(release) => {
                    h.deploy(release, Fate::Passed, off, None);
                    if let Some(last) = h.plain.last_mut() {
                        last.adopted = true;
                    }
                }
                Act::Mode(on) => off = !on,
                Act::Pin(n) if !h.plain.is_empty() => {
                    let i = n % h.plain.len();
                    h.plain[i].pinned = true;
                }
                Act::MarkBad(n) if !h.plain.is_empty() => {
                    let i = n % h.plain.len();
                    h.plain[i].bad = true;
                }
                Act::Pin(_) | Act::MarkBad(_) => {}
                Act::Wait(days) => h.day += u64::from(days),
            }
        }
        if in_flight {
            let before = h.live;
            h.deploy(0, Fate::NeverSwitched, off, None);
            h.live = before;
            if let Some(last) = h.plain.last_mut() {
                last.in_flight = true;
            }
        }
        h
    }

    fn was_live(&self, n: usize) -> Option<usize> {
        let lived = self.plain.iter().enumerate().filter(|(_, p)| p.went_live);
        let lived: Vec<usize> = lived.map(|(i, _)| i).collect();
        (!lived.is_empty()).then(|| lived[n % lived.len()])
    }

    fn deploy(&mut self, release: u8, fate: Fate, off: bool, restores: Option<usize>) {
        let own = self.plain.len();
        let before = self.live;
        let target = match fate {
            Fate::RolledBack(n) => self.was_live(n),
            _ => None,
        };
        let stays = !matches!(fate, Fate::SwitchedBack | Fate::NeverSwitched | Fate::Lost);
        let after = match fate {
            Fate::SwitchedBack | Fate::NeverSwitched => before,
            Fate::Lost => Live::Unknown,
            _ => Live::Known(own),
        };
        self.plain.push(Plain {
            release,
            day: self.day,
            placed: !matches!(fate, Fate::NeverSwitched | Fate::Lost),
            went_live: stays,
            verdict: match fate {
                Fate::Passed => Some(true),
                Fate::Failed | Fate::RolledBack(_) => Some(false),
                _ => None,
            },
            off,
            bad: false,
            pinned: false,
            in_flight: false,
            restores,
            adopted: false,
            rolled_back_by: target.map(|_| own + 1),
            fate,
            before,
            after,
        });
        self.live = after;
        if let Some(target) = target {
            self.deploy(self.plain[target].release, Fate::Passed, off, Some(target));
        }
    }
}
