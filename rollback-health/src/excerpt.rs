//! [`Secrets`], and the head of a body without them.

use std::cmp::Reverse;

use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;

use crate::body::Read;

/// Most of a body that a diagnostic shows, in bytes.
const HEAD: usize = 256;

/// Shorter values are not masked: they hide nothing, and a masked `1` would garble every number.
const SHORTEST_MASKED: usize = 4;

/// How much of a body is read for it: enough to tell whether there is more.
pub(crate) const NEEDED: usize = HEAD + 1;

/// What was sent in confidence: header values, and the query. An answer may send it back.
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn of<'a>(
        headers: impl Iterator<Item = &'a HeaderValue>,
        path: &PathAndQuery,
    ) -> Self {
        let mut values = Vec::new();
        for header in headers {
            let header = String::from_utf8_lossy(header.as_bytes()).into_owned();
            values.extend(parts(&header));
        }
        if let Some(query) = path.query() {
            values.push(query.to_owned());
            for (_, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
                values.push(value.to_owned());
                values.push(decoded(value));
            }
        }
        values.retain(|v| v.len() >= SHORTEST_MASKED);
        // One value may contain another.
        values.sort_by_key(|v| Reverse(v.len()));
        values.dedup();
        Self(values)
    }

    /// The head of a body in one line, for a diagnostic; empty if there is none. What is not UTF-8, or
    /// would steer a terminal, is replaced.
    pub(crate) fn excerpt(&self, read: &Read) -> String {
        let window = &read.bytes[..read.bytes.len().min(NEEDED)];
        let cut = !read.whole || window.len() == NEEDED;
        let text = String::from_utf8_lossy(window).into_owned();
        let masked = self.0.iter();
        let mut text = masked.fold(text, |text, secret| text.replace(secret, "***"));
        if cut {
            // A character that was cut, and a secret.
            text.truncate(text.trim_end_matches('\u{fffd}').len());
            text.truncate(text.len() - self.begun(&text));
        }
        let line = one_line(&without_passwords(&text, cut));
        match floor(&line, HEAD) {
            _ if line.is_empty() => String::new(),
            end if end < line.len() || cut => format!("; its body begins: {}…", &line[..end]),
            _ => format!("; its body: {line}"),
        }
    }

    /// How long the longest beginning of a secret is with which the text ends.
    fn begun(&self, text: &str) -> usize {
        let begun = |secret: &String| {
            let mut ends = secret.char_indices().map(|(at, _)| at).rev();
            ends.find(|at| text.ends_with(&secret[..*at]))
        };
        self.0.iter().filter_map(begun).max().unwrap_or(0)
    }
}

/// A header's value, and those parts of it that an answer may repeat without the rest: credentials
/// without their scheme, and what cookies and parameters are set to.
fn parts(header: &str) -> Vec<String> {
    let credentials = header.split_once(' ').map(|(_, rest)| rest);
    let set = header.split([';', ',']).filter_map(|p| p.split_once('='));
    let set = set.map(|(_, value)| value.trim_matches([' ', '"']));
    let parts = [header].into_iter().chain(credentials).chain(set);
    parts.map(|part| part.trim().to_owned()).collect()
}

/// Without `%XX`.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text with what comes before the `@` of a URL masked: a service in trouble likes to name what
/// it cannot reach. In a text that was cut, the last URL may have one where nobody sees it any more.
fn without_passwords(text: &str, cut: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'<>".contains(c));
        let authority = &after[..end.unwrap_or(after.len())];
        let host = match authority.rfind('@') {
            Some(host) => host,
            None if cut && end.is_none() && authority.contains(':') => authority.len(),
            None => 0,
        };
        if host > 0 {
            out.push_str("***");
        }
        rest = &after[host..];
    }
    out + rest
}

/// White space becomes a blank, and other control characters, and those that turn the direction of
/// writing, a mark.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    words.join(" ").replace(steers, "\u{fffd}")
}

/// The last boundary of characters that is not after `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(headers: &[&str], path: &str) -> Secrets {
        let headers: Vec<HeaderValue> = headers.iter().map(|h| h.parse().unwrap()).collect();
        Secrets::of(headers.iter(), &path.parse().unwrap())
    }

    fn whole(body: impl Into<Vec<u8>>) -> Read {
        Read {
            bytes: body.into(),
            whole: true,
        }
    }

    fn excerpt(body: &str) -> String {
        secrets(&[], "/healthz").excerpt(&whole(body))
    }

    #[test]
    fn a_body_could_steer_the_terminal_that_shows_a_record() {
        assert_eq!(excerpt(""), "");
        assert_eq!(excerpt(" \r\n"), "");
        assert_eq!(
            excerpt("{\n  \"db\":\t\"down\"\r\n}\n"),
            "; its body: { \"db\": \"down\" }"
        );
        assert_eq!(
            excerpt("\u{1b}[31mred\u{7}\u{202e}"),
            "; its body: \u{fffd}[31mred\u{fffd}\u{fffd}"
        );
        let latin = secrets(&[], "/").excerpt(&whole(*b"caf\xe9 ferm\xe9"));
        assert_eq!(latin, "; its body: caf\u{fffd} ferm\u{fffd}");
    }

    #[test]
    fn a_body_was_cut_within_a_character() {
        for before in 0..4 {
            let body = "x".repeat(before) + &"€".repeat(1000);
            let shown = excerpt(&body);
            let shown = shown.strip_prefix("; its body begins: ").unwrap();
            let shown = shown.strip_suffix('…').unwrap();
            assert!(body.starts_with(shown), "{shown}");
            assert!((HEAD - 3..=HEAD).contains(&shown.len()), "{}", shown.len());
        }
        // Nothing is left out of one that fits.
        assert!(!excerpt(&"x".repeat(HEAD)).contains('…'));
        assert!(excerpt(&"x".repeat(HEAD + 1)).ends_with("x…"));
    }

    #[test]
    fn what_was_sent_in_confidence_came_back_in_an_error_page() {
        let secrets = secrets(
            &["Bearer t0ken-of-ours", "session=c00kie; theme=dark", "yes"],
            "/up?key=qu3ry%2Fvalue&n=1",
        );
        let body = "bad t0ken-of-ours, c00kie; cannot GET /up?key=qu3ry%2Fvalue&n=1, qu3ry/value: \
                    yes 1";
        assert_eq!(
            secrets.excerpt(&whole(body)),
            "; its body: bad ***, ***; cannot GET /up?***, ***: yes 1"
        );
        // Wherever the cut goes through it.
        for before in HEAD - 40..HEAD + 40 {
            let body = "x".repeat(before) + "t0ken-of-ours" + &"y".repeat(500);
            let shown = secrets.excerpt(&whole(body));
            assert!(!shown.contains("t0"), "{before}: {shown}");
            assert!(shown.len() < HEAD + 40);
        }
        let broken = Read {
            bytes: b"bad t0ken-of-o".into(),
            whole: false,
        };
        assert_eq!(secrets.excerpt(&broken), "; its body begins: bad…");
    }

    #[test]
    fn a_password_in_the_url_of_what_cannot_be_reached_was_shown() {
        assert_eq!(
            excerpt("no postgres://api:hunter2@db/x, see http://help:80/me@home"),
            "; its body: no postgres://***@db/x, see http://help:80/me@home"
        );
        let cut = "x".repeat(HEAD - 20) + " amqp://api:hunter2-hunter2-hunter2@mq/";
        assert!(!excerpt(&cut).contains("hunter2"));
        assert_eq!(
            excerpt("see http://help:80"),
            "; its body: see http://help:80"
        );
    }
}
