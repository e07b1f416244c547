//! The head of a body in one line, for a diagnostic.

use rollback_core::masking::{Part, Secrets};

use crate::body::Read;

/// Most of a body that a diagnostic shows, in bytes.
const HEAD: usize = 256;

/// How much of a body is read for it: enough to tell whether there is more.
pub(crate) const NEEDED: usize = HEAD + 1;

/// How a body begins, without secrets; empty if it has nothing to say. What is not UTF-8, or would
/// steer a terminal, is replaced.
pub(crate) fn excerpt(read: &Read, secrets: &Secrets) -> String {
    let window = &read.bytes[..read.bytes.len().min(NEEDED)];
    let cut = !read.whole || window.len() == NEEDED;
    let text = String::from_utf8_lossy(window);
    let (text, part) = match cut {
        // A character may be cut, too.
        true => (text.trim_end_matches('\u{fffd}'), Part::Head),
        false => (&*text, Part::Whole),
    };
    let text = secrets.tell(text, part);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match floor(&line, HEAD) {
        _ if line.is_empty() => String::new(),
        end if end < line.len() || cut => format!("; its body begins: {}…", &line[..end]),
        _ => format!("; its body: {line}"),
    }
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

    fn whole(body: impl Into<Vec<u8>>) -> Read {
        Read {
            bytes: body.into(),
            whole: true,
        }
    }

    fn shown(body: &str) -> String {
        excerpt(&whole(body), &Secrets::default())
    }

    #[test]
    fn a_body_could_steer_the_terminal_that_shows_a_record() {
        assert_eq!(shown(""), "");
        assert_eq!(shown(" \r\n"), "");
        assert_eq!(
            shown("{\n  \"db\":\t\"down\"\r\n}\n"),
            "; its body: { \"db\": \"down\" }"
        );
        assert_eq!(
            shown("\u{1b}[31mred\u{7}\u{202e}"),
            "; its body: red\u{fffd}\u{fffd}"
        );
        let latin = excerpt(&whole(*b"caf\xe9 ferm\xe9"), &Secrets::default());
        assert_eq!(latin, "; its body: caf\u{fffd} ferm\u{fffd}");
    }

    #[test]
    fn a_body_was_cut_within_a_character() {
        for before in 0..4 {
            let body = "x".repeat(before) + &"€".repeat(1000);
            let shown = shown(&body);
            let shown = shown.strip_prefix("; its body begins: ").unwrap();
            let shown = shown.strip_suffix('…').unwrap();
            assert!(body.starts_with(shown), "{shown}");
            assert!((HEAD - 3..=HEAD).contains(&shown.len()), "{}", shown.len());
        }
        // Nothing is left out of one that fits.
        assert!(!shown(&"x".repeat(HEAD)).contains('…'));
        assert!(shown(&"x".repeat(HEAD + 1)).ends_with("x…"));
    }

    #[test]
    fn what_was_sent_in_confidence_was_shown_where_a_body_was_cut_within_it() {
        let secrets = Secrets::default().header("Bearer t0ken-of-ours");
        for before in HEAD - 40..HEAD + 40 {
            let body = "x".repeat(before) + "t0ken-of-ours" + &"y".repeat(500);
            let shown = excerpt(&whole(body), &secrets);
            assert!(!shown.contains("t0"), "{before}: {shown}");
            assert!(shown.len() < HEAD + 40);
        }
        let broken = Read {
            bytes: b"bad t0ken-of-o".into(),
            whole: false,
        };
        assert_eq!(excerpt(&broken, &secrets), "; its body begins: bad ***…");
    }

    #[test]
    fn a_password_in_a_url_was_shown_where_a_body_was_cut_within_it() {
        let cut = "x".repeat(HEAD - 20) + " amqp://api:hunter2-hunter2-hunter2@mq/";
        assert!(!shown(&cut).contains("hunter2"));
        // Before the colon as well: what is there may be a token.
        for before in HEAD - 60..HEAD {
            let cut = "x".repeat(before) + " http://ghp-ghp-ghp-ghp-ghp@git.example/";
            let shown = shown(&cut);
            let rest = shown.trim_matches(['x', '…']).trim_end();
            assert!(!rest.contains("ghp"), "{before}: {shown}");
        }
    }
}
