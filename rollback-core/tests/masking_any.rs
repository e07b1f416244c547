//! Whatever the text, and whatever the secrets.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rollback_core::masking::{MOST_SECRETS, Part, Secrets};

fn mask(secrets: &Secrets, text: &str) -> String {
    secrets.mask(text, Part::Whole).unwrap()
}

/// Were any of it quadratic this would not end.
#[test]
fn a_long_text_and_many_values_take_no_longer_than_they_are_long() {
    let values = (0..MOST_SECRETS).map(|n| "a".repeat(n / 2 + 6) + "b" + &n.to_string());
    let secrets = values.fold(Secrets::default(), Secrets::found);
    for piece in [
        "a",
        "http://",
        "x://a:b@c",
        "token:",
        "token=\"",
        "token:[",
        "'cookie: ",
        "-p",
        "\\u",
        "%",
        "PRIVATE KEY-----",
    ] {
        let text = piece.repeat(1024 * 1024 / 4 / piece.len());
        for part in [Part::Whole, Part::Middle] {
            secrets.mask(&text, part).unwrap();
        }
    }
}

/// Characters that a secret has, and what it stands in does not.
fn secret() -> impl Strategy<Value = String> {
    "[A-Z2-9!/+%&;\"'\\\\@?é€]{8,24}"
}

/// As JSON has it, without the quotes.
fn in_json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

fn form(secret: &str, form: u8) -> String {
    let bytes = secret.bytes();
    match form {
        0 => secret.to_owned(),
        1 => bytes.map(|b| format!("%{b:02X}")).collect(),
        2 => in_json(secret),
        3 => {
            let units = secret.encode_utf16();
            units.map(|unit| format!("\\u{unit:04x}")).collect()
        }
        4 => secret.chars().map(|c| format!("{c}\u{1b}[0m")).collect(),
        5 => {
            let byte = |b: u8| match b.is_ascii_alphanumeric() {
                true => char::from(b).to_string(),
                false => format!("%{b:02x}"),
            };
            bytes.map(byte).collect()
        }
        6 => secret.chars().map(|c| format!("{c}\r")).collect(),
        _ => in_json(&in_json(secret)),
    }
}

proptest! {
    /// No character of it is shown, wherever it stands and wherever the text is cut.
    #[test]
    fn a_secret_is_told_in_no_form(
        secret in secret(),
        others in prop::collection::vec(secret(), 0..4),
        around in prop::collection::vec("[ghi\n ]{0,30}", 2..5),
        written in 0..8_u8,
        head in 0..200_usize,
        tail in 0..200_usize,
    ) {
        prop_assume!(!others.iter().any(|other| other.contains(&secret)));
        let secrets = others.iter().fold(Secrets::default().given(&secret), Secrets::given);
        let text = around.join(&form(&secret, written));
        let boundary = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) { at -= 1 }
            at
        };
        let (from, to) = (boundary(tail), boundary(text.len().saturating_sub(head)));
        let cuts = [
            (&text[..], Part::Whole),
            (&text[from..], Part::Tail),
            (&text[..to], Part::Head),
            (&text[from.min(to)..to], Part::Middle),
        ];
        for (text, part) in cuts {
            let shown = secrets.mask(text, part).unwrap();
            let rest = shown.replace("***", "");
            let is_around = |c: char| "ghi\n ".contains(c);
            let kept = rest.trim_end_matches(|c| !is_around(c));
            // Less than one character of it, of which the end is cut off.
            let begun = match (part, written) {
                (Part::Head | Part::Middle, 1..) => rest.len() - kept.len(),
                _ => 0,
            };
            let foreign = rest.chars().filter(|c| !is_around(*c)).count();
            prop_assert!(foreign == begun && begun < 6, "{:?} of {:?} {:?}", shown, text, part);
        }
    }

    /// In base64 its neighbours go with it, and no more.
    #[test]
    fn a_secret_in_base64_is_found(secret in secret(), before in "[a-e]{0,5}", after in "[a-e]{0,5}") {
        let encoded = base64(format!("{before}{secret}{after}").as_bytes());
        let shown = mask(&Secrets::default().given(&secret), &format!("x {encoded} y"));
        prop_assert!(shown.contains("***"));
        prop_assert!(shown.len() <= 7 + before.len() * 2 + after.len() * 2 + 4, "{}", shown);
    }

    #[test]
    fn a_text_without_secrets_comes_out_as_it_went_in(
        text in "[a-e \n\t.,;\"'\\\\/%+@é€0-9_-]{0,200}",
        values in prop::collection::vec("[A-Z]{8,12}", 0..4),
    ) {
        let secrets = values.iter().fold(Secrets::default(), Secrets::found);
        prop_assert_eq!(mask(&secrets, &text), text);
    }

    #[test]
    fn what_looks_secret_is_hidden_in_whatever_it_stands(
        secret in "[A-Z2-9]{4,12}",
        before in "[a-e \n\"'{]{0,20}",
        after in "[a-e \n]{0,20}",
        shape in 0..10_usize,
    ) {
        let text = [
            "password={}", "\"token\": \"{}\"", "api-key: {}", "x://u:{}@h", "--password {}",
            "mysql -p{}", "Cookie: a={}", "?auth={}&n=a", "Bearer {}a2cdefgh", "dbpass='{} {}'",
        ][shape].replace("{}", &secret);
        let text = format!("{before} {text} {after}");
        for part in [Part::Whole, Part::Head] {
            let shown = Secrets::default().mask(&text, part).unwrap();
            prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }

    /// Whatever comes: no panic, and what comes out is masked already.
    #[test]
    fn any_text_can_be_masked(text in "(?s).{0,200}|[=:\"'\\\\\\[\\]{}@/%&;,a-z -]{0,200}", value in ".{0,20}") {
        let secrets = Secrets::default().given(value).unlisted();
        for part in [Part::Whole, Part::Head, Part::Tail, Part::Middle] {
            secrets.mask(&text, part).unwrap();
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, b| bits << 8 | u32::from(*b))
            << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let at = (bits >> (18 - 6 * digit)) & 63;
            out.push(char::from(DIGITS[at as usize]));
        }
    }
    out
}
