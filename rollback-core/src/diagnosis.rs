//! [`Diagnosis`]: what was seen of a release that failed, before it was touched.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::millis;
use crate::time::Timestamp;

/// Most lines of a log that a diagnosis has: the last ones.
pub const MAX_LOG_LINES: usize = 40;

/// Most bytes of text that a diagnosis has in all: 16 KiB.
pub const MAX_DIAGNOSIS: usize = 16 * 1024;

/// Most attempts of a gate that a diagnosis has: the first ones, and more of the last.
const MAX_ATTEMPTS: usize = 20;

/// Most facts that a platform tells.
const MAX_FACTS: usize = 32;

/// Longest name of a fact, in bytes.
const MAX_NAME: usize = 64;

/// Most bytes of one attempt's text.
const MAX_SAW: usize = 1024;

/// What was seen of a release that failed, before it was touched: afterwards nobody can look any
/// more. Kept short and without secrets, and recorded at best effort.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The gate's attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// How many attempts between the first and the last ones are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// What the platform has to say.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub platform: Words,
}

/// One look of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// When it began, by the engine's clock.
    pub at: Timestamp,
    /// How long it took.
    #[serde(with = "millis")]
    pub took: Duration,
    /// What was seen.
    pub saw: String,
}

/// A platform's own words about an instance: how it ended, and what it said last. The backend keeps
/// secrets out, with [`Secrets`](crate::masking::Secrets).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Words {
    /// Facts by name, such as `exit_code`, `oom_killed`, `restarts`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// The last lines of its log, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Words {
    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }

    /// Adds the last lines of a log.
    #[must_use]
    pub fn log(mut self, text: &str) -> Self {
        self.log.extend(text.lines().map(str::to_owned));
        let more = self.log.len().saturating_sub(MAX_LOG_LINES);
        self.log.drain(..more);
        self
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.log.is_empty()
    }
}

impl Attempt {
    /// What was seen at `at`, in so long.
    pub fn new(at: Timestamp, took: Duration, saw: &str) -> Self {
        let saw = head(saw, MAX_SAW).to_owned();
        Self { at, took, saw }
    }
}

impl Diagnosis {
    /// What the gate and the platform saw, cut to [`MAX_LOG_LINES`] and [`MAX_DIAGNOSIS`].
    pub fn new(mut attempts: Vec<Attempt>, mut platform: Words) -> Self {
        let left_out = attempts.len().saturating_sub(MAX_ATTEMPTS);
        let first = MAX_ATTEMPTS / 4;
        attempts.drain(first.min(attempts.len())..(first + left_out).min(attempts.len()));
        let mut room = MAX_DIAGNOSIS;
        // What killed it stands at the end of its log.
        let mut log: Vec<String> = Vec::new();
        for line in platform.log.iter().rev().take(MAX_LOG_LINES) {
            let line = head(line, MAX_SAW);
            if line.len() > room / 2 {
                break;
            }
            room -= line.len();
            log.push(line.to_owned());
        }
        log.reverse();
        platform.log = log;
        let facts = std::mem::take(&mut platform.facts).into_iter();
        let facts = facts.take(MAX_FACTS);
        platform.facts = facts
            .map(|(name, text)| (head(&name, MAX_NAME).to_owned(), text))
            .collect();
        for text in platform.facts.values_mut() {
            cut(text, &mut room);
        }
        for attempt in &mut attempts {
            cut(&mut attempt.saw, &mut room);
        }
        Self {
            attempts,
            left_out,
            platform,
        }
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.platform.is_empty()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for attempt in &self.attempts {
            let saw = attempt.saw.replace('\n', "; ");
            lines.push(format!("{} {saw} (in {:.1?})", attempt.at, attempt.took));
        }
        if self.left_out > 0 {
            lines.push(format!("{} more looks are left out", self.left_out));
        }
        for (name, value) in &self.platform.facts {
            lines.push(format!("{name}: {value}"));
        }
        lines.extend(self.platform.log.iter().map(|line| format!("| {line}")));
        f.write_str(&lines.join("\n"))
    }
}

/// At most the first `most` bytes.
fn head(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Cuts a text to what room is left, and takes that.
fn cut(text: &mut String, room: &mut usize) {
    let end = head(text, *room).len();
    text.truncate(end);
    *room -= end;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_is_short_and_keeps_what_killed_it() {
        let at: Timestamp = "2026-03-15T14:30:22Z".parse().unwrap();
        let saw = "é".repeat(5_000);
        let attempts = (0..100).map(|n| Attempt::new(at, Duration::from_secs(n), &saw));
        let log: Vec<String> = (0..500)
            .map(|n| format!("{n} {}", "x".repeat(300)))
            .collect();
        let words = Words::default().fact("exit_code", 137).log(&log.join("\n"));
        let diagnosis = Diagnosis::new(attempts.collect(), words);
        assert_eq!(diagnosis.attempts.len(), 20);
        assert_eq!(diagnosis.left_out, 80);
        assert_eq!(diagnosis.attempts[4].took, Duration::from_secs(4));
        assert_eq!(diagnosis.attempts[5].took, Duration::from_secs(85));
        assert!(diagnosis.platform.log.len() <= MAX_LOG_LINES);
        assert!(diagnosis.platform.log.last().unwrap().starts_with("499 "));
        assert_eq!(diagnosis.platform.facts["exit_code"], "137");
        let texts = diagnosis.attempts.iter().map(|a| &a.saw);
        let texts = texts.chain(&diagnosis.platform.log);
        assert!(texts.map(String::len).sum::<usize>() <= MAX_DIAGNOSIS);
        let json = serde_json::to_string(&diagnosis).unwrap();
        assert_eq!(serde_json::from_str::<Diagnosis>(&json).unwrap(), diagnosis);
    }
}
