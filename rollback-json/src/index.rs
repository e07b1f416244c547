//! The index: what queries filter on, a line for each record, so that no record is read that is
//! not meant. Only a cache: never synced, made anew from the records whenever it is in doubt.
//!
//! A line is written after the state that commits what it says; until then that is in the state's
//! own pending entry, and whoever writes next adds the line. So within one boot a reader that
//! knows both misses nothing, whoever was killed when. After a power cut the boot is another one,
//! and the index is not believed.
//!
//! It is read from its end, and no further than a page needs: a record's first line stands where
//! the record stands in the order.

mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rollback_core::deployment::{Deployment, Outcome, TriggerKind};
use rollback_core::error::StoreError;
use rollback_core::history::{Query, Sequence, Summary, SummaryRules};
use rollback_core::id::{BackendKind, DeploymentId, IdempotencyKey, ShortText};
use rollback_core::time::Timestamp;
use rollback_fs::{durable, owner, system};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

pub(crate) use line::Line;
use line::{HEADER, Header};

/// How much is read at first from the end; each further step reads twice as much.
const CHUNK: u64 = 16 * 1024;

/// How often a header is read that somebody may be writing just now.
const TRIES: usize = 4;

/// What queries filter on and counts need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) sequence: Sequence,
    pub(crate) id: DeploymentId,
    pub(crate) trigger: TriggerKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<BackendKind>,
    actor: ShortText,
    opened_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) took: Option<Duration>,
    /// Its idempotency key, empty where it has none; `None` in lines of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What lists go by; none while it is in flight, and while this line is in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<Unread>,
}

/// A summary that nobody has asked for yet: most rows are only filtered on, or counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Unread(Box<RawValue>);

impl Unread {
    fn of(d: &Deployment) -> Option<Self> {
        to_raw_value(&Summary::of(d)).map(Self).ok()
    }

    /// Whether the record may have this idempotency key: surely not only where the summary is of
    /// today's rules and says nothing like it.
    fn may_have(&self, key: &IdempotencyKey) -> bool {
        let (text, rules) = (self.0.get(), SummaryRules::NUMBER);
        !text.starts_with(&format!("{{\"v\":{rules},"))
            || serde_json::to_string(key).is_ok_and(|key| text.contains(&key))
    }

    /// `None`: it is no summary, and the record is asked.
    pub(crate) fn read(&self) -> Option<Summary> {
        serde_json::from_str(self.0.get()).ok()
    }
}

impl PartialEq for Unread {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Unread {}

impl Row {
    pub(crate) fn of(d: &Deployment) -> Self {
        let new = d.opening();
        Self {
            sequence: d.sequence(),
            id: d.id().clone(),
            trigger: d.trigger().kind(),
            backend: new.backend().cloned(),
            actor: d.actor().name().clone(),
            opened_at: new.opened_at,
            labels: new.labels.clone(),
            outcome: d.outcome(),
            took: d.duration(),
            key: Some(match &new.asked {
                Some(asked) => asked.key.to_string(),
                None => String::new(),
            }),
            summary: d.settlement().and_then(|_| Unread::of(d)),
        }
    }

    /// Whether the record may have this idempotency key.
    pub(crate) fn may_have(&self, key: &IdempotencyKey) -> bool {
        match (&self.summary, &self.key) {
            (Some(summary), _) => summary.may_have(key),
            (None, Some(own)) => own == key.as_str(),
            (None, None) => true,
        }
    }

    /// The same where the record may say more by now.
    pub(crate) fn in_doubt(mut self) -> Self {
        self.summary = None;
        self
    }

    /// Whether it says what the record says, or leaves that to the record.
    pub(crate) fn fits(&self, d: &Deployment) -> bool {
        let mut told = Self::of(d);
        if self.key.is_none() {
            told.key = None;
        }
        *self == told || *self == told.in_doubt()
    }

    /// Whether a query means it: as [`Query::matches`] says, service and target aside.
    pub(crate) fn matches(&self, query: &Query) -> bool {
        query
            .backend
            .as_ref()
            .is_none_or(|b| self.backend.as_ref() == Some(b))
            && query.outcome.is_none_or(|o| self.outcome == Some(o))
            && query.trigger.is_none_or(|t| self.trigger == t)
            && query.actor.as_ref().is_none_or(|a| *a == self.actor)
            && query
                .label
                .as_ref()
                .is_none_or(|(k, v)| self.labels.get(k) == Some(v))
            && query.since.is_none_or(|t| self.opened_at >= t)
            && query.until.is_none_or(|t| self.opened_at < t)
    }
}

/// One shard's index, as far as it has been read.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The newest row of each record; whole from `floor` on.
    pub(crate) rows: BTreeMap<Sequence, Row>,
    gone: BTreeSet<Sequence>,
    /// Files that are no records, and why.
    pub(crate) broken: BTreeMap<String, String>,
    /// Every row of this number and of those after it is known.
    pub(crate) floor: Sequence,
    /// Which file it was read from.
    name: String,
    /// The last one that had a line which nobody can have written.
    pub(crate) refused: String,
    /// What of that file has been read.
    low: u64,
    high: u64,
    chunk: u64,
}

/// What a look at an index's file gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is up to date.
    Fresh,
    /// It is not there, of another boot, a copy, or no whole index.
    Rebuild,
}

impl Index {
    /// Reads what was added since the last look.
    pub(crate) fn refresh(&mut self, path: &Path) -> Look {
        let look = self.try_refresh(path);
        self.looked(path, look)
    }

    /// One that cannot be read is as good as none: the records say the same.
    fn looked(&mut self, path: &Path, look: io::Result<Look>) -> Look {
        let look = look.unwrap_or_else(|error| {
            tracing::debug!(path = %path.display(), %error, "an index cannot be read");
            Look::Rebuild
        });
        if look == Look::Rebuild {
            self.give_up();
        }
        look
    }

    /// Believes nothing that was read.
    fn give_up(&mut self) {
        let refused = match &*self.name {
            "" => std::mem::take(&mut self.refused),
            _ => std::mem::take(&mut self.name),
        };
        *self = Self {
            refused,
            ..Self::default()
        };
    }

    fn try_refresh(&mut self, path: &Path) -> io::Result<Look> {
        let Some((file, header)) = open(path)? else {
            return Ok(Look::Rebuild);
        };
        if header.name == self.refused || (header.name == self.name && header.end < self.high) {
            return Ok(Look::Rebuild);
        }
        if header.name != self.name {
            *self = Self {
                refused: std::mem::take(&mut self.refused),
                name: header.name.clone(),
                low: header.end,
                high: header.end,
                floor: Sequence(u64::MAX),
                chunk: CHUNK,
                ..Self::default()
            };
        }
        let mut added = vec![0; usize::try_from(header.end - self.high).unwrap_or(0)];
        file.read_exact_at(&mut added, self.high)?;
        for text in added.split_inclusive(|b| *b == b'\n') {
            let Some(line) = Line::read(text, &self.name, self.high) else {
                return Ok(Look::Rebuild);
            };
            self.high += text.len() as u64;
            match line {
                Line::Row(row) | Line::Again(row) => {
                    self.rows.insert(row.sequence, row);
                }
                Line::Gone(sequence) => {
                    self.rows.remove(&sequence);
                    self.gone.insert(sequence);
                }
                Line::Broken(name, why) => {
                    self.broken.insert(name, why);
                }
            }
        }
        self.note_floor();
        Ok(Look::Fresh)
    }

    /// Tells one content of the index from another.
    pub(crate) fn mark(&self) -> (String, u64) {
        (self.name.clone(), self.high)
    }

    /// Whether nothing older is left to be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.low <= HEADER
    }

    fn note_floor(&mut self) {
        if self.is_whole() {
            self.floor = Sequence(0);
        }
    }

    /// Reads some more, older lines.
    pub(crate) fn extend(&mut self, path: &Path) -> Look {
        let look = self.try_extend(path);
        self.looked(path, look)
    }

    fn try_extend(&mut self, path: &Path) -> io::Result<Look> {
        let Some((file, header)) = open(path)? else {
            return Ok(Look::Rebuild);
        };
        if header.name != self.name {
            return Ok(Look::Rebuild);
        }
        let from = self.low.saturating_sub(self.chunk).max(HEADER);
        self.chunk *= 2;
        let mut bytes = vec![0; usize::try_from(self.low - from).unwrap_or(0)];
        file.read_exact_at(&mut bytes, from)?;
        // Unless it begins the file, the chunk begins within a line.
        let whole = match from {
            HEADER => 0,
            _ => match bytes.iter().position(|b| *b == b'\n') {
                Some(end) => end + 1,
                None => return Ok(Look::Fresh),
            },
        };
        let lines: Vec<_> = bytes[whole..].split_inclusive(|b| *b == b'\n').collect();
        for text in lines.into_iter().rev() {
            let at = self.low - text.len() as u64;
            let Some(line) = Line::read(text, &self.name, at) else {
                return Ok(Look::Rebuild);
            };
            self.low = at;
            self.add_older(line);
        }
        self.note_floor();
        Ok(Look::Fresh)
    }

    /// Takes a line that is older than all that are known.
    fn add_older(&mut self, line: Line) {
        match line {
            Line::Row(row) => {
                self.floor = self.floor.min(row.sequence);
                if !self.gone.contains(&row.sequence) {
                    self.rows.entry(row.sequence).or_insert(row);
                }
            }
            Line::Again(row) => {
                if !self.gone.contains(&row.sequence) {
                    self.rows.entry(row.sequence).or_insert(row);
                }
            }
            Line::Gone(sequence) => {
                if !self.rows.contains_key(&sequence) {
                    self.gone.insert(sequence);
                }
            }
            Line::Broken(name, why) => {
                self.broken.entry(name).or_insert(why);
            }
        }
    }

    /// Writes the whole index anew. For who holds the workload's write lock.
    pub(crate) fn save(&mut self, path: &Path) -> io::Result<()> {
        // Named so that it is found if this writer is killed.
        let aside = path.with_file_name(format!("{}index", durable::TEMPORARY));
        let _ = fs::remove_file(&aside);
        let file = owner::create(&aside)?;
        let mut header = Header::new(&file)?;
        let mut text = header.text().into_bytes();
        let rows = self.rows.values().cloned().map(Line::Row);
        let broken = self.broken.iter();
        let broken = broken.map(|(name, why)| Line::Broken(name.clone(), why.clone()));
        for line in rows.chain(broken) {
            text.extend(line.text(&header.name, text.len() as u64));
        }
        header.end = text.len() as u64;
        text.splice(..header.text().len(), header.text().into_bytes());
        (&file).write_all(&text)?;
        fs::rename(&aside, path)?;
        self.name = header.name;
        (self.low, self.high) = (HEADER, header.end);
        self.chunk = CHUNK;
        Ok(())
    }
}

/// Adds a line. For who holds the workload's write lock. An index that is not there or not sound
/// is made whole by whoever reads next.
pub(crate) fn add(path: &Path, line: &Line) -> Result<(), StoreError> {
    let Err(failed) = try_add(path, line) else {
        return Ok(());
    };
    // It is only a cache, and one that lacks a line would be believed.
    tracing::debug!(path = %path.display(), error = %failed, "an index is given up");
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(system(
            "an index of the history cannot be written",
            path,
            failed,
        )),
        _ => Ok(()),
    }
}

fn try_add(path: &Path, line: &Line) -> io::Result<()> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let Some(mut header) = Header::of(&file)? else {
        return Err(io::Error::other("it is no index of this boot"));
    };
    // What a killed writer had added and not made part of it.
    file.set_len(header.end)?;
    let text = line.text(&header.name, header.end);
    file.write_all_at(&text, header.end)?;
    header.end += text.len() as u64;
    file.write_all_at(header.text().as_bytes(), 0)
}

/// An index's file and its header, if it is one of this boot.
fn open(path: &Path) -> io::Result<Option<(File, Header)>> {
    for _ in 0..TRIES {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        if let Some(header) = Header::of(&file)?
            && file.metadata()?.len() >= header.end
        {
            return Ok(Some((file, header)));
        }
        std::thread::yield_now();
    }
    Ok(None)
}

/// This boot of the machine.
pub(crate) fn this_boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|s| s.trim().to_owned())
            // Without one, no index outlives this process.
            .unwrap_or_else(|_| format!("process {}", std::process::id()))
    })
}
