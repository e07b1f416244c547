//! What a program said: its end, without what is secret.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

/// Most of a program's output that a diagnostic shows, in bytes, from the end: 4 KiB.
pub const MAX_OUTPUT: usize = 4 * 1024;

/// Most of an answer that is kept, in bytes, from the end: 64 KiB.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Most that a program which is asked something may say, in bytes: it must not fill a disk.
const MAX_SAID: u64 = 4 * 1024 * 1024;

/// How often what it has said so far is measured.
const MEASURED: Duration = Duration::from_millis(50);

/// Shorter values are not masked: they hide nothing, and a masked `1` would garble every number.
const SHORTEST_MASKED: usize = 4;

/// Names after which something secret stands.
const NAMES: [&str; 8] = [
    "password",
    "passwd",
    "secret",
    "token",
    "key",
    "auth",
    "bearer",
    "credential",
];

/// What a program's output must not show.
pub(crate) enum Secrets {
    /// These values: it was given no others.
    Values(Vec<String>),
    /// Whatever looks like one: it was given an environment that nobody has listed.
    Lookalikes(Vec<String>),
}

impl Secrets {
    pub(crate) fn values<'a>(values: impl Iterator<Item = &'a OsStr>) -> Vec<String> {
        let mut values: Vec<String> = values
            .map(|v| v.to_string_lossy().into_owned())
            .filter(|v| v.len() >= SHORTEST_MASKED)
            .collect();
        // One value may contain another.
        values.sort_by_key(|v| std::cmp::Reverse(v.len()));
        values
    }

    fn known(&self) -> &[String] {
        match self {
            Self::Values(values) | Self::Lookalikes(values) => values,
        }
    }

    fn longest(&self) -> usize {
        self.known().first().map_or(0, String::len)
    }

    fn mask(&self, text: String, last: Last) -> String {
        let known = self.known().iter();
        let mut text = known.fold(text, |text, secret| text.replace(secret, "***"));
        if let Last::Broken = last {
            let known = self.known().iter();
            if let Some(begun) = known.filter_map(|secret| begun(&text, secret)).max() {
                text.truncate(text.len() - begun);
                text.push_str("***");
            }
        }
        text
    }
}

/// How an output ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Last {
    /// As the program meant it to.
    Whole,
    /// Wherever it was killed, or reading stopped: that may be within a secret.
    Broken,
}

/// How much of a secret the text ends with, if that is enough to tell.
fn begun(text: &str, secret: &str) -> Option<usize> {
    let mut ends = secret.char_indices().map(|(at, _)| at).rev();
    ends.find(|at| *at >= SHORTEST_MASKED && text.ends_with(&secret[..*at]))
}

/// A file without a name; in memory where there is no place for one, so that a disk that can no
/// longer be written to keeps nobody from restarting a service.
pub(crate) fn unnamed_file() -> io::Result<File> {
    let on_disk = tempfile::tempfile();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let on_disk = on_disk.or_else(|_| {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        Ok(File::from(rustix::fs::memfd_create("output", flags)?))
    });
    on_disk
}

/// Resolves once more was said to one of them than an answer may have.
pub(crate) async fn overflow(outputs: [&File; 2]) {
    let fits = |file: &File| file.metadata().is_ok_and(|m| m.len() <= MAX_SAID);
    while outputs.into_iter().all(fits) {
        tokio::time::sleep(MEASURED).await;
    }
}

/// The end of an output, at most so many bytes.
pub(crate) fn said(output: &mut File, last: Last, secrets: &Secrets, most: usize) -> String {
    match end_of_file(output, (most + secrets.longest()) as u64) {
        Ok((bytes, cut, read)) => {
            let last = match (last, read) {
                (Last::Whole, Last::Whole) => Last::Whole,
                _ => Last::Broken,
            };
            shown(&bytes, cut, last, secrets, most)
        }
        Err(_) => "(its output cannot be read)".to_owned(),
    }
}

/// The last bytes, whether there were more before them, and whether there are more after them.
fn end_of_file(file: &mut File, most: u64) -> io::Result<(Vec<u8>, bool, Last)> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    // No more than that: what it started may go on writing.
    file.take(most).read_to_end(&mut bytes)?;
    let last = match file.metadata()?.len() > start + bytes.len() as u64 {
        true => Last::Broken,
        false => Last::Whole,
    };
    Ok((bytes, length > most, last))
}

fn shown(bytes: &[u8], cut: bool, last: Last, secrets: &Secrets, most: usize) -> String {
    let mut text = secrets.mask(String::from_utf8_lossy(bytes).into_owned(), last);
    if cut {
        // The cut may have gone through a secret, whose rest cannot be recognised: it goes too.
        text = end_of(&text, text.len().saturating_sub(secrets.longest())).to_owned();
    }
    if matches!(secrets, Secrets::Lookalikes(_)) {
        if cut {
            // A cut first line could hide the name that marks a value as secret.
            text = text
                .split_once('\n')
                .map_or("", |(_, rest)| rest)
                .to_owned();
        }
        text = text.lines().map(redacted).collect::<Vec<_>>().join("\n");
    }
    end_of(&text, most).trim().to_owned()
}

/// Hides what follows a secret-looking name, and who a URL is for: users, with their passwords.
fn redacted(line: &str) -> String {
    // Both look at the whole line: what one hides may be what the other would go by.
    let (named, users) = (named(line), users(line));
    let shown = line.get(..named.unwrap_or(line.len())).unwrap_or("");
    let hidden = if named.is_some() { "***" } else { "" };
    match users {
        Some((from, host)) if host < shown.len() => {
            format!("{}***{}{hidden}", &line[..from], &shown[host..])
        }
        Some((from, _)) => format!("{}{hidden}", &shown[..from.min(shown.len())]),
        None => format!("{shown}{hidden}"),
    }
}

/// Behind the first secret-looking name, where what it names begins.
fn named(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let at = NAMES.iter().filter_map(|n| lower.find(n)).min()?;
    Some(at + line.get(at..)?.find(['=', ':', ' '])? + 1)
}

/// From behind the first `://` to the last `@`: a password may have anything in it.
fn users(line: &str) -> Option<(usize, usize)> {
    let from = line.find("://")? + "://".len();
    Some((from, line.rfind('@').filter(|host| *host >= from)?))
}

/// At most the last `most` bytes, from the beginning of a character on.
fn end_of(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::{Last, Secrets, redacted};

    #[test]
    fn the_beginning_of_a_secret_was_shown_where_a_program_was_killed_within_it() {
        let secrets = Secrets::Values(vec!["hunter2-and-more".to_owned(), "hunters".to_owned()]);
        let mask = |text: &str| secrets.mask(text.to_owned(), Last::Broken);
        assert_eq!(mask("hunter2-and-more, hunter2-and"), "***, ***");
        assert_eq!(mask("the hunte"), "the ***");
        assert_eq!(mask("the hun"), "the hun");
        assert_eq!(mask("a hunter "), "a hunter ");
    }

    #[test]
    fn what_looks_secret_is_hidden() {
        assert_eq!(redacted("DB_PASSWORD=hunter2 x"), "DB_PASSWORD=***");
        assert_eq!(redacted("GET http://a:b@h/x"), "GET http://***@h/x");
        assert_eq!(redacted("Authorization: Bearer abc"), "Authorization:***");
        assert_eq!(redacted("no such unit"), "no such unit");
        assert_eq!(
            redacted("postgres://api:hunter2@db/x: password authentication failed"),
            "postgres://***@db/x: password ***"
        );
        assert_eq!(
            redacted("cloning https://bot:ghp_x@git.example/x: authentication required"),
            "cloning https://***@git.example/x: authentication ***"
        );
        assert_eq!(redacted("GET http://ghp_x@h/x"), "GET http://***@h/x");
        // What one rule hides is what the other goes by: neither undoes the other.
        assert_eq!(redacted("http://h/x?token=a@b c"), "http://***");
        assert_eq!(redacted("http://bot:a_key:b@h/x"), "http://***");
        assert_eq!(redacted("token=x http://a:b@h"), "token=***");
    }
}
