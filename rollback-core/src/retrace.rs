//! Undo and redo: which change of the past is undone, or done again, next. Pure.
//!
//! Both go to a state that was, and are recorded as changes that say what they retrace
//! ([`Purpose`](crate::deployment::Purpose)); nothing else is kept. So undoing twice goes back two
//! changes, what was undone can be done again as long as nothing new was done since, and a rollback by
//! hand is a change like any other, which can be undone.

use std::collections::BTreeMap;

/// What one change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Change<K> {
    /// Something new, known by this.
    New(K),
    /// It undid this one.
    Undid(K),
    /// It did this one again.
    Redid(K),
}

/// The newest change that is not undone: where it is among the changes, which are: newest first.
pub fn undoable<K: Ord>(newest_first: impl IntoIterator<Item = Change<K>>) -> Option<usize> {
    let mut stands = BTreeMap::new();
    for (at, change) in newest_first.into_iter().enumerate() {
        match change {
            // What is said of a change last is what counts.
            Change::Undid(of) => drop(stands.entry(of).or_insert(false)),
            Change::Redid(of) => drop(stands.entry(of).or_insert(true)),
            Change::New(of) if stands.get(&of) == Some(&false) => {}
            Change::New(_) => return Some(at),
        }
    }
    None
}

/// What undid something last, and was not done again since: where it is among the changes, which are:
/// newest first. `None` too once something new was done since.
pub fn redoable<K: Ord>(newest_first: impl IntoIterator<Item = Change<K>>) -> Option<usize> {
    let mut redone = BTreeMap::new();
    for (at, change) in newest_first.into_iter().enumerate() {
        match change {
            Change::Redid(of) => *redone.entry(of).or_insert(0_usize) += 1,
            Change::Undid(of) => match redone.get_mut(&of).filter(|times| **times > 0) {
                Some(times) => *times -= 1,
                None => return Some(at),
            },
            Change::New(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The two stacks that editors keep.
    #[derive(Debug, Default)]
    struct Model {
        done: Vec<u32>,
        undone: Vec<u32>,
        /// Newest last.
        changes: Vec<Change<u32>>,
    }

    impl Model {
        fn step(&mut self, what: u8) {
            match what {
                0 => {
                    if let Some(of) = self.done.pop() {
                        self.undone.push(of);
                        self.changes.push(Change::Undid(of));
                    }
                }
                1 => {
                    if let Some(of) = self.undone.pop() {
                        self.done.push(of);
                        self.changes.push(Change::Redid(of));
                    }
                }
                _ => {
                    let of = u32::try_from(self.changes.len()).unwrap();
                    self.done.push(of);
                    self.undone.clear();
                    self.changes.push(Change::New(of));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_what_two_stacks_would_say(steps in prop::collection::vec(0_u8..4, 0..40)) {
            let mut model = Model::default();
            for step in steps {
                model.step(step);
                let newest_first: Vec<_> = model.changes.iter().rev().copied().collect();
                let at = |at: usize| match newest_first[at] {
                    Change::New(of) | Change::Undid(of) | Change::Redid(of) => of,
                };
                let undoable = undoable(newest_first.clone()).map(at);
                prop_assert_eq!(undoable, model.done.last().copied());
                let redoable = redoable(newest_first.clone()).map(at);
                prop_assert_eq!(redoable, model.undone.last().copied());
            }
        }
    }
}
