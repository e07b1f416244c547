//! Bisection: which deployment between a good one and a bad one is tried next. Pure.

use std::ops::Range;

/// What is known of one that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Judgement {
    /// It is as the good one.
    Good,
    /// It is as the bad one.
    Bad,
    /// It cannot be told: it is passed over.
    Untold,
}

/// What follows from what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Try this one.
    Try(usize),
    /// The first bad one is among these; `len` stands for the bad one itself. It is the last of them, unless
    /// those before it cannot be told.
    Found(Range<usize>),
}

/// What follows from what is known of those between a good one and a bad one, oldest first.
///
/// Each answer halves what is left, as long as there is one.
pub fn next(between: &[Option<Judgement>]) -> Next {
    let is = |of: Judgement| move |known: &Option<Judgement>| *known == Some(of);
    let bad = between.iter().position(is(Judgement::Bad));
    let bad = bad.unwrap_or(between.len());
    let good = between[..bad].iter().rposition(is(Judgement::Good));
    let first = good.map_or(0, |good| good + 1);
    let middle = first + (bad - first) / 2;
    let untried = (first..bad).filter(|i| between[*i].is_none());
    match untried.min_by_key(|i| i.abs_diff(middle)) {
        Some(nearest) => Next::Try(nearest),
        None => Next::Found(first..bad + 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_ends_at_the_first_bad_one_in_few_steps(
            untold in prop::collection::vec(prop::bool::weighted(0.1), 0..60),
            first_bad in 0_usize..61,
        ) {
            let first_bad = first_bad.min(untold.len());
            let mut known = vec![None; untold.len()];
            let mut tried = 0;
            let found = loop {
                match next(&known) {
                    Next::Found(found) => break found,
                    Next::Try(i) => {
                        prop_assert_eq!(known[i], None, "it was tried before");
                        tried += 1;
                        known[i] = Some(match (untold[i], i < first_bad) {
                            (true, _) => Judgement::Untold,
                            (_, true) => Judgement::Good,
                            (_, false) => Judgement::Bad,
                        });
                    }
                }
            };
            prop_assert!(found.contains(&first_bad), "{:?}, not {}", found, first_bad);
            let all_untold = found.clone().take(found.len() - 1).all(|i| untold[i]);
            prop_assert!(all_untold, "{:?} can be told apart", found);
            let skipped = untold.iter().filter(|u| **u).count();
            let halvings = usize::BITS - untold.len().leading_zeros();
            prop_assert!(tried <= halvings as usize + 1 + skipped, "{} tries", tried);
        }
    }

    #[test]
    fn what_lies_together_needs_no_try() {
        assert_eq!(next(&[]), Next::Found(0..1));
    }
}
