//! Private keys in PEM (RFC 7468) and of PGP, whole or what a cut has left of one.

use std::ops::Range;

use super::value::is_blank;

const NAME: &[u8] = b"PRIVATE KEY";

/// What is behind the name.
const ENDS: [&[u8]; 2] = [DASHES, b" BLOCK-----"];

const DASHES: &[u8] = b"-----";

/// A label before the name is no longer: `OPENSSH`, `RSA`, `ENCRYPTED`.
const LONGEST_LABEL: usize = 64;

/// From so many digits on a word is a line of a key, not a word.
const LONG: usize = 32;

/// What a log puts before each line has no more words than that.
const MOST_WORDS: usize = 12;

/// What a line is that names a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Begin,
    End,
}

/// Shows private keys, without their first and last line. One without an end goes to the end of the
/// text; of one without a beginning the lines before its end are it.
pub(super) fn keys(text: &[u8], mut show: impl FnMut(Range<usize>)) {
    let mut from = 0;
    let mut open = None;
    while let Some((mark, line)) = next(text, from) {
        match (mark, open) {
            (Mark::Begin, None) => open = Some(line.end),
            (Mark::End, None) => show(begin_before(text, from, line.start)..line.start),
            (Mark::End, Some(begin)) => {
                show(begin..line.start);
                open = None;
            }
            (Mark::Begin, Some(_)) => {}
        }
        from = line.end;
    }
    if let Some(begin) = open {
        show(begin..text.len());
    }
}

/// The next mark, and where it is. A cut may have gone through it.
fn next(text: &[u8], mut from: usize) -> Option<(Mark, Range<usize>)> {
    loop {
        let at = text[from..].windows(NAME.len()).position(|w| w == NAME)?;
        let (before, name) = (from, from + at);
        from = name + NAME.len();
        let behind = |end: &&&[u8]| text[from..].starts_with(end);
        let Some(behind) = ENDS.iter().find(behind) else {
            continue;
        };
        let end = from + behind.len();
        let label = &text[before.max(name.saturating_sub(LONGEST_LABEL))..name];
        let dashes = label.windows(DASHES.len()).rposition(|w| w == DASHES);
        let start = dashes.map(|at| name - label.len() + at);
        match start.map(|start| (start, &text[start + DASHES.len()..name])) {
            Some((start, [b'B', b'E', b'G', b'I', b'N', ..])) => {
                return Some((Mark::Begin, start..end));
            }
            Some((start, [b'E', b'N', b'D', ..])) => return Some((Mark::End, start..end)),
            _ if word_after(text, end).len() >= LONG => return Some((Mark::Begin, name..end)),
            _ => {}
        }
    }
}

/// Where the key begins that ends there, of which the first line is missing: with the first of its
/// lines, between which there may be what a log puts before each.
fn begin_before(text: &[u8], from: usize, end: usize) -> usize {
    let (mut begin, mut at, mut others) = (end, end, 0);
    while others < MOST_WORDS {
        let before = text[from..at].trim_ascii_end();
        let length = before.iter().rev().take_while(|b| !is_blank(**b)).count();
        if length == 0 {
            break;
        }
        at = from + before.len() - length;
        let digits = text[at..at + length].iter().all(|b| is_digit(*b));
        // The last line may be short.
        if digits && (length >= LONG || begin == end && others == 0) {
            (begin, others) = (at, 0);
        } else {
            others += 1;
        }
    }
    begin
}

fn word_after(text: &[u8], at: usize) -> &[u8] {
    let rest = text[at..].trim_ascii_start();
    let length = rest.iter().take_while(|b| is_digit(**b)).count();
    &rest[..length]
}

/// Of base64, with what fills it up.
fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";

    fn shown(text: &str) -> String {
        let mut out = text.to_owned();
        let mut spans = Vec::new();
        keys(text.as_bytes(), |span| spans.push(span));
        for span in spans.into_iter().rev() {
            out.replace_range(span, "***");
        }
        out
    }

    #[test]
    fn a_key_whose_first_line_was_cut_off_was_shown_and_the_log_behind_it_was_hidden() {
        let end = "-----END PRIVATE KEY-----\nFATAL: no table";
        for (key, told) in [
            (format!("x\n{LINE}\nADAN==\n"), "x\n***"),
            (format!("x {LINE} ADAN== "), "x ***"),
            (format!("{LINE}\n{LINE}\n"), "***"),
            ("ADAN==\n".to_owned(), "***"),
            (
                format!("web-1 api[4]: {LINE}\nweb-1 api[4]: {LINE}\nweb-1 api[4]: "),
                "web-1 api[4]: ***",
            ),
            (format!("TE KEY-----\n{LINE}\n"), "TE KEY-----\n***"),
        ] {
            assert_eq!(shown(&format!("{key}{end}")), format!("{told}{end}"));
        }
        let log = "D PRIVATE KEY-----\nFATAL: no table";
        assert_eq!(shown(log), log);
    }

    #[test]
    fn keys_are_hidden_from_one_mark_to_the_other() {
        for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"] {
            let (begin, end) = (
                format!("-----BEGIN {kind}-----"),
                format!("-----END {kind}-----"),
            );
            let text = format!("a {begin}\nMII\n{end} b {begin}\nMII\n{end} c");
            let told = format!("a {begin}***{end} b {begin}***{end} c");
            assert_eq!(shown(&text), told);
            assert_eq!(shown(&format!("{begin}\nMII\nx y")), format!("{begin}***"));
        }
        let public = "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----";
        assert_eq!(shown(public), public);
        let cut = format!("PRIVATE KEY-----\n{LINE}\nADAN");
        assert_eq!(shown(&cut), "PRIVATE KEY-----***");
    }
}
