//! [`Practised`]: when a rollback was last tried out, by the records. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deployment::{Outcome, Purpose};
use crate::health::millis;
use crate::history::Summary;
use crate::id::DeploymentId;
use crate::policy::DrillRule;
use crate::time::Timestamp;

/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// A drill that went well: that a rollback was practised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Practised {
    /// The rollback that was practised.
    pub drill: DeploymentId,
    /// When it had gone back; when it ended, if it was dry.
    pub at: Timestamp,
    /// How long it took.
    #[serde(rename = "took_ms", with = "millis")]
    pub took: Duration,
    /// How far it went.
    pub extent: Extent,
}

/// How far a drill goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Extent {
    /// There and back, each time judged.
    Real,
    /// Up to the switch.
    Dry,
}

impl Practised {
    /// The newest drill among these that went well.
    pub fn newest(newest_first: &[Summary]) -> Option<Self> {
        newest_first.iter().find_map(|d| {
            let (drill, extent) = match &d.purpose {
                // It went well once it had come back.
                Some(Purpose::DrillEnds { drill }) if d.went_live() => {
                    let drill = newest_first.iter().find(|d| d.id == *drill)?;
                    (drill, Extent::Real)
                }
                Some(Purpose::DryDrill) => (d, Extent::Dry),
                _ => return None,
            };
            let settled = drill.settled.as_ref()?;
            (settled.outcome == Outcome::Succeeded).then(|| Self {
                drill: drill.id.clone(),
                at: settled.at,
                took: settled.at.since(drill.opened_at),
                extent,
            })
        })
    }

    /// Whether it is too long ago by this rule.
    pub fn is_overdue(&self, rule: &DrillRule, now: Timestamp) -> bool {
        now.since(self.at) > Duration::from_secs(u64::from(rule.days) * DAY)
    }

    /// For people: how long ago, and how long it took.
    pub fn told(&self, now: Timestamp) -> String {
        let ago = match now.since(self.at).as_secs() / DAY {
            0 => "today".to_owned(),
            1 => "1 day ago".to_owned(),
            days => format!("{days} days ago"),
        };
        format!("{ago}, {self}")
    }
}

impl fmt::Display for Practised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {:.1} s", self.took.as_secs_f64())?;
        match self.extent {
            Extent::Real => Ok(()),
            Extent::Dry => f.write_str(", up to the switch"),
        }
    }
}
