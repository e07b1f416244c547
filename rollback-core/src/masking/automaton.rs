//! [`Automaton`]: many values sought at once, in one pass over a text (Aho and Corasick, 1975).
//!
//! Its own, for the two things it is asked for: at each place only the longest value that ends there,
//! as what is shorter lies within it; and with how much of a value the text ends, for one that was
//! cut there.

use std::collections::VecDeque;
use std::ops::Range;

/// The root, which stands for no text.
const ROOT: usize = 0;

/// A tree of the values' beginnings, in which each knows the longest other one that it ends with.
pub(super) struct Automaton(Vec<Node>);

struct Node {
    /// The byte that leads here.
    byte: u8,
    /// Those that are one byte longer, in order of that.
    children: Range<usize>,
    /// The longest other beginning with which this one ends.
    suffix: usize,
    depth: usize,
    /// How long the longest value is with which this ends; 0 for none.
    ends: usize,
}

impl Automaton {
    /// Of these values, in order, none of them twice or empty.
    pub(super) fn of<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let values: Vec<&[u8]> = values.collect();
        let mut tree = Self(vec![Node {
            byte: 0,
            children: 0..0,
            suffix: ROOT,
            depth: 0,
            ends: 0,
        }]);
        // Level by level: what is shorter is whole when it is asked for.
        let mut open = VecDeque::from([(ROOT, &*values)]);
        while let Some((node, mut values)) = open.pop_front() {
            let depth = tree.0[node].depth;
            tree.0[node].ends = tree.0[tree.0[node].suffix].ends;
            if let [first, others @ ..] = values
                && first.len() == depth
            {
                tree.0[node].ends = depth;
                values = others;
            }
            let begin = tree.0.len();
            for group in values.chunk_by(|a, b| a[depth] == b[depth]) {
                let byte = group[0][depth];
                let suffix = match node {
                    ROOT => ROOT,
                    _ => tree.next(tree.0[node].suffix, byte),
                };
                open.push_back((tree.0.len(), group));
                tree.0.push(Node {
                    byte,
                    children: 0..0,
                    suffix,
                    depth: depth + 1,
                    ends: 0,
                });
            }
            tree.0[node].children = begin..tree.0.len();
        }
        tree
    }

    /// Tells of each place where values end which the longest is, and with how much of the beginning
    /// of one the text ends.
    pub(super) fn find(&self, text: &[u8], mut found: impl FnMut(Range<usize>)) -> usize {
        let mut at = ROOT;
        for (place, byte) in text.iter().enumerate() {
            at = self.next(at, *byte);
            let ends = self.0[at].ends;
            if ends > 0 {
                found(place + 1 - ends..place + 1);
            }
        }
        self.0[at].depth
    }

    /// The longest beginning with which this one ends when a byte is added.
    fn next(&self, mut at: usize, byte: u8) -> usize {
        loop {
            let node = &self.0[at];
            let children = &self.0[node.children.clone()];
            match children.binary_search_by_key(&byte, |child| child.byte) {
                Ok(child) => return node.children.start + child,
                Err(_) if at == ROOT => return ROOT,
                Err(_) => at = node.suffix,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_naive_search_finds(
            values in prop::collection::btree_set("[ab]{1,5}", 0..8),
            text in "[abc]{0,40}",
        ) {
            let automaton = Automaton::of(values.iter().map(String::as_bytes));
            let mut found = BTreeSet::new();
            let begun = automaton.find(text.as_bytes(), |span| { found.insert((span.end, span.start)); });
            let longest = |end: usize| {
                let ends = values.iter().filter(|v| text[..end].ends_with(v.as_str()));
                ends.map(String::len).max().map(|length| (end, end - length))
            };
            let naive: BTreeSet<_> = (0..=text.len()).filter_map(longest).collect();
            prop_assert_eq!(found, naive);
            let beginnings = values.iter().flat_map(|v| (0..=v.len()).map(move |to| &v[..to]));
            let ends = beginnings.filter(|b| text.ends_with(b)).map(str::len).max();
            prop_assert_eq!(begun, ends.unwrap_or(0));
        }
    }
}
