//! [`Report`]: each figure is printed as soon as it is measured.

use std::fmt::Display;
use std::path::Path;

use serde::Serialize;

use crate::figure::Figure;

/// As wide as the longest name of a figure.
const WIDTH: usize = 84;

/// What has been measured, of what was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(skip)]
    areas: Vec<String>,
    figures: Vec<Figure>,
}

impl Report {
    /// Of these areas; of all, where none is named.
    pub(crate) fn of(areas: Vec<String>) -> Self {
        println!(
            "{:<WIDTH$} {:>10} {:>10} {:>4} {:>9} {:>8}  quartiles",
            "figure (medians)", "value", "baseline", "", "ratio", "bound"
        );
        let figures = Vec::new();
        Self { areas, figures }
    }

    /// Whether an area is to be measured.
    pub(crate) fn wants(&self, area: &str) -> bool {
        self.areas.is_empty() || self.areas.iter().any(|a| a == area)
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        let f = &figure;
        println!(
            "{:<WIDTH$} {:>10.2} {:>10.2} {:>4} {:>8.2}x {:>8}  {:.2}-{:.2}",
            f.name,
            f.value,
            f.baseline,
            f.unit,
            f.ratio,
            f.bound.as_deref().unwrap_or("-"),
            f.spread.0,
            f.spread.1
        );
        self.figures.push(figure);
    }

    /// The figure of an area, or why it cannot be had here.
    pub(crate) fn add_or_say(&mut self, area: &str, figure: Result<Figure, String>) {
        match figure {
            Ok(figure) => self.add(figure),
            Err(why) => self.say(format!("{area}: skipped: {}", why.trim())),
        }
    }

    /// What explains the figures, and is none itself.
    pub(crate) fn say(&self, line: impl Display) {
        println!("  {line}");
    }

    pub(crate) fn write(&self, path: &Path) {
        let report = serde_json::to_vec_pretty(self).unwrap();
        std::fs::write(path, report).unwrap();
    }
}
