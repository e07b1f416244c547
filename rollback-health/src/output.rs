//! [`Tail`]: the end of what a program said.

use std::ffi::OsStr;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Most of a program's output that a diagnostic shows, in bytes, from the end: 4 KiB.
pub const MAX_OUTPUT: usize = 4 * 1024;

/// Shorter values are not masked: they hide nothing, and a masked `1` would garble every number.
const SHORTEST_MASKED: usize = 4;

/// Values that the output must not show.
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn new<'a>(values: impl Iterator<Item = &'a OsStr>) -> Self {
        let mut values: Vec<String> = values
            .map(|v| v.to_string_lossy().into_owned())
            .filter(|v| v.len() >= SHORTEST_MASKED)
            .collect();
        // One value may contain another.
        values.sort_by_key(|v| std::cmp::Reverse(v.len()));
        Self(values)
    }

    fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }

    fn mask(&self, text: String) -> String {
        self.0
            .iter()
            .fold(text, |text, secret| text.replace(secret, "***"))
    }
}

/// Keeps the end of what it reads.
#[derive(Default)]
pub(crate) struct Tail {
    kept: Vec<u8>,
    cut: bool,
}

impl Tail {
    /// Reads to the end.
    pub(crate) async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>, secrets: &Secrets) {
        let Some(mut pipe) = pipe else { return };
        let most = MAX_OUTPUT + secrets.longest();
        let mut buffer = [0; 1024];
        while let Ok(n) = pipe.read(&mut buffer).await {
            if n == 0 {
                return;
            }
            self.kept.extend_from_slice(&buffer[..n]);
            let surplus = self.kept.len().saturating_sub(most);
            self.cut |= surplus > 0;
            self.kept.drain(..surplus);
        }
    }

    fn text(&self, secrets: &Secrets) -> String {
        let text = secrets.mask(String::from_utf8_lossy(&self.kept).into_owned());
        if !self.cut {
            return text;
        }
        // The cut may have gone through a secret, whose rest cannot be recognised: it goes too.
        end_of(&text, text.len().saturating_sub(secrets.longest())).to_owned()
    }
}

/// What both said, errors last, at most [`MAX_OUTPUT`] bytes.
pub(crate) fn said(out: &Tail, err: &Tail, secrets: &Secrets) -> String {
    let text = out.text(secrets) + &err.text(secrets);
    end_of(&text, MAX_OUTPUT).trim().to_owned()
}

/// At most the last `most` bytes, from the beginning of a character on.
fn end_of(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
