//! What looks secret, whoever gave it: passwords in URLs, and what stands behind names of secrets.

use std::ops::Range;

use super::names::{self, Extent};
use super::pem;
use super::value::{is_blank, line_end, unquoted_end, value};

/// Longer ones are none that a person has given.
const LONGEST_NAME: usize = 64;

/// What stands between a name in YAML and the end of its line is no longer, in bytes: ` |-  `.
const LONGEST_MARK: usize = 8;

/// Programs that take a password behind `-p`, without a blank.
const PASSWORD_BEHIND_P: [&[u8]; 2] = [b"mysql", b"mariadb"];

/// How the text goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Not at all.
    Whole,
    /// Nobody knows how.
    Broken,
}

/// Shows what looks secret in a text.
pub(super) fn find(text: &[u8], end: End, mut show: impl FnMut(Range<usize>)) {
    users(text, end, &mut show);
    assigned(text, &mut show);
    options(text, &mut show);
    schemes(text, end, &mut show);
    pem::keys(text, &mut show);
}

/// The same where nothing is known of what secrets a text may have: of a line all behind the first
/// word that may be a secret's name, and all before the last `@` behind a `://`.
pub(super) fn find_any(text: &[u8], mut show: impl FnMut(Range<usize>)) {
    let mut begin = 0;
    for line in text.split(|b| *b == b'\n') {
        let lower = line.to_ascii_lowercase();
        let position = |from: usize, of: &dyn Fn(&u8) -> bool| {
            let at = lower.get(from..)?.iter().position(of)?;
            Some(from + at)
        };
        let named = names::first_word(&lower);
        let named = named.and_then(|at| position(at, &|b| matches!(b, b'=' | b':' | b' ')));
        if let Some(at) = named {
            show(begin + at + 1..begin + line.len());
        }
        let url = line.windows(3).position(|mark| mark == b"://");
        let host = line.iter().rposition(|b| *b == b'@');
        if let (Some(url), Some(host)) = (url, host)
            && url + 3 < host
        {
            show(begin + url + 3..begin + host);
        }
        begin += line.len() + 1;
    }
}

/// Who a URL is for: users, with their passwords. A password may have an `@` in it, and a `/`, though
/// it should not: then what is before it is no port.
pub(super) fn users(text: &[u8], end: End, mut show: impl FnMut(Range<usize>)) {
    let is_over = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'<' | b'>');
    let mut from = 0;
    while let Some(mark) = text[from..].windows(3).position(|mark| mark == b"://") {
        let begin = from + mark + 3;
        let rest = &text[begin..];
        let length = rest.iter().position(is_over);
        let url = &rest[..length.unwrap_or(rest.len())];
        let last = url.iter().rposition(|b| *b == b'@');
        let open = length.is_none() && end == End::Broken;
        // All URLs of this word at once, or a word full of them would be read as often.
        let mut at = 0;
        loop {
            let one = &url[at..];
            let path = one.iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
            let authority = &one[..path.unwrap_or(one.len())];
            let user = authority.contains(&b'@') || !is_port(authority);
            match last.filter(|last| *last >= at) {
                Some(last) if user => {
                    show(begin + at..begin + last);
                    at = last;
                }
                None if open && (path.is_none() || user) => {
                    show(begin + at..begin + url.len());
                    break;
                }
                _ => {}
            }
            match url[at..].windows(3).position(|mark| mark == b"://") {
                Some(mark) => at += mark + 3,
                None => break,
            }
        }
        from = begin + url.len();
    }
}

/// Whether what is behind the colon of a host, if it has one, is a port.
fn is_port(authority: &[u8]) -> bool {
    let host = match authority.strip_prefix(b"[") {
        // An IPv6 address.
        Some(rest) => rest.split(|b| *b == b']').nth(1).unwrap_or_default(),
        None => authority,
    };
    let mut parts = host.splitn(2, |b| *b == b':');
    let port = parts.nth(1).unwrap_or_default();
    // What follows a host, in a sentence or a list, is none of it.
    let digits = port.iter().take_while(|b| b.is_ascii_digit()).count();
    digits <= 5 && !port[digits..].iter().any(u8::is_ascii_alphanumeric)
}

/// `name=value`, `name: value`, `"name": "value"`, and what else is written so.
fn assigned(text: &[u8], show: &mut impl FnMut(Range<usize>)) {
    let mut at = 0;
    while let Some(sign) = text[at..].iter().position(|b| matches!(b, b'=' | b':')) {
        let sign = at + sign;
        at = sign + 1;
        let after = &text[at..];
        let is_path = after.starts_with(b":") || after.starts_with(b"//");
        if text[sign] == b':' && is_path {
            continue;
        }
        let Some((name, quote)) = name_before(text, sign) else {
            continue;
        };
        let Some(extent) = names::named(name) else {
            continue;
        };
        while matches!(text.get(at), Some(b'=' | b'>')) {
            at += 1;
        }
        while matches!(text.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        let value = match (extent, text.get(at)) {
            (Extent::Line, Some(b)) if !matches!(b, b'"' | b'\'' | b'\\' | b'[' | b'{') => {
                let is_over = |b: &u8| *b == b'\n' || Some(*b) == quote;
                let length = text[at..].iter().position(is_over);
                at..length.map_or(text.len(), |length| at + length)
            }
            _ if text[sign] == b':' => block(text, name, at).unwrap_or_else(|| value(text, at)),
            _ => value(text, at),
        };
        at = value.end;
        show(value);
    }
}

/// The lines below a name that stands at the beginning of its line, and farther in than it: a value
/// as YAML has it, with `|` or `>` before it or without.
fn block(text: &[u8], name: &[u8], at: usize) -> Option<Range<usize>> {
    // No more than that is looked at, or a long line would be read for each of its names.
    let mark = text.get(at..)?.iter().take(LONGEST_MARK);
    let length = mark.take_while(|b| b" \t|>+-123456789".contains(b)).count();
    let mark = text[at..at + length].trim_ascii();
    let is_mark = mark.is_empty() || matches!(mark[0], b'|' | b'>');
    if !is_mark || text.get(at + length) != Some(&b'\n') {
        return None;
    }
    let above = &text[line_begin(text, at)..at];
    let own = above
        .windows(name.len())
        .position(|window| window == name)?;
    let is_first = |before: &[u8]| before.iter().all(|b| b" \t-\"'".contains(b));
    if !is_first(&above[..own]) {
        return None;
    }
    let indent = |line: &[u8]| {
        line.iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count()
    };
    let depth = indent(above);
    let begin = at + length + 1;
    let mut end = begin;
    for line in text.get(begin..)?.split(|b| *b == b'\n') {
        if !line.trim_ascii().is_empty() && indent(line) <= depth {
            break;
        }
        end += line.len() + 1;
    }
    (end > begin).then(|| begin + indent(&text[begin..])..(end - 1).min(text.len()))
}

/// The name before a sign, and the quote that it stands behind and that is still open.
fn name_before(text: &[u8], sign: usize) -> Option<(&[u8], Option<u8>)> {
    let quote = |b: u8| matches!(b, b'"' | b'\'' | b'`');
    let before = text[..sign].trim_ascii_end();
    let closed = before.strip_suffix(b"]").unwrap_or(before);
    let unquoted = closed.strip_suffix(b"\"").or(closed.strip_suffix(b"'"));
    let name = match unquoted {
        Some(inner) => {
            let backslashes = inner.iter().rev().take_while(|b| **b == b'\\').count();
            &inner[..inner.len() - backslashes]
        }
        // What is only indexed has no name of its own.
        None if closed.len() < before.len() => return None,
        None => before,
    };
    let longest = &name[name.len().saturating_sub(LONGEST_NAME)..];
    let length = longest.iter().rev().take_while(|b| is_of_name(**b)).count();
    let (rest, own) = name.split_at(name.len() - length);
    let open = rest.last().copied().filter(|b| quote(*b));
    (length > 0).then_some((own, open.filter(|_| unquoted.is_none())))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// `--password hunter2`, also as JSON has a command line, and `mysql -phunter2`.
fn options(text: &[u8], show: &mut impl FnMut(Range<usize>)) {
    let begins =
        |at: usize| at == 0 || is_blank(text[at - 1]) || b"\"'`[(=,".contains(&text[at - 1]);
    // Up to where the line is known to have such a program or to have none.
    let (mut known, mut takes_p) = (0, false);
    let mut from = 0;
    while let Some(dash) = text[from..].iter().position(|b| *b == b'-') {
        let dash = from + dash;
        from = dash + 1;
        if !begins(dash) {
            continue;
        }
        if dash >= known {
            let line = &text[line_begin(text, dash)..line_end(text, dash)];
            let has = |program: &&[u8]| line.windows(program.len()).any(|w| w == *program);
            takes_p = PASSWORD_BEHIND_P.iter().any(has);
            known = line_end(text, dash) + 1;
        }
        let rest = &text[from..];
        if takes_p
            && rest.first() == Some(&b'p')
            && rest
                .get(1)
                .is_some_and(|b| !is_blank(*b) && !b"\"',".contains(b))
        {
            let end = unquoted_end(text, from + 1);
            show(from + 1..end);
            from = end;
            continue;
        }
        let length = rest.iter().take(LONGEST_NAME + 1);
        let length = length.take_while(|b| is_of_name(**b)).count();
        if names::named(&rest[..length]).is_none() {
            continue;
        }
        let after = &rest[length..];
        let quoted = |after: &[u8]| {
            let inner = after.strip_prefix(b"\"").or(after.strip_prefix(b"'"))?;
            let inner = inner.trim_ascii_start().strip_prefix(b",")?;
            Some(after.len() - inner.trim_ascii_start().len())
        };
        let blanks = after
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        let skipped = quoted(after).unwrap_or(blanks);
        let begin = from + length + skipped;
        if skipped > 0 && text.get(begin).is_some_and(|b| *b != b'-') {
            let value = value(text, begin);
            from = value.end;
            show(value);
        }
    }
}

/// `Bearer` and `Basic`, with credentials behind them that are no word, unless they are cut.
fn schemes(text: &[u8], end: End, show: &mut impl FnMut(Range<usize>)) {
    for blank in text.iter().enumerate().filter(|(_, b)| **b == b' ') {
        let (before, begin) = (&text[..blank.0], blank.0 + 1);
        let scheme = ["bearer", "basic"].into_iter().any(|scheme| {
            let at = before.len().checked_sub(scheme.len());
            at.is_some_and(|at| before[at..].eq_ignore_ascii_case(scheme.as_bytes()))
        });
        if scheme {
            let length = text[begin..].iter().take_while(|b| is_of_credentials(**b));
            let value = begin..begin + length.count();
            let is_word = text[value.clone()].iter().all(u8::is_ascii_lowercase);
            let cut = end == End::Broken && value.end == text.len();
            if cut || value.len() >= 8 && !is_word {
                show(value);
            }
        }
    }
}

fn is_of_credentials(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

fn line_begin(text: &[u8], at: usize) -> usize {
    let newline = text[..at].iter().rposition(|b| *b == b'\n');
    newline.map_or(0, |newline| newline + 1)
}
