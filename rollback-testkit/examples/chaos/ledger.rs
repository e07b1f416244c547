//! [`Ledger`]: what was tried, and what was acknowledged, as the programs saw it. It lies outside
//! of what is crashed, and a line is on the disk before what it says counts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    /// The store acknowledged a deployment's opening.
    Begun {
        workload: String,
        deployment: String,
    },
    /// The store acknowledged an event, or the settlement.
    Written { deployment: String, event: String },
    /// A run's report.
    Reported {
        deployment: String,
        outcome: String,
        live: Option<String>,
    },
    /// Something is about to be set: by whom, what, its new value.
    Setting {
        by: u64,
        what: String,
        value: String,
    },
    /// It was acknowledged, or `ok` is false: it was refused and nothing was changed.
    Set {
        by: u64,
        what: String,
        value: String,
        ok: bool,
    },
    /// A note was acknowledged.
    Noted { deployment: String, text: String },
    /// This program is dead: what it was about to set may be set or not.
    Dead { by: u64 },
    /// The disk is about to be cut off: while the kernel does so, it says of some calls that they
    /// were made which it then forgets. A disk without power says nothing.
    Cutting,
    /// It is there again.
    Back,
    /// Something happened that must not.
    Wrong { class: String, what: String },
}

/// A line and when it was written, in microseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct Stamped {
    at: u128,
    #[serde(flatten)]
    line: Line,
}

/// The log, open for adding to.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<File>);

impl Ledger {
    /// Opens it, makes it if need be.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Adds a line; it is durable then.
    pub(crate) fn add(&self, line: &Line) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let stamped = Stamped {
            at: now.map_or(0, |now| now.as_micros()),
            line: line.clone(),
        };
        let mut text = serde_json::to_string(&stamped).unwrap();
        text.push('\n');
        let mut file = self.0.lock().unwrap_or_else(|e| e.into_inner());
        // One write: several programs append to the same file.
        file.write_all(text.as_bytes()).unwrap();
        file.sync_data().unwrap();
    }

    /// Adds that something must not have happened.
    pub(crate) fn wrong(&self, class: &str, what: impl ToString) {
        self.add(&Line::Wrong {
            class: class.to_owned(),
            what: what.to_string(),
        });
    }
}

/// Whether others were about to set the same at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    None,
    Others,
}

/// What a log says.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Every deployment whose opening was acknowledged, in their order, and its workload.
    pub(crate) begun: Vec<(String, String)>,
    /// How often each of its events was acknowledged.
    pub(crate) events: BTreeMap<String, BTreeMap<String, usize>>,
    /// How runs were reported to end.
    pub(crate) reported: BTreeMap<String, String>,
    /// Settings whose value is certain.
    pub(crate) settings: BTreeMap<String, String>,
    /// Notes, by deployment.
    pub(crate) notes: BTreeMap<String, Vec<String>>,
    /// What must not have happened: its class, and what.
    pub(crate) wrong: Vec<(String, String)>,
    /// Between [`Line::Cutting`] and [`Line::Back`].
    cutting: bool,
    /// Who is about to set what.
    open: BTreeMap<(u64, String), Company>,
}

impl Told {
    /// Reads a log. A line that a kill cut short says nothing.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut told = Self::default();
        for line in std::fs::read_to_string(path)?.lines() {
            if let Ok(Stamped { line, .. }) = serde_json::from_str(line) {
                told.take(line);
            }
        }
        Ok(told)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Cutting => self.cutting = true,
            Line::Back => self.cutting = false,
            // Not acknowledged: it came too late. What was being set is set or not.
            Line::Begun { .. }
            | Line::Written { .. }
            | Line::Reported { .. }
            | Line::Noted { .. }
                if self.cutting => {}
            Line::Set { ref what, .. } if self.cutting => {
                self.settings.remove(what);
            }
            Line::Begun {
                workload,
                deployment,
            } => {
                self.begun.push((deployment, workload));
            }
            Line::Written { deployment, event } => {
                *self
                    .events
                    .entry(deployment)
                    .or_default()
                    .entry(event)
                    .or_default() += 1;
            }
            Line::Reported {
                deployment,
                outcome,
                ..
            } => {
                self.reported.insert(deployment, outcome);
            }
            Line::Setting { by, what, .. } => {
                self.settings.remove(&what);
                // With two under way at once nobody knows which of them came last.
                let mut alone = true;
                for ((_, other), with) in &mut self.open {
                    if *other == what {
                        alone = false;
                        *with = Company::Others;
                    }
                }
                let with = if alone {
                    Company::None
                } else {
                    Company::Others
                };
                self.open.insert((by, what), with);
            }
            Line::Set {
                by,
                what,
                value,
                ok,
            } => {
                let with = self.open.remove(&(by, what.clone()));
                if ok && with != Some(Company::Others) {
                    self.settings.insert(what, value);
                }
            }
            Line::Noted { deployment, text } => {
                self.notes.entry(deployment).or_default().push(text);
            }
            Line::Dead { by } => self.open.retain(|(who, _), _| who >> 32 != by),
            Line::Wrong { class, what } => self.wrong.push((class, what)),
        }
    }
}
