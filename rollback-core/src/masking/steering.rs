//! What would steer a terminal, and could stand within a secret so that nobody recognises it.

/// How many bytes at the beginning would steer a terminal, if any, and what is shown instead.
pub(super) fn steering(text: &[u8]) -> Option<(usize, &'static str)> {
    Some(match text {
        // A colour: parameters, then one final byte (ECMA-48).
        [0x1b, b'[', rest @ ..] | [0xc2, 0x9b, rest @ ..] => {
            let parameters = rest.iter().take_while(|b| (b' '..=b'?').contains(*b));
            let parameters = parameters.count();
            let last = matches!(rest.get(parameters), Some(b'@'..=b'~'));
            (2 + parameters + usize::from(last), "")
        }
        // Another alphabet: `tput sgr0` says so besides (ECMA-35).
        [0x1b, b' '..=b'/', b'0'..=b'~', ..] => (3, ""),
        [b'\r', ..] => (1, ""),
        [b'\n' | b'\t', ..] => return None,
        [0..=0x1f | 0x7f, ..] => (1, "\u{fffd}"),
        [0xc2, 0x80..=0x9f, ..] => (2, "\u{fffd}"),
        // These turn the direction of writing.
        [0xe2, 0x80, 0x8e | 0x8f | 0xaa..=0xae, ..] | [0xe2, 0x81, 0xa6..=0xa9, ..] => {
            (3, "\u{fffd}")
        }
        // It stood for one of these already.
        [0xef, 0xbf, 0xbd, ..] => (3, "\u{fffd}"),
        _ => return None,
    })
}

/// The text without what would steer a terminal: colours go, other control characters are replaced,
/// and so are those that turn the direction of writing.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, shown) = match steering(rest.as_bytes()) {
            Some((length, shown)) => (length, shown),
            None => (first.len_utf8(), &rest[..first.len_utf8()]),
        };
        out.push_str(shown);
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_could_steer_the_terminal_that_shows_a_record() {
        assert_eq!(
            harmless("\u{1b}[1;31mred\u{1b}[0m\tend\r\nnext\u{7}"),
            "red\tend\nnext\u{fffd}"
        );
        assert_eq!(
            harmless("a\u{202e}b\u{1b}]0;title\u{7}"),
            "a\u{fffd}b\u{fffd}]0;title\u{fffd}"
        );
        assert_eq!(harmless("cut \u{1b}["), "cut ");
        assert_eq!(harmless("schön, 正常"), "schön, 正常");
        assert_eq!(harmless("\u{9b}1mbold\u{1b}(B\u{85}é"), "bold\u{fffd}é");
        assert_eq!(harmless("\u{1b}[é"), "é");
    }
}
