//! Comparing: how two releases, or two deployments, differ in full. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use crate::deployment::{Deployment, Outcome};
use crate::health::Verdict;
use crate::id::DeploymentId;
use crate::release::{self, Artifact, Facet, FacetValue, Release};

/// Lines around a change in a text facet's diff.
const CONTEXT: usize = 3;

/// One row of a table facet that differs. `None`: the row is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowChange {
    /// The row's key, as the backend names it: a variable, a port.
    pub key: String,
    /// Before. A secret is a fingerprint, never a value.
    pub from: Option<FacetValue>,
    /// After. A secret is a fingerprint here, too.
    pub to: Option<FacetValue>,
}

/// How one facet differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FacetDiff {
    /// A text; one that is not there counts as empty.
    Text {
        /// The facet's name, as in the release.
        name: String,
        /// A unified diff, three lines of context.
        unified: String,
    },
    /// A table; one that is not there counts as empty.
    Table {
        /// The facet's name, as in the release.
        name: String,
        /// The rows that differ, by key.
        rows: Vec<RowChange>,
    },
}

impl FacetDiff {
    /// The name of the facet that differs.
    pub fn name(&self) -> &str {
        match self {
            Self::Text { name, .. } | Self::Table { name, .. } => name,
        }
    }
}

/// How two releases differ. Empty: they are the same release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diff {
    /// The artifacts, before and after, where they differ.
    pub artifact: Option<(Artifact, Artifact)>,
    /// The facets that differ, by name.
    pub facets: Vec<FacetDiff>,
}

impl Diff {
    /// How `to` differs from `from`; a release that is not there counts as an empty one.
    pub fn between(from: Option<&Release>, to: Option<&Release>) -> Self {
        let artifact = match (from.map(Release::artifact), to.map(Release::artifact)) {
            (Some(from), Some(to)) if from.digest != to.digest => Some((from.clone(), to.clone())),
            _ => None,
        };
        let names: BTreeSet<&String> = [from, to]
            .into_iter()
            .flatten()
            .flat_map(|r| r.facets().keys())
            .collect();
        let facet =
            |r: Option<&Release>, name: &String| r.and_then(|r| r.facets().get(name).cloned());
        let facets = names
            .into_iter()
            .filter_map(|name| facet_diff(name, facet(from, name), facet(to, name)))
            .collect();
        Self { artifact, facets }
    }

    /// The commits between the sources of the two artifacts, as git writes them (`a..b`) and with the
    /// repository where that is known; `None` where one of them does not say of what it was built.
    pub fn commits(&self) -> Option<String> {
        let (from, to) = self.artifact.as_ref()?;
        release::commits(from, to)
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.artifact.is_none() && self.facets.is_empty()
    }
}

fn facet_diff(name: &str, from: Option<Facet>, to: Option<Facet>) -> Option<FacetDiff> {
    if from == to {
        return None;
    }
    let name = name.to_owned();
    match (from, to) {
        (Some(Facet::Table(from)), Some(Facet::Table(to))) => Some(table(name, &from, &to)),
        (Some(Facet::Table(from)), None) => Some(table(name, &from, &Default::default())),
        (None, Some(Facet::Table(to))) => Some(table(name, &Default::default(), &to)),
        (from, to) => {
            let (from, to) = (as_text(from), as_text(to));
            let unified = TextDiff::from_lines(&from, &to)
                .unified_diff()
                .context_radius(CONTEXT)
                .header("before", "after")
                .to_string();
            Some(FacetDiff::Text { name, unified })
        }
    }
}

type Table = std::collections::BTreeMap<String, FacetValue>;

fn table(name: String, from: &Table, to: &Table) -> FacetDiff {
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let rows = keys
        .into_iter()
        .filter(|k| from.get(*k) != to.get(*k))
        .map(|k| RowChange {
            key: k.clone(),
            from: from.get(k).cloned(),
            to: to.get(k).cloned(),
        })
        .collect();
    FacetDiff::Table { name, rows }
}

/// A facet that is a table here and a text there is compared as lines.
fn as_text(facet: Option<Facet>) -> String {
    match facet {
        Some(Facet::Text(text)) => text,
        Some(Facet::Table(table)) => table
            .iter()
            .map(|(k, v)| format!("{k}={}\n", shown(v)))
            .collect(),
        None => String::new(),
    }
}

fn shown(value: &FacetValue) -> &str {
    match value {
        FacetValue::Plain(v) => v,
        FacetValue::Fingerprint(_) => "(secret)",
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if let Some((from, to)) = &self.artifact {
            lines.push(format!("artifact {from} -> {to}"));
            lines.extend(self.commits().map(|commits| format!("commits {commits}")));
        }
        for facet in &self.facets {
            lines.push(facet.to_string());
        }
        if lines.is_empty() {
            return f.write_str("no difference");
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for FacetDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { name, unified } => {
                write!(f, "{name}:\n{}", unified.trim_end())
            }
            Self::Table { name, rows } => {
                write!(f, "{name}:")?;
                for row in rows {
                    match (&row.from, &row.to) {
                        (Some(from), Some(to)) if secret(from) && secret(to) => {
                            write!(f, "\n  ~ {} = (secret, changed)", row.key)?;
                        }
                        (Some(from), Some(to)) => {
                            write!(f, "\n  ~ {} = {} -> {}", row.key, shown(from), shown(to))?;
                        }
                        (Some(from), None) => write!(f, "\n  - {} = {}", row.key, shown(from))?,
                        (None, Some(to)) => write!(f, "\n  + {} = {}", row.key, shown(to))?,
                        (None, None) => {}
                    }
                }
                Ok(())
            }
        }
    }
}

fn secret(value: &FacetValue) -> bool {
    matches!(value, FacetValue::Fingerprint(_))
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Side {
    /// The deployment that this side is of.
    pub deployment: DeploymentId,
    /// Its release, for people.
    pub release: String,
    /// How it ended; `None` in flight.
    pub outcome: Option<Outcome>,
    /// How its gate ended.
    pub verdict: Verdict,
    /// How long it took, in milliseconds; `None` in flight.
    pub duration_ms: Option<u64>,
}

impl Side {
    fn of(d: &Deployment) -> Self {
        Self {
            deployment: d.id().clone(),
            release: d
                .release()
                .map_or_else(|| "nothing".to_owned(), ToString::to_string),
            outcome: d.outcome(),
            verdict: d.verdict().clone(),
            duration_ms: d
                .duration()
                .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  ", self.deployment, self.release)?;
        match self.outcome {
            Some(outcome) => write!(f, "{outcome}, {}", self.verdict)?,
            None => f.write_str("in flight")?,
        }
        if let Some(ms) = self.duration_ms {
            write!(f, ", {ms} ms")?;
        }
        Ok(())
    }
}

/// How two deployments differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Comparison {
    /// The deployment that the differences start from.
    pub from: Side,
    /// The deployment that they lead to.
    pub to: Side,
    /// How their releases differ.
    #[serde(flatten)]
    pub diff: Diff,
}

impl Comparison {
    /// Compares two deployments, of one workload or of two.
    pub fn of(from: &Deployment, to: &Deployment) -> Self {
        Self {
            from: Side::of(from),
            to: Side::of(to),
            diff: Diff::between(from.release(), to.release()),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "- {}\n+ {}\n{}", self.from, self.to, self.diff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(digest: &str, facets: &[(&str, Facet)]) -> Release {
        let start = Release::new("git".parse().unwrap(), Artifact::new(digest, digest));
        facets
            .iter()
            .fold(start, |r, (name, facet)| r.with_facet(*name, facet.clone()))
    }

    #[test]
    fn texts_are_unified_diffs_and_secrets_are_never_shown() {
        let unit = |exec: &str| Facet::Text(format!("[Service]\nExecStart={exec}\nUser=api\n"));
        let env = |mode: &str, key: &str| {
            Facet::Table(
                [
                    ("MODE".to_owned(), FacetValue::Plain(mode.into())),
                    ("KEY".to_owned(), FacetValue::Fingerprint(key.into())),
                ]
                .into(),
            )
        };
        let a = release("1", &[("unit", unit("/a")), ("env", env("old", "f1"))]);
        let b = release("2", &[("unit", unit("/b")), ("env", env("new", "f2"))]);
        let text = Diff::between(Some(&a), Some(&b)).to_string();
        assert_eq!(
            text,
            "artifact 1 -> 2\n\
             env:\n  ~ KEY = (secret, changed)\n  ~ MODE = old -> new\n\
             unit:\n--- before\n+++ after\n@@ -1,3 +1,3 @@\n [Service]\n-ExecStart=/a\n+ExecStart=/b\n User=api"
        );
        assert!(Diff::between(Some(&a), Some(&a)).is_empty());
    }

    #[test]
    fn what_is_missing_counts_as_empty() {
        let table = Facet::Table([("A".to_owned(), FacetValue::Plain("1".into()))].into());
        let with = release("1", &[("env", table), ("note", Facet::Text("x\n".into()))]);
        let without = release("1", &[]);
        let gone = Diff::between(Some(&with), Some(&without));
        assert_eq!(gone.facets.len(), 2);
        assert!(gone.to_string().contains("- A = 1"), "{gone}");
        let first = Diff::between(None, Some(&with));
        assert!(first.to_string().contains("+ A = 1"), "{first}");
        assert_eq!(first.artifact, None);
    }
}
