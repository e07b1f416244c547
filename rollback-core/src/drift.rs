//! Drift: how what is live differs from what was recorded. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::{Instance, Live, Observation, Running};
use crate::context::RolloutProgress;
use crate::release::{Facet, Release};

/// One difference between two releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// What runs is another artifact: another commit, image or unit file.
    Artifact {
        /// Before, for people.
        from: String,
        /// After, for people.
        to: String,
    },
    /// A facet came, went or differs.
    Facet {
        /// The facet's name, as in the release.
        name: String,
        /// For a table the keys that differ; empty for a text. Never values.
        keys: Vec<String>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact { from, to } => write!(f, "artifact {from} -> {to}"),
            Self::Facet { name, keys } if keys.is_empty() => write!(f, "{name} differs"),
            Self::Facet { name, keys } => write!(f, "{name}: {}", keys.join(", ")),
        }
    }
}

/// How two releases differ, in a stable order; empty when they are the same release.
pub fn changes(from: &Release, to: &Release) -> Vec<Change> {
    let mut changes = Vec::new();
    if from.artifact().digest != to.artifact().digest {
        changes.push(Change::Artifact {
            from: from.to_string(),
            to: to.to_string(),
        });
    }
    let names: BTreeSet<&String> = from.facets().keys().chain(to.facets().keys()).collect();
    for name in names {
        let (a, b) = (from.facets().get(name), to.facets().get(name));
        if a == b {
            continue;
        }
        let keys = match (a, b) {
            (Some(Facet::Table(a)), Some(Facet::Table(b))) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                keys.into_iter()
                    .filter(|k| a.get(*k) != b.get(*k))
                    .cloned()
                    .collect()
            }
            (Some(Facet::Table(t)), None) | (None, Some(Facet::Table(t))) => {
                t.keys().cloned().collect()
            }
            _ => Vec::new(),
        };
        changes.push(Change::Facet {
            name: name.clone(),
            keys,
        });
    }
    changes
}

/// How what is live differs from what was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "drift", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Drift {
    /// It does not.
    None,
    /// Nothing was on record to compare with.
    NoRecord,
    /// What was recorded is not there.
    Missing,
    /// It is there and does not run.
    Stopped {
        /// What the platform says.
        why: String,
    },
    /// Something else is live.
    Replaced {
        /// The release that is live instead, for people.
        by: String,
    },
    /// It was changed in place.
    Changed {
        /// Each difference from what was recorded, never empty.
        changes: Vec<Change>,
    },
    /// What was recorded is what the platform is rolling out by itself: no drift, and not done yet.
    RollingOut {
        /// How far it is.
        progress: RolloutProgress,
    },
    /// Several things are live, or half of one.
    Mixed {
        /// What the backend says.
        why: String,
    },
}

impl Drift {
    /// Whether the record and the platform disagree.
    pub fn is_drift(&self) -> bool {
        !matches!(self, Self::None | Self::NoRecord | Self::RollingOut { .. })
    }

    /// Whether there may be another release than the recorded one, or none is on record.
    pub(crate) fn is_another(&self) -> bool {
        match self {
            Self::None | Self::Missing | Self::Stopped { .. } | Self::RollingOut { .. } => false,
            Self::NoRecord | Self::Replaced { .. } | Self::Changed { .. } | Self::Mixed { .. } => {
                true
            }
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("as recorded"),
            Self::NoRecord => f.write_str("nothing on record"),
            Self::Missing => f.write_str("what was deployed is not there any more"),
            Self::Stopped { why } => write!(f, "it does not run: {why}"),
            Self::Replaced { by } => write!(f, "{by} was put in its place"),
            Self::Changed { changes } => {
                let list: Vec<String> = changes.iter().map(ToString::to_string).collect();
                f.write_str(&list.join("; "))
            }
            Self::RollingOut { progress } => write!(f, "it is being rolled out: {progress}"),
            Self::Mixed { why } => f.write_str(why),
        }
    }
}

/// Compares what was recorded as live with what a backend sees.
pub fn drift(recorded: Option<&Instance>, observed: &Observation) -> Drift {
    let sighting = match &observed.live {
        Live::Mixed(_, why) => return Drift::Mixed { why: why.clone() },
        Live::Nothing if recorded.is_some() => return Drift::Missing,
        Live::Nothing => return Drift::NoRecord,
        Live::One(sighting) => sighting,
        Live::RollingOut(rolling) => &rolling.to,
    };
    let Some(recorded) = recorded else {
        return Drift::NoRecord;
    };
    if recorded.handle != sighting.instance.handle {
        return Drift::Replaced {
            by: sighting.instance.release.to_string(),
        };
    }
    let changes = changes(&recorded.release, &sighting.instance.release);
    if !changes.is_empty() {
        return Drift::Changed { changes };
    }
    if let Live::RollingOut(rolling) = &observed.live {
        let progress = rolling.progress;
        return Drift::RollingOut { progress };
    }
    match &sighting.running {
        Running::No(why) => Drift::Stopped { why: why.clone() },
        _ => Drift::None,
    }
}
