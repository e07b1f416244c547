//! [`Tool`]: which compose there is.

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::surroundings::Surroundings;

/// The generations of compose, which differ in names, labels and what they print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// `docker-compose` 1, in Python. It prints YAML.
    First,
    /// The plugin, `docker compose`, from version 2 on. It prints JSON if it is asked to.
    Second,
}

/// A compose that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The program, and what comes before its own arguments.
    pub(crate) argv: Vec<String>,
    /// As it says itself, such as `1.29.2`.
    pub(crate) version: String,
    pub(crate) generation: Generation,
}

impl Tool {
    /// What a person's `up` would most likely be: the plugin where there is one, else the program of
    /// its own.
    pub(crate) async fn find(
        cx: &Context,
        chosen: Option<&[String]>,
        around: &Surroundings,
    ) -> Result<Self, BackendError> {
        let usual = [vec!["docker", "compose"], vec!["docker-compose"]];
        let usual = usual.map(|argv| argv.into_iter().map(str::to_owned).collect());
        let candidates: Vec<Vec<String>> = match chosen {
            Some(chosen) => vec![chosen.to_vec()],
            None => usual.into(),
        };
        for argv in &candidates {
            cx.check()?;
            let asked = around.run(cx, argv, &["version", "--short"]).await;
            let Ok(version) = asked else { continue };
            if let Some(tool) = Self::of(argv, version.trim()) {
                return Ok(tool);
            }
        }
        let tried: Vec<String> = candidates.iter().map(|argv| argv.join(" ")).collect();
        Err(
            BackendError::new(BackendErrorKind::NotFound, "there is no compose here")
                .on(tried.join(", "))
                .advice("install docker's compose plugin, or Debian's docker-compose")
                .untouched(),
        )
    }

    fn of(argv: &[String], version: &str) -> Option<Self> {
        let version = version.trim_start_matches('v');
        let major: u32 = version.split('.').next()?.parse().ok()?;
        Some(Self {
            argv: argv.to_vec(),
            version: version.to_owned(),
            generation: match major {
                0 => return None,
                1 => Generation::First,
                _ => Generation::Second,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_tells_the_generation() {
        let generation = |version: &str| Tool::of(&[], version).map(|tool| tool.generation);
        assert_eq!(generation("1.29.2"), Some(Generation::First));
        assert_eq!(generation("v2.17.3"), Some(Generation::Second));
        assert_eq!(generation("5.0.0"), Some(Generation::Second));
        assert_eq!(generation("unknown"), None);
    }
}
