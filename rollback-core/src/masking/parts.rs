//! What of a secret a program may show without the rest.

use super::forms::View;
use super::looks::{self, End};

/// More `@` than this no user information has.
const MOST_ENDS: usize = 8;

/// Shorter words of a value are found in whatever is said, in bytes.
const SHORTEST_DENSE: usize = 8;

/// A value, each line of it, the passwords in it, and what all of these stand for. A line's end may be
/// written as `\n`, for the program to turn it into one: keys in PEM are handed on so.
pub(super) fn of_value(value: &str) -> Vec<String> {
    let mut parts = vec![value.to_owned()];
    parts.extend(View::of(value).unescaped().map(View::into_text));
    for text in parts.clone() {
        parts.extend(text.lines().map(str::to_owned));
        let mut part = |part: &[u8]| parts.push(String::from_utf8_lossy(part).into_owned());
        let text = text.as_bytes();
        looks::find(text, End::Whole, |span| part(&text[span]));
        looks::users(text, End::Whole, |span| {
            passwords(&text[span]).for_each(&mut part);
        });
    }
    let several = parts.clone();
    parts.extend(several.iter().flat_map(|text| dense(text)));
    let decoded = |part: &String| -> Vec<String> {
        let view = View::of(part);
        view.percent_decoded().map(View::into_text).collect()
    };
    let decoded: Vec<String> = parts.iter().flat_map(decoded).collect();
    parts.extend(decoded);
    parts
}

/// What of a list, a pair or an object is a secret by its looks: long, of letters and digits, and no
/// path, address or file's name.
fn dense(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| c.is_whitespace() || ",;:=\"'[]{}()|".contains(c));
    let of_both = |word: &str| {
        let has = |is: fn(&u8) -> bool| word.bytes().any(|b| is(&b));
        has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    let is_dense = move |word: &&str| {
        word.len() >= SHORTEST_DENSE && of_both(word) && !word.contains(['/', '.', '@'])
    };
    words.filter(is_dense).map(str::to_owned)
}

/// `hunter2` of `api:hunter2`, wherever it ends: the host may be behind any `@`.
fn passwords(user: &[u8]) -> impl Iterator<Item = &[u8]> {
    let colon = user.iter().position(|b| *b == b':');
    let password = &user[colon.map_or(user.len(), |colon| colon + 1)..];
    let ats = password.iter().enumerate().filter(|(_, b)| **b == b'@');
    let ends = ats.map(|(at, _)| at).take(MOST_ENDS);
    ends.chain([password.len()]).map(|end| &password[..end])
}

/// What of an argument of a command line may be a secret: what an option or a variable is set to, or
/// all of it. The names of options and paths are none.
pub fn argument(word: &str) -> Option<&str> {
    match word.split_once('=') {
        Some((_, set)) => Some(set),
        None => (!word.starts_with(['-', '/'])).then_some(word),
    }
}

/// A header's value, and those parts of it that an answer may repeat without the rest: credentials
/// without their scheme, the user and the password of basic ones, and what cookies and parameters are
/// set to.
pub(super) fn of_header(header: &str) -> Vec<String> {
    let credentials = header.split_once(' ');
    let basic = credentials.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let basic = basic.map(|(_, encoded)| encoded.trim().trim_end_matches('='));
    let basic = basic.map(|encoded| View::of(encoded).base64(0).into_text());
    let user = basic.as_deref().and_then(|both| both.split_once(':'));
    let user = user.map(|(user, password)| [user, password]);
    let set = header.split([';', ',']).filter_map(|p| p.split_once('='));
    let set = set.map(|(_, value)| value.trim_matches([' ', '"']));
    let encoded = credentials.map(|(_, rest)| rest);
    let unpadded = encoded.map(|encoded| encoded.trim_end_matches('='));
    let parts = [header].into_iter().chain(encoded).chain(unpadded);
    let parts = parts.chain(set).chain(basic.as_deref());
    let parts = parts.chain(user.into_iter().flatten());
    parts.map(|part| part.trim().to_owned()).collect()
}

/// A URL's query, and what its parameters are set to.
pub(super) fn of_query(query: &str) -> Vec<String> {
    let set = query.split('&').filter_map(|pair| pair.split_once('='));
    let set = set.map(|(_, value)| value.to_owned());
    [query.to_owned()].into_iter().chain(set).collect()
}
