//! [`Story`]: what is done to a stack, how it is made, and who recovers it.

use std::fmt;

use super::life::Nth;
use super::scenario::Bringing;

/// What is done to the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// v1 is live, and v2 is deployed.
    Deploy,
    /// As deploy, and v2 of this member is sick.
    Sick(usize),
    /// As deploy, and the platform of this member does not answer from its switch on.
    Away(usize),
    /// v2 is live after v1, and is rolled back.
    Rollback,
    /// As deploy; when its first member reaches this event somebody cancels it.
    Cancel(&'static str),
    /// As deploy, of two of them; the third is left alone.
    Some,
}

/// What needs what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing needs anything.
    Nothing,
    /// The third needs the second, which needs the first.
    InARow,
    /// The first needs the second, which needs the third.
    Backwards,
}

/// Who recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// One process, which knows all of it.
    One,
    /// One for each workload, the first workload's first.
    Each,
    /// The same, the last workload's first.
    EachBackwards,
    /// Two at a time: one stops half-way and goes on when the other has tried its luck.
    TwoAtOnce,
}

/// What happens before anybody recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Nothing,
    /// The machine comes up again, and nothing runs.
    Reboot,
}

/// One story.
#[derive(Debug, Clone, Copy)]
pub(super) struct Story {
    pub(super) deed: Deed,
    pub(super) needs: Needs,
    pub(super) bringing: Bringing,
    pub(super) meanwhile: Meanwhile,
    pub(super) by: By,
    /// Where the deed is cut short.
    pub(super) first: Option<Nth>,
    /// Where the first recovery is.
    pub(super) second: Option<Nth>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, needs: {:?}, {:?}, {:?}, recovered by {:?} | first: {:?}, second: {:?}",
            self.deed, self.needs, self.bringing, self.meanwhile, self.by, self.first, self.second
        )
    }
}

impl Story {
    /// Every story that differs from all others, before anything is cut short.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        let deeds = [
            Deed::Deploy,
            Deed::Sick(0),
            Deed::Sick(1),
            Deed::Sick(2),
            Deed::Away(1),
            Deed::Rollback,
            Deed::Cancel("prepared"),
            Deed::Cancel("switched"),
            Deed::Cancel("agreed"),
            Deed::Cancel("decided"),
            Deed::Some,
        ];
        // Not all with all: what needs what, how it is brought up and who recovers have little to do with
        // each other.
        use Meanwhile::{Nothing, Reboot};
        let ways = [
            (Needs::InARow, Bringing::Replace, Nothing, By::One),
            (Needs::InARow, Bringing::Replace, Reboot, By::Each),
            (Needs::InARow, Bringing::Replace, Nothing, By::EachBackwards),
            (Needs::InARow, Bringing::Replace, Reboot, By::TwoAtOnce),
            (Needs::Backwards, Bringing::Beside, Reboot, By::One),
            (Needs::Backwards, Bringing::Beside, Nothing, By::TwoAtOnce),
            (Needs::Nothing, Bringing::Beside, Nothing, By::EachBackwards),
        ];
        for deed in deeds {
            for (needs, bringing, meanwhile, by) in ways {
                all.push(Self {
                    deed,
                    needs,
                    bringing,
                    meanwhile,
                    by,
                    first: None,
                    second: None,
                });
            }
        }
        all
    }
}
