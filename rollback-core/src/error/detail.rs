//! [`Detail`]: the parts of an error's text, and its cause.

use std::error::Error as StdError;
use std::fmt;

#[derive(Debug)]
pub(super) struct Detail {
    pub(super) what: String,
    pub(super) subject: Option<String>,
    pub(super) advice: Option<String>,
    pub(super) source: Option<Box<dyn StdError + Send + Sync + 'static>>,
}

impl Detail {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            subject: None,
            advice: None,
            source: None,
        }
    }

    pub(super) fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }

    /// The text; `changed`: whether anything changed, where that is to be said.
    pub(super) fn fmt(&self, f: &mut impl fmt::Write, changed: Option<&str>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(subject) = &self.subject {
            write!(f, ": {subject}")?;
        }
        if let Some(changed) = changed {
            write!(f, " ({changed})")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

/// The builders and getters of what has a `detail()` and a `detail_mut()`.
macro_rules! detail_builders {
    () => {
        /// Names what it happened to, in place of what was named before.
        #[must_use]
        pub fn on(mut self, subject: impl fmt::Display) -> Self {
            self.detail_mut().subject = Some(subject.to_string());
            self
        }

        /// What it happened to, where that is known.
        pub fn subject(&self) -> Option<&str> {
            self.detail().subject.as_deref()
        }

        /// Says what to do next, in place of what was said before.
        #[must_use]
        pub fn advice(mut self, advice: impl Into<String>) -> Self {
            self.detail_mut().advice = Some(advice.into());
            self
        }

        /// What to do next, where that was said by [`advice`](Self::advice).
        pub fn advised(&self) -> Option<&str> {
            self.detail().advice.as_deref()
        }

        /// Keeps the cause: it becomes the `source()`, so the text need not repeat it.
        #[must_use]
        pub fn because(
            mut self,
            source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
        ) -> Self {
            self.detail_mut().source = Some(source.into());
            self
        }
    };
}

pub(super) use detail_builders;
