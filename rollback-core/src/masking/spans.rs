//! [`Spans`]: those parts of a text that are not to be shown.

use std::ops::Range;

/// What stands for a secret.
const MASK: &str = "***";

/// Parts of a text, in bytes, in any order.
#[derive(Default)]
pub(super) struct Spans(Vec<Range<usize>>);

impl Spans {
    pub(super) fn add(&mut self, span: Range<usize>) {
        if !span.is_empty() {
            self.0.push(span);
        }
    }

    /// The text from there on with each part masked, and what several have in common once.
    pub(super) fn masked(mut self, text: &str, from: usize) -> String {
        self.0.sort_unstable_by_key(|span| span.start);
        let mut out = String::with_capacity(text.len());
        let mut shown = ceiling(text, from);
        let mut spans = self.0.into_iter().peekable();
        while let Some(Range { start, mut end }) = spans.next() {
            while let Some(more) = spans.next_if(|more| more.start < end) {
                end = end.max(more.end);
            }
            let end = ceiling(text, end);
            if end > shown {
                out.push_str(&text[shown..floor(text, start).max(shown)]);
                out.push_str(MASK);
                shown = end;
            }
        }
        out.push_str(&text[shown..]);
        out
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceiling(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_secrets_that_overlap_the_rest_of_one_was_shown() {
        let masked = |spans: &[Range<usize>]| {
            let mut all = Spans::default();
            spans.iter().for_each(|span| all.add(span.clone()));
            all.masked("0123456789", 0)
        };
        assert_eq!(masked(&[]), "0123456789");
        assert_eq!(masked(&[4..8, 2..5, 3..4]), "01***89");
        assert_eq!(masked(&[2..4, 4..6]), "01******6789");
        assert_eq!(masked(&[0..10, 9..10, 3..3]), "***");
        let mut within = Spans::default();
        within.add(1..2);
        assert_eq!(within.masked("é€", 0), "***€");
    }

    #[test]
    fn the_rest_of_a_secret_was_shown_where_what_was_before_is_left_out() {
        let from = |at: usize| {
            let mut spans = Spans::default();
            [1..3, 5..7].into_iter().for_each(|span| spans.add(span));
            spans.masked("01234567", at)
        };
        assert_eq!(from(2), "***34***7");
        assert_eq!(from(3), "34***7");
        assert_eq!(from(6), "***7");
        assert_eq!(from(8), "");
    }
}
