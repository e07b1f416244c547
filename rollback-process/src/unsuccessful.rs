//! Why a program was not run, and how it ended that did not end with success.

use std::fmt;

/// A program that cannot be run as it is written: what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidProgram(&'static str);

impl InvalidProgram {
    pub(crate) fn new(why: &'static str) -> Self {
        Self(why)
    }
}

/// How a program ended that did not end with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It was not begun.
    NotRun,
    /// It was stopped: its time was over, it was cancelled, or its answer had no end.
    Stopped,
    /// It ended by itself, and said no.
    Failed,
}

/// A program did not end with success. Says how it ended, and the last 4 KiB of what it said, what
/// is secret masked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsuccessful {
    /// How it ended.
    pub ending: Ending,
    /// The same in words.
    pub how: String,
    /// What it said; empty if it said nothing.
    pub output: String,
}

impl Unsuccessful {
    pub(crate) fn new(ending: Ending, how: impl Into<String>) -> Self {
        Self {
            ending,
            how: how.into(),
            output: String::new(),
        }
    }

    pub(crate) fn saying(mut self, output: String) -> Self {
        self.output = output;
        self
    }
}

impl fmt::Display for Unsuccessful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)?;
        match self.output.trim_end() {
            "" => Ok(()),
            output => write!(f, "\n{output}"),
        }
    }
}

impl std::error::Error for Unsuccessful {}
