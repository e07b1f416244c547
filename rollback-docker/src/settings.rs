//! A container's or a service's settings as rows, and how a release records them.
//!
//! A row is a name such as `port:80/tcp`, `bind:/data` or `restart`, and a value. A release keeps
//! them in the table `container` or `service`, variables in the table `env`. Where a value may be a secret
//! (variables, command lines, health checks, labels, log options) it keeps a keyed fingerprint, and
//! the value comes from today's configuration or from a container that still stands. A third table,
//! `by_hand`, names the rows that no configuration has set: they were found on a container that
//! was made by hand, and hold until a configuration says otherwise.

use std::collections::BTreeMap;

use rollback_core::release::{Artifact, Facet, FacetValue, Release};

use crate::config::Secret;
use crate::fingerprint::Key;

/// Settings by name, with their values.
pub(crate) type Rows = BTreeMap<String, String>;
/// Variables by name.
pub(crate) type Env = BTreeMap<String, Secret>;
/// A facet's rows.
pub(crate) type Table = BTreeMap<String, FacetValue>;

pub(crate) const CONTAINER: &str = "container";
pub(crate) const SERVICE: &str = "service";
pub(crate) const ENV: &str = "env";
pub(crate) const BY_HAND: &str = "by_hand";
pub(crate) const RESTART: &str = "restart";
pub(crate) const PLATFORM: &str = "platform";

/// Rows whose values may hold a secret.
pub(crate) fn is_secret(row: &str) -> bool {
    let secret = [
        "command",
        "entrypoint",
        "healthcheck",
        "label",
        "host:LogConfig",
        "host:Mounts",
        "host:StorageOpt",
        "host:Annotations",
        "container_label",
        "mount",
        "task:LogDriver",
    ];
    secret.contains(&kind(row))
}

/// What a row is about. A configuration that says anything about it says everything about it.
pub(crate) fn kind(row: &str) -> &str {
    match row.split_once(':') {
        Some(("host" | "config" | "service" | "task" | "container", _)) | None => row,
        Some((kind, _)) => kind,
    }
}

/// A row as a release keeps it.
pub(crate) fn value(key: &Key, row: &str, value: &str) -> FacetValue {
    if is_secret(row) {
        FacetValue::Fingerprint(key.of(row, value))
    } else {
        FacetValue::Plain(value.to_owned())
    }
}

pub(crate) fn rows_table(key: &Key, rows: &Rows) -> Table {
    let rows = rows.iter();
    rows.map(|(row, v)| (row.clone(), value(key, row, v)))
        .collect()
}

pub(crate) fn env_table<'a>(key: &Key, env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Table {
    let print = |(name, value): (&str, &str)| {
        let print = FacetValue::Fingerprint(key.of(name, value));
        (name.to_owned(), print)
    };
    env.into_iter().map(print).collect()
}

pub(crate) fn table(release: &Release, facet: &str) -> Table {
    match release.facets().get(facet) {
        Some(Facet::Table(table)) => table.clone(),
        _ => Table::new(),
    }
}

/// The release with another table; an empty one is left out.
pub(crate) fn with_table(release: &Release, facet: &str, table: Table) -> Release {
    let mut out = Release::new(release.backend().clone(), release.artifact().clone());
    for (name, kept) in release.facets() {
        if name != facet {
            out = out.with_facet(name, kept.clone());
        }
    }
    if table.is_empty() {
        return out;
    }
    out.with_facet(facet, Facet::Table(table))
}

/// The release with another artifact.
pub(crate) fn with_artifact(release: &Release, artifact: Artifact) -> Release {
    let bare = Release::new(release.backend().clone(), artifact);
    let facets = release.facets().iter();
    facets.fold(bare, |made, (name, facet)| {
        made.with_facet(name, facet.clone())
    })
}

/// A row of a release, where its value is no secret.
pub(crate) fn plain(release: &Release, row: &str) -> Option<String> {
    match table(release, CONTAINER).remove(row) {
        Some(FacetValue::Plain(value)) => Some(value),
        _ => None,
    }
}

/// The release with these rows in place of those of the same names; `None` for no such row.
pub(crate) fn with_rows<'a>(
    release: &Release,
    rows: impl IntoIterator<Item = (&'a str, Option<String>)>,
) -> Release {
    let mut table = table(release, CONTAINER);
    for (row, value) in rows {
        match value {
            Some(value) => table.insert(row.to_owned(), FacetValue::Plain(value)),
            None => table.remove(row),
        };
    }
    with_table(release, CONTAINER, table)
}

/// A release's rows, kept in this facet, and its variables with their values: today's where they
/// have the recorded fingerprints, else those of what still stands. Fails with the names that nobody
/// has.
pub(crate) fn values(
    release: &Release,
    facet: &str,
    (rows, env): (&Rows, &Env),
    kept: &[(Rows, Env)],
    key: &Key,
) -> Result<(Rows, Env), Vec<String>> {
    let (mut found, mut variables, mut lost) = (Rows::new(), Env::new(), Vec::new());
    for (row, value) in table(release, facet) {
        let known = |print: &str| {
            let all = std::iter::once(rows).chain(kept.iter().map(|(rows, _)| rows));
            let mut all = all.filter_map(|rows| rows.get(&row));
            all.find(|v| key.of(&row, v) == print).cloned()
        };
        match value {
            FacetValue::Plain(value) => drop(found.insert(row, value)),
            FacetValue::Fingerprint(print) => match known(&print) {
                Some(value) => drop(found.insert(row, value)),
                None => lost.push(row),
            },
            _ => lost.push(row),
        }
    }
    for (name, value) in table(release, ENV) {
        let (FacetValue::Fingerprint(print) | FacetValue::Plain(print)) = value else {
            lost.push(name);
            continue;
        };
        let all = std::iter::once(env).chain(kept.iter().map(|(_, env)| env));
        let mut all = all.filter_map(|env| env.get(&name));
        match all.find(|v| key.of(&name, &v.0) == print) {
            Some(value) => drop(variables.insert(name, value.clone())),
            None => lost.push(name),
        }
    }
    if lost.is_empty() {
        Ok((found, variables))
    } else {
        Err(lost)
    }
}

/// A command line as one row.
pub(crate) fn argv(argv: &[String]) -> String {
    serde_json::Value::from(argv.to_vec()).to_string()
}
