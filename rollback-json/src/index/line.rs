//! An index's header and lines, each with a seal of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rollback_core::history::{Sequence, SummaryRules};
use rollback_fs::{Birth, random};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Row, this_boot};

/// Length of the header, which is written anew with each line.
pub(super) const HEADER: u64 = 256;
const SEAL: usize = 16;
const BEGINNING: &str = "{\"seal\":\"";
const NAME: usize = 16;
const BOOT: usize = 36;

/// Which file it is, and how far it counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    /// Where the lines end that count.
    pub(super) end: u64,
    /// The boot that it was begun in.
    boot: String,
    /// By which rules its summaries were made.
    rules: SummaryRules,
    /// The file itself: a copy is not believed.
    born: Birth,
    /// Random: no other index has it.
    pub(super) name: String,
}

impl Header {
    /// Of an empty index in a file that was just made.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        let name = random::hex(NAME);
        Ok(Self {
            end: HEADER,
            boot: this_boot().chars().take(BOOT).collect(),
            rules: SummaryRules,
            born: Birth::of(file)?,
            name: name.ok_or_else(|| io::Error::other("the system gives no random bytes"))?,
        })
    }

    /// What a file begins with; `None` if it is no index of this boot, or a copy of one.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let Some(rest) = opened(&bytes, "", 0) else {
            return Ok(None);
        };
        let Ok(header) = serde_json::from_slice::<Self>(&rest) else {
            return Ok(None);
        };
        let boot: String = this_boot().chars().take(BOOT).collect();
        let ours = header.boot == boot && header.born == Birth::of(file)? && header.end >= HEADER;
        Ok(ours.then_some(header))
    }

    pub(super) fn text(&self) -> String {
        let text = format!(
            "\"end\":{},\"boot\":\"{}\",\"rules\":{},\"born\":\"{}\",\"name\":\"{}\"}}",
            self.end,
            self.boot,
            u32::from(self.rules),
            self.born.as_str(),
            self.name
        );
        let width = HEADER as usize - BEGINNING.len() - SEAL - "\",".len() - "\n".len();
        let text = format!("{text:<width$}\n");
        let seal = seal(text.as_bytes(), "", 0);
        format!("{BEGINNING}{seal}\",{text}")
    }
}

/// A line after the header.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// A record's first.
    Row(Row),
    /// What it is now.
    Again(Row),
    Gone(Sequence),
    /// A file that is no record: its name, and why.
    Broken(String, String),
}

impl Line {
    /// As it stands at a place of the index of this name.
    pub(super) fn text(&self, name: &str, at: u64) -> Vec<u8> {
        // Plain data always has a JSON text; an empty line would only cause a rebuild.
        let mut rest = serde_json::to_vec(self).unwrap_or_default();
        rest.push(b'\n');
        let rest = rest.get(1..).unwrap_or_default();
        let seal = seal(rest, name, at);
        [BEGINNING.as_bytes(), seal.as_bytes(), b"\",", rest].concat()
    }

    /// What stands there; `None` if it is not what was written there.
    pub(super) fn read(text: &[u8], name: &str, at: u64) -> Option<Self> {
        serde_json::from_slice(&opened(text, name, at)?).ok()
    }
}

/// A sealed object without its seal.
fn opened(text: &[u8], name: &str, at: u64) -> Option<Vec<u8>> {
    let text = text.strip_prefix(BEGINNING.as_bytes())?;
    let (is, rest) = text.split_at_checked(SEAL)?;
    let rest = rest.strip_prefix(b"\",")?;
    (is == seal(rest, name, at).as_bytes()).then(|| [b"{", rest].concat())
}

/// Ties a text to its index and its place there.
fn seal(rest: &[u8], name: &str, at: u64) -> String {
    let mut sum = Sha256::new();
    sum.update(name.as_bytes());
    sum.update(at.to_le_bytes());
    sum.update(rest);
    let mut first = [0; SEAL / 2];
    first.copy_from_slice(&sum.finalize()[..SEAL / 2]);
    format!("{:0SEAL$x}", u64::from_be_bytes(first))
}
