//! [`View`]: a text as somebody reads it who knows in which form it is written.
//!
//! A secret may stand in a text with `%XX`, with escapes of JSON, in base64, wholly or in part, and in
//! more ways than can be listed. So the text is brought back to one form, not the secret into all.

use std::ops::Range;

use super::steering::steering;

/// Between what does not belong together: no secret has it, for none has a control character.
const BREAK: u8 = 0;

/// So often what was read is read on.
const DEEPEST: usize = 3;

/// More ways of reading a text are not tried.
const MOST_VIEWS: usize = 24;

/// `&#x10ffff;`
const LONGEST_ENTITY: usize = 9;

/// Decoded bytes, each with the part of the text that it stands for.
pub(super) struct View {
    bytes: Vec<u8>,
    of: Vec<Range<usize>>,
}

/// What a `+` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself.
    Plus,
    /// A blank, as forms are sent.
    Blank,
}

impl View {
    /// The text as it is, but for what would steer a terminal.
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.bytes().enumerate();
        Self::from_iter(bytes.map(|(at, byte)| (byte, at..at + 1))).bare()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which part of the text some decoded bytes stand for.
    pub(super) fn span(&self, bytes: Range<usize>) -> Range<usize> {
        match self.of.get(bytes) {
            Some([first, .., last]) => first.start..last.end,
            Some([only]) => only.clone(),
            _ => 0..0,
        }
    }

    /// As text: what a value means.
    pub(super) fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Shows all ways of reading a text but base64: with its escapes, its `%XX` or its entities resolved,
    /// and what comes of it once more, as JSON is logged in JSON and a form in a URL.
    pub(super) fn each(text: &str, mut show: impl FnMut(&Self)) {
        let mut seen: Vec<Self> = vec![Self::of(text)];
        let mut level = 0..1;
        for _ in 0..DEEPEST {
            for at in level.clone() {
                for read in seen[at].once_more() {
                    if seen.len() < MOST_VIEWS && seen.iter().all(|known| known.bytes != read.bytes)
                    {
                        seen.push(read);
                    }
                }
            }
            level = level.end..seen.len();
        }
        seen.iter().for_each(&mut show);
    }

    /// Each way in which somebody may read on.
    fn once_more(&self) -> Vec<Self> {
        let escapes = self.unescaped();
        let percent = self.percent_decoded();
        escapes
            .into_iter()
            .chain(percent)
            .chain(self.entities())
            .collect()
    }

    /// With the entities of HTML resolved; `None` if there are none.
    fn entities(&self) -> Option<Self> {
        self.bytes.contains(&b'&').then(|| {
            let mut out = Self::from_iter([]);
            let mut at = 0;
            while at < self.bytes.len() {
                let (c, length) = entity(&self.bytes[at..]).unwrap_or((None, 1));
                let span = self.span(at..at + length);
                let mut buffer = [0; 4];
                match c {
                    Some(c) => c
                        .encode_utf8(&mut buffer)
                        .bytes()
                        .for_each(|byte| out.push(byte, span.clone())),
                    None => out.push(self.bytes[at], span),
                }
                at += length;
            }
            out.bare()
        })
    }

    /// Both ways of reading `%XX` and `+`, as far as they make a difference.
    pub(super) fn percent_decoded(&self) -> impl Iterator<Item = Self> {
        let plain = self.bytes.contains(&b'%').then_some(Plus::Plus);
        let form = self.bytes.contains(&b'+').then_some(Plus::Blank);
        let ways = plain.into_iter().chain(form);
        ways.map(|plus| self.percent(plus))
    }

    fn percent(&self, plus: Plus) -> Self {
        self.decoded(|rest| match rest {
            [b'%', high, low, ..] => Some((hex(*high)? << 4 | hex(*low)?, 3)),
            [b'+', ..] if plus == Plus::Blank => Some((b' ', 1)),
            _ => None,
        })
    }

    /// With the escapes of JSON, C and shells resolved; `None` if there are none.
    pub(super) fn unescaped(&self) -> Option<Self> {
        self.bytes.contains(&b'\\').then(|| {
            let mut out = Self::from_iter([]);
            let mut at = 0;
            while at < self.bytes.len() {
                let (text, length) = escape(&self.bytes[at..]);
                let span = self.span(at..(at + length).min(self.bytes.len()));
                let mut buffer = [0; 4];
                match text {
                    Escape::Of(c) => {
                        for byte in c.encode_utf8(&mut buffer).bytes() {
                            out.push(byte, span.clone());
                        }
                    }
                    Escape::Byte(byte) => out.push(byte, span),
                    Escape::Cut => break,
                }
                at += length;
            }
            out.bare()
        })
    }

    /// What its base64 stands for (RFC 4648, both alphabets), where the first digit is that of a
    /// group of four after so many others. Broken over lines it goes on.
    pub(super) fn base64(&self, phase: usize) -> Self {
        let mut out = Self::from_iter([]);
        let (mut bits, mut held, mut digits) = (0_u32, 0, 0);
        let mut begin = 0;
        for (at, byte) in self.bytes.iter().enumerate() {
            if *byte == b'\n' {
                continue;
            }
            let Some(value) = digit(*byte) else {
                if digits > 0 {
                    out.push(BREAK, self.span(at..at));
                }
                (held, digits) = (0, 0);
                continue;
            };
            digits += 1;
            if digits <= phase {
                continue;
            }
            if held == 0 {
                begin = at;
            }
            bits = (bits << 6) | u32::from(value);
            held += 6;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held).to_be_bytes()[3], self.span(begin..at + 1));
                begin = at;
            }
        }
        out
    }

    /// Each byte as it is, or what an escape at the beginning of the rest stands for. One that the end
    /// of the text goes through stands for nothing.
    fn decoded(&self, of: impl Fn(&[u8]) -> Option<(u8, usize)>) -> Self {
        let mut out = Self::from_iter([]);
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let [b'%'] | [b'%', _] = rest {
                break;
            }
            let (byte, length) = of(rest).unwrap_or((rest[0], 1));
            out.push(byte, self.span(at..at + length));
            at += length;
        }
        out.bare()
    }

    /// Without what would steer a terminal.
    fn bare(self) -> Self {
        let mut out = Self::from_iter([]);
        let mut at = 0;
        while let Some(byte) = self.bytes.get(at) {
            match steering(&self.bytes[at..]) {
                Some((length, _)) => at += length,
                None => {
                    out.push(*byte, self.of[at].clone());
                    at += 1;
                }
            }
        }
        out
    }

    fn push(&mut self, byte: u8, of: Range<usize>) {
        self.bytes.push(byte);
        self.of.push(of);
    }
}

impl FromIterator<(u8, Range<usize>)> for View {
    fn from_iter<I: IntoIterator<Item = (u8, Range<usize>)>>(all: I) -> Self {
        let (bytes, of) = all.into_iter().unzip();
        Self { bytes, of }
    }
}

enum Escape {
    Of(char),
    Byte(u8),
    /// The end of the text goes through it.
    Cut,
}

/// What stands at the beginning, and how long that is.
fn escape(text: &[u8]) -> (Escape, usize) {
    let simple = |c: char| (Escape::Of(c), 2);
    match text {
        [b'\\'] => (Escape::Cut, 1),
        [b'\\', b'n', ..] => simple('\n'),
        [b'\\', b't', ..] => simple('\t'),
        [b'\\', b'r' | b'b' | b'f' | b'a' | b'v', ..] => simple('\r'),
        [b'\\', b'e', ..] => simple('\u{1b}'),
        // As a shell has it within quotes.
        [b'\'', b'\\', b'\'', b'\'', ..] => (Escape::Of('\''), 4),
        [b'\\', c, ..] if *c == b' ' || c.is_ascii_punctuation() => simple(char::from(*c)),
        [b'\\', b'u', rest @ ..] if rest.len() < 4 => (Escape::Cut, 2),
        [b'\\', b'u', rest @ ..] => match (unit(rest), rest.get(4..)) {
            (Some(high @ 0xd800..0xdc00), Some([b'\\', b'u', low @ ..])) => {
                match unit(low).filter(|low| (0xdc00..0xe000).contains(low)) {
                    Some(low) => {
                        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        (Escape::Of(character(code)), 12)
                    }
                    None => (Escape::Of('\u{fffd}'), 6),
                }
            }
            (Some(code), _) => (Escape::Of(character(code)), 6),
            (None, _) => (Escape::Byte(b'\\'), 1),
        },
        [b'\\', b'x', high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => (Escape::Byte(high << 4 | low), 4),
            _ => (Escape::Byte(b'\\'), 1),
        },
        [byte, ..] => (Escape::Byte(*byte), 1),
        [] => (Escape::Cut, 1),
    }
}

/// The character that an entity of HTML at the beginning stands for, and how long it is.
fn entity(text: &[u8]) -> Option<(Option<char>, usize)> {
    let name = text.strip_prefix(b"&")?;
    let length = name.iter().take(LONGEST_ENTITY).position(|b| *b == b';')?;
    let name = std::str::from_utf8(&name[..length]).ok()?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((Some(c), length + 2))
}

/// Half a surrogate pair is no character.
fn character(code: u32) -> char {
    char::from_u32(code).unwrap_or('\u{fffd}')
}

/// A number of four hexadecimal digits.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4)?.iter();
    digits.copied().try_fold(0, |number, digit| {
        Some(number << 4 | u32::from(hex(digit)?))
    })
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// A digit of base64.
fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_as_far_as_it_is_such() {
        for (encoded, is) in [
            ("", ""),
            ("YQ==", "a\0"),
            ("YWI=", "ab\0"),
            ("YWJj", "abc"),
            ("YW\nJj", "abc"),
            ("Pz8_Pj4-", "???>>>"),
            ("Pz8/Pj4+", "???>>>"),
            ("YWJj!YWJj", "abc\0abc"),
        ] {
            assert_eq!(View::of(encoded).base64(0).into_text(), is, "{encoded}");
        }
        assert_eq!(View::of("xyYWJj").base64(2).into_text(), "abc");
    }

    #[test]
    fn what_is_escaped_is_read_and_found_again() {
        let text = r#"a\u00e9\ud83d\ude00\/\"\x41\u001b[1m\q\ud83dz\u12"#;
        let view = View::of(text).unescaped().unwrap();
        assert_eq!(view.span(1..3), 1..7);
        assert_eq!(view.span(3..7), 7..19);
        assert_eq!(view.into_text(), "aé😀/\"A\\qz");
        let view = View::of("a%2Fb+%zz%4").percent(Plus::Blank);
        assert_eq!(view.span(1..2), 1..4);
        assert_eq!(view.into_text(), "a/b %zz");
        assert_eq!(View::of("x\u{1b}[1my\u{7}").into_text(), "xy");
        // JSON within JSON, with a URL in it.
        let mut texts = Vec::new();
        View::each(r#"\\\"a%20b"#, |view| texts.push(view.bytes().to_vec()));
        assert!(texts.contains(&b"\"a b".to_vec()));
    }
}
