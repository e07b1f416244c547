//! Names after which something secret stands.

/// Where in a name a word makes it that of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Anywhere,
    /// At its end, as `sslkey` and `api-key` have it, for it is a part of other words: an author, a
    /// keyspace. Anywhere in a text of which nobody knows what secrets it may have.
    AtEnd,
    /// At its end, and nowhere else: much passes.
    OnlyAtEnd,
}

/// How far what is named so goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// A value.
    Value,
    /// The line: the value of a header has blanks in it.
    Line,
}

/// The one list.
const WORDS: [(&str, Where, Extent); 19] = [
    ("authorization", Where::Anywhere, Extent::Line),
    ("cookie", Where::Anywhere, Extent::Line),
    ("password", Where::Anywhere, Extent::Value),
    ("passwd", Where::Anywhere, Extent::Value),
    ("passphrase", Where::Anywhere, Extent::Value),
    ("secret", Where::Anywhere, Extent::Value),
    ("token", Where::Anywhere, Extent::Value),
    ("bearer", Where::Anywhere, Extent::Value),
    ("credential", Where::Anywhere, Extent::Value),
    ("key", Where::AtEnd, Extent::Value),
    ("auth", Where::AtEnd, Extent::Value),
    ("keys", Where::OnlyAtEnd, Extent::Value),
    ("pass", Where::OnlyAtEnd, Extent::Value),
    ("pw", Where::OnlyAtEnd, Extent::Value),
    ("pwd", Where::OnlyAtEnd, Extent::Value),
    ("jwt", Where::OnlyAtEnd, Extent::Value),
    ("sig", Where::OnlyAtEnd, Extent::Value),
    ("signature", Where::OnlyAtEnd, Extent::Value),
    ("sessionid", Where::OnlyAtEnd, Extent::Value),
];

/// The working directory, in everybody's environment.
const NO_PASSWORDS: [&str; 2] = ["pwd", "oldpwd"];

/// How far what bears this name goes, if the name is that of a secret.
pub(super) fn named(name: &[u8]) -> Option<Extent> {
    let name = name.to_ascii_lowercase();
    let is_so = |(word, place, _): &&(&str, Where, Extent)| match place {
        Where::Anywhere => find(&name, word).is_some(),
        Where::AtEnd | Where::OnlyAtEnd => name.ends_with(word.as_bytes()),
    };
    let word = WORDS.iter().find(is_so)?;
    let is_dir = NO_PASSWORDS.iter().any(|dir| dir.as_bytes() == name);
    (!is_dir).then_some(word.2)
}

/// Where the first word is, in a line in small letters, that may be a secret's name.
pub(super) fn first_word(line: &[u8]) -> Option<usize> {
    let words = WORDS.iter().filter(|(_, at, _)| *at != Where::OnlyAtEnd);
    words.filter_map(|(word, ..)| find(line, word)).min()
}

fn find(text: &[u8], word: &str) -> Option<usize> {
    let mut windows = text.windows(word.len());
    windows.position(|window| window == word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_others() {
        for name in [
            "DB_PASSWORD",
            "api-key",
            "apiKey",
            "sslkey",
            "requirepass",
            "masterauth",
            "MYSQL_PWD",
            "accessTokens",
            "passwd2",
            "X-Amz-Signature",
            "sig",
            "pw",
            "API_KEYS",
        ] {
            assert_eq!(named(name.as_bytes()), Some(Extent::Value), "{name}");
        }
        for name in ["Proxy-Authorization", "set-cookie"] {
            assert_eq!(named(name.as_bytes()), Some(Extent::Line), "{name}");
        }
        for name in [
            "", "PWD", "author", "keyspace", "passed", "bypassed", "level",
        ] {
            assert_eq!(named(name.as_bytes()), None, "{name}");
        }
    }
}
