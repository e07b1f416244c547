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
                // Forms are sent so, and it depends on who reads it what it means.
                values.push(decoded(&value.replace('+', " ")));
            }
        }
        let escaped: Vec<String> = values.iter().flat_map(|v| in_json(v)).collect();
        values.extend(escaped);
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
/// without their scheme, the user and the password of basic ones, and what cookies and parameters are
/// set to.
fn parts(header: &str) -> Vec<String> {
    let credentials = header.split_once(' ');
    let basic = credentials.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let basic = basic.map(|(_, encoded)| from_base64(encoded.trim()));
    let user = basic.as_deref().and_then(|both| both.split_once(':'));
    let user = user.map(|(user, password)| [user, password]);
    let set = header.split([';', ',']).filter_map(|p| p.split_once('='));
    let set = set.map(|(_, value)| value.trim_matches([' ', '"']));
    let parts = [header].into_iter();
    let encoded = credentials.map(|(_, rest)| rest);
    let unpadded = encoded.map(|encoded| encoded.trim_end_matches('='));
    let parts = parts.chain(encoded).chain(unpadded).chain(set);
    let parts = parts
        .chain(basic.as_deref())
        .chain(user.into_iter().flatten());
    parts.map(|part| part.trim().to_owned()).collect()
}

/// What this base64 stands for, as far as it is such (RFC 4648, both alphabets).
fn from_base64(text: &str) -> String {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for value in text.bytes().map_while(digit) {
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_be_bytes()[3]);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value as it stands in a JSON string, if that is not as it is: slashes may be escaped, and need not.
fn in_json(value: &str) -> Vec<String> {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    let slashes = escaped.replace('/', "\\/");
    let mut forms = vec![escaped, slashes];
    forms.retain(|form| form != value);
    forms
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
    while let Some(at) = authority(rest) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'<>".contains(c));
        let authority = &after[..end.unwrap_or(after.len())];
        let host = match authority.rfind('@') {
            Some(host) => host,
            None if cut && end.is_none() => authority.len(),
            None => 0,
        };
        if host > 0 {
            out.push_str("***");
        }
        rest = &after[host..];
    }
    out + rest
}

/// Where the first URL's authority begins. In JSON its slashes may be escaped.
fn authority(text: &str) -> Option<usize> {
    let begins = ["://", r":\/\/"].into_iter();
    let begins = begins.filter_map(|mark| text.find(mark).map(|at| at + mark.len()));
    begins.min()
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
    fn a_secret_that_came_back_in_another_form_was_shown() {
        let masks = |headers: &[&str], path: &str, body: &str| {
            let shown = secrets(headers, path).excerpt(&whole(body));
            shown.strip_prefix("; its body: ").unwrap().to_owned()
        };
        assert_eq!(
            masks(&[], "/up?key=a+b%2Bc", "no a+b%2Bc, a b+c, a+b+c, a%20b"),
            "no ***, ***, ***, a%20b"
        );
        // Of `api:hun/ter2?`.
        for basic in ["Basic YXBpOmh1bi90ZXIyPw==", "basic YXBpOmh1bi90ZXIyPw"] {
            assert_eq!(
                masks(&[basic], "/", "api:hun/ter2? hun/ter2? YXBpOmh1bi90ZXIyPw"),
                "*** *** ***"
            );
        }
        // Of `operator:pw`.
        let user = masks(&["Basic b3BlcmF0b3I6cHc="], "/", "no operator here");
        assert_eq!(user, "no *** here");
        assert_eq!(
            masks(
                &["Bearer a/b/c\\d\"e"],
                "/",
                r#"{"no":"a\/b\/c\\d\"e", "a/b/c\\d\"e"}"#
            ),
            r#"{"no":"***", "***"}"#
        );
    }

    #[test]
    fn base64_is_decoded_as_far_as_it_is_such() {
        for (encoded, is) in [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("Pz8_Pj4-", "???>>>"),
            ("Pz8/Pj4+", "???>>>"),
            ("YWJj!YWJj", "abc"),
        ] {
            assert_eq!(from_base64(encoded), is, "{encoded}");
        }
    }

    #[test]
    fn a_password_in_the_url_of_what_cannot_be_reached_was_shown() {
        assert_eq!(
            excerpt(r"no amqp://api:hun\ter2@mq"),
            "; its body: no amqp://***@mq"
        );
        assert_eq!(
            excerpt("no postgres://api:hunter2@db/x, see http://help:80/me@home"),
            "; its body: no postgres://***@db/x, see http://help:80/me@home"
        );
        let cut = "x".repeat(HEAD - 20) + " amqp://api:hunter2-hunter2-hunter2@mq/";
        assert!(!excerpt(&cut).contains("hunter2"));
        // Before the colon as well: what is there may be a token.
        for before in HEAD - 60..HEAD {
            let cut = "x".repeat(before) + " http://ghp-ghp-ghp-ghp-ghp@git.example/";
            let shown = excerpt(&cut);
            let rest = shown.trim_matches(['x', '…']).trim_end();
            assert!(!rest.contains("ghp"), "{before}: {shown}");
        }
        assert_eq!(
            excerpt(r#"{"db":"postgres:\/\/api:hunter2@db\/x","at":"http:\/\/a\/b@c"}"#),
            r#"; its body: {"db":"postgres:\/\/***@db\/x","at":"http:\/\/a\/b@c"}"#
        );
        assert_eq!(
            excerpt("see http://help:80"),
            "; its body: see http://help:80"
        );
    }
}
