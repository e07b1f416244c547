//! How far a value goes that stands behind a name.
//!
//! Where that is in doubt it goes further: a mask that is too long costs a word, one that is too short
//! a secret.

use std::ops::Range;

/// A list or an object that goes on for longer, in bytes, is hidden up to the end of the line that is
/// reached by then: what only looks like one must not hide all that follows.
const LONGEST_LIST: usize = 8 * 1024;

/// Longer names are no type's.
const LONGEST_TYPE: usize = 32;

/// The value that begins there: quoted, a list or an object, or a word.
pub(super) fn value(text: &[u8], at: usize) -> Range<usize> {
    let rest = &text[at.min(text.len())..];
    let some = at + wrapper(rest);
    let backslashes = text[some..].iter().take_while(|b| **b == b'\\').count();
    match text.get(some + backslashes) {
        Some(quote @ (b'"' | b'\'' | b'`')) => {
            let begin = some + backslashes + 1;
            begin..quoted_end(text, begin, *quote, backslashes)
        }
        Some(b'[' | b'{') if backslashes == 0 => some..list_end(text, some),
        _ => match rest {
            // As Python and Rust write bytes.
            [b'b', quote @ (b'"' | b'\''), ..] => at..quoted_end(text, at + 2, *quote, 0),
            _ => at..unquoted_end(text, at),
        },
    }
}

/// How long the type's name is in `Some("…")` or `Secret("…")`, with what opens.
fn wrapper(text: &[u8]) -> usize {
    let name = text.iter().take(LONGEST_TYPE);
    let name = name.take_while(|b| b.is_ascii_alphanumeric()).count();
    let is_type = text.first().is_some_and(u8::is_ascii_uppercase);
    match &text[name..] {
        [b'(', b'"' | b'\'' | b'\\' | b'[' | b'{', ..] if is_type => name + 1,
        _ => 0,
    }
}

/// Where a quote closes that stands behind as many backslashes; else where the line ends.
fn quoted_end(text: &[u8], begin: usize, quote: u8, backslashes: usize) -> usize {
    let mut at = begin;
    let mut before = 0;
    while let Some(byte) = text.get(at).copied().filter(|b| *b != b'\n') {
        let closes = match backslashes {
            0 => before % 2 == 0,
            _ => before <= backslashes,
        };
        if byte == quote && closes {
            // Doubled, as in SQL, it is one of the value's.
            let doubled = backslashes == 0 && at > begin && text.get(at + 1) == Some(&quote);
            if !doubled {
                return at - before.min(backslashes);
            }
            at += 1;
        }
        before = if byte == b'\\' { before + 1 } else { 0 };
        at += 1;
    }
    at.min(text.len())
}

/// Where a list or an object closes that opens there; of one that is cut, where the text ends.
fn list_end(text: &[u8], begin: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = begin;
    while at < text.len().min(begin + LONGEST_LIST) {
        match text[at] {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => at = quoted_end(text, at + 1, b'"', 0),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at.min(text.len());
        }
    }
    line_end(text, at.min(text.len()))
}

/// Where a word ends that may be a secret: at a blank, or at what can hardly be a part of it, as a
/// quote that closes what it stands in, and what begins the next of several values.
pub(super) fn unquoted_end(text: &[u8], begin: usize) -> usize {
    let mut at = begin;
    while let Some(byte) = text.get(at).filter(|b| !is_blank(**b)) {
        let after = &text[at + 1..];
        let over = match byte {
            b'"' | b'\'' | b'`' => after
                .first()
                .is_none_or(|b| is_blank(*b) || b",;:)]}>\\".contains(b)),
            b'\\' => matches!(after, [b'"' | b'\'', ..]),
            b',' | b';' | b')' | b']' | b'}' if after.first().is_none_or(|b| is_blank(*b)) => true,
            b'&' | b';' | b',' => is_named(after),
            _ => false,
        };
        if over {
            break;
        }
        at += 1;
    }
    at
}

/// Whether another value follows, with its name.
fn is_named(text: &[u8]) -> bool {
    let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let length = text.iter().take(64).take_while(|b| name(b)).count();
    length > 0 && text.get(length) == Some(&b'=')
}

/// Where the line ends.
pub(super) fn line_end(text: &[u8], at: usize) -> usize {
    let newline = text[at..].iter().position(|b| *b == b'\n');
    newline.map_or(text.len(), |length| at + length)
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}
