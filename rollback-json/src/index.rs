//! The index: what queries filter on, a line for each record, so that no record is read that is
//! not meant. Only a cache: never synced, made anew from the records whenever it is in doubt.
//!
//! A line is written before the state that commits what it says; what is committed and not yet
//! on a line is in the state's own pending entry. So within one boot a reader that knows both
//! misses nothing, whoever was killed when. After a power cut the boot is another one, and the
//! index is not believed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rollback_core::deployment::{Deployment, Outcome, TriggerKind};
use rollback_core::error::StoreError;
use rollback_core::history::{Query, Sequence, Summary, SummaryRules};
use rollback_core::id::{BackendKind, DeploymentId, ShortText};
use rollback_core::time::Timestamp;
use rollback_fs::{durable, system};
use serde::{Deserialize, Serialize};

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
    /// What lists go by; none while it is in flight, and while this line is in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<Box<Summary>>,
    /// Why the record cannot be read; it is in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unreadable: Option<String>,
}

impl Row {
    pub(crate) fn of(d: &Deployment) -> Self {
        let new = d.new_deployment();
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
            summary: d.settlement().map(|_| Box::new(Summary::of(d))),
            unreadable: None,
        }
    }

    /// The same where the record may say more by now.
    pub(crate) fn in_doubt(mut self) -> Self {
        self.summary = None;
        self
    }

    /// Whether it says what the record says, or leaves that to the record.
    pub(crate) fn fits(&self, d: &Deployment) -> bool {
        let told = Self::of(d);
        *self == told || *self == told.in_doubt()
    }

    /// The same for a record that turned out to be damaged.
    pub(crate) fn unreadable(mut self, why: String) -> Self {
        self.unreadable = Some(why);
        self
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first one: the boot that it was begun in.
    Boot(String),
    Row(Row),
    Gone(Sequence),
    /// A file that is no record: its name, and why.
    Broken(String, String),
}

/// One shard's index, as far as it has been read.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) rows: BTreeMap<Sequence, Row>,
    /// Files that are no records, and why.
    pub(crate) broken: BTreeMap<String, String>,
    inode: u64,
    read: u64,
}

/// What a look at an index's file gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is up to date.
    Fresh,
    /// It is not there, of another boot, or no whole index.
    Rebuild,
}

impl Index {
    /// Reads what was added since the last look.
    pub(crate) fn refresh(&mut self, path: &Path) -> Result<Look, StoreError> {
        let look = self
            .try_refresh(path)
            .map_err(|e| system("an index of the history cannot be read", path, e))?;
        if look == Look::Rebuild {
            // What was read of it up to there is not believed either.
            *self = Self::default();
        }
        Ok(look)
    }

    fn try_refresh(&mut self, path: &Path) -> io::Result<Look> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Look::Rebuild),
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        if meta.ino() != self.inode || meta.len() < self.read {
            *self = Self {
                inode: meta.ino(),
                ..Self::default()
            };
        }
        if meta.len() == self.read && self.read > 0 {
            return Ok(Look::Fresh);
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut added = Vec::new();
        file.read_to_end(&mut added)?;
        // A line that is being written right now is read the next time.
        let whole = added.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        for line in added[..whole].split_inclusive(|b| *b == b'\n') {
            let first = self.read == 0;
            self.read += line.len() as u64;
            match serde_json::from_slice(line) {
                Ok(Line::Boot(boot)) if first && boot == begun() => {}
                Ok(Line::Row(row)) if !first => {
                    self.rows.insert(row.sequence, row);
                }
                Ok(Line::Gone(sequence)) if !first => {
                    self.rows.remove(&sequence);
                }
                Ok(Line::Broken(name, why)) if !first => {
                    self.broken.insert(name, why);
                }
                _ => return Ok(Look::Rebuild),
            }
        }
        Ok(if self.read == 0 {
            Look::Rebuild
        } else {
            Look::Fresh
        })
    }

    /// Writes the whole index anew. For who holds the workload's write lock.
    pub(crate) fn save(&mut self, path: &Path) -> Result<(), StoreError> {
        let fail = |e| system("an index of the history cannot be written", path, e);
        let mut text = line(&Line::Boot(begun()));
        for row in self.rows.values() {
            text.extend(line(&Line::Row(row.clone())));
        }
        for (name, why) in &self.broken {
            text.extend(line(&Line::Broken(name.clone(), why.clone())));
        }
        // Named so that it is found if this writer is killed.
        let aside = path.with_file_name(format!("{}index", durable::TEMPORARY));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&aside)?;
            file.write_all(&text)?;
            fs::rename(&aside, path)?;
            file.metadata()
        };
        let meta = write().map_err(fail)?;
        self.inode = meta.ino();
        self.read = text.len() as u64;
        Ok(())
    }
}

/// Adds a row. For who holds the workload's write lock.
pub(crate) fn add(path: &Path, row: &Row) -> Result<(), StoreError> {
    append(path, &Line::Row(row.clone()))
}

/// Takes a row away. For who holds the workload's write lock.
pub(crate) fn gone(path: &Path, sequence: Sequence) -> Result<(), StoreError> {
    append(path, &Line::Gone(sequence))
}

fn append(path: &Path, what: &Line) -> Result<(), StoreError> {
    let write = || {
        // Not created here: an index that is not there is made whole by whoever reads next.
        let mut file = match OpenOptions::new().append(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        file.write_all(&line(what))
    };
    write().map_err(|e| system("an index of the history cannot be written", path, e))
}

fn line(what: &Line) -> Vec<u8> {
    // Plain data always has a JSON text; an empty line would only cause a rebuild.
    let mut text = serde_json::to_vec(what).unwrap_or_default();
    text.push(b'\n');
    text
}

/// What an index begins with: the boot that it was made in, and what its lines say. One of another
/// library's is made anew.
fn begun() -> String {
    format!("{} with summaries {}", this_boot(), SummaryRules::NUMBER)
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
