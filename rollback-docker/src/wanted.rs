//! [`Wanted`]: what a configuration says, and an artifact with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::{Facet, FacetValue, Release};

use crate::config::Secret;
use crate::fingerprint::Key;
use crate::settings::{
    BY_HAND, ENV, Env, Rows, Table, env_table, is_secret, kind, rows_table, table, with_table,
};

/// Settings and variables that a program has configured, and of which kinds it says anything at
/// all. `Debug` hides values.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) rows: Rows,
    pub(crate) env: Env,
    /// By the name of their facet.
    pub(crate) texts: BTreeMap<String, String>,
    said: BTreeSet<String>,
    is_complete: bool,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(row, value): (&String, &String)| match is_secret(row) {
            true => (row.clone(), "***".to_owned()),
            false => (row.clone(), value.clone()),
        };
        f.debug_struct("Wanted")
            .field("env", &self.env)
            .field("settings", &self.rows.iter().map(shown).collect::<Rows>())
            .finish_non_exhaustive()
    }
}

impl Wanted {
    pub(crate) fn row(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.said.insert(kind(&name).to_owned());
        self.rows.insert(name, value.into());
    }

    pub(crate) fn env(&mut self, name: String, value: String) {
        self.env.insert(name, Secret(value));
        self.said.insert(ENV.to_owned());
    }

    /// Says that this kind of settings is what rows of it say, and nothing where there is none.
    pub(crate) fn speak_of(&mut self, kind: &str) {
        self.said.insert(kind.to_owned());
    }

    /// Says that there are no settings of this kind.
    pub(crate) fn without(&mut self, setting: &str) {
        let about = kind(setting).to_owned();
        self.rows.retain(|row, _| *kind(row) != about);
        self.said.insert(about);
    }

    /// Says that there are no others than these.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Whether it says anything about this kind of settings.
    fn says(&self, kind: &str) -> bool {
        self.said.contains(kind)
    }

    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.0.contains('\0') {
                return Err(bad("this variable cannot be passed to a container", name));
            }
        }
        for name in self.rows.keys() {
            let label = name.split_once("label:").map(|(_, label)| label);
            if label.is_some_and(|label| label.starts_with("rollback.")) {
                let what = "labels that begin with rollback. are reserved";
                return Err(bad(what, name));
            }
        }
        Ok(())
    }

    /// An artifact with today's configuration, its settings in this facet. What the program has
    /// configured is as it says; what it says nothing about is as it was found on what was made by
    /// hand, for as long as that lasts.
    pub(crate) fn today(
        &self,
        facet: &str,
        bare: &Release,
        live: Option<&Release>,
        key: &Key,
    ) -> Release {
        let mut rows = rows_table(key, &self.rows);
        let env = self.env.iter();
        let mut env = env_table(key, env.map(|(name, v)| (name.as_str(), v.0.as_str())));
        let mut by_hand = Table::new();
        if let Some(live) = live.filter(|_| !self.is_complete) {
            let (live_rows, live_env) = (table(live, facet), table(live, ENV));
            // What it was called and which address it had elsewhere means nothing here.
            let moved = self.says("network") && live_rows.get("network") != rows.get("network");
            for (row, mark) in table(live, BY_HAND) {
                let (to, name, about, from) = match row.strip_prefix("env:") {
                    Some(name) => (&mut env, name, ENV, &live_env),
                    None => (&mut rows, row.as_str(), kind(&row), &live_rows),
                };
                let left = moved && matches!(about, "alias" | "endpoint" | "mac");
                if self.says(about) || left {
                    continue;
                }
                if let Some(value) = from.get(name) {
                    to.insert(name.to_owned(), FacetValue::clone(value));
                    by_hand.insert(row, mark);
                }
            }
        }
        let release = with_table(bare, facet, rows);
        let release = with_table(&with_table(&release, ENV, env), BY_HAND, by_hand);
        let texts = self.texts.iter();
        texts.fold(release, |release, (name, text)| {
            release.with_facet(name, Facet::Text(text.clone()))
        })
    }
}

/// What of a configuration cannot be.
pub(crate) fn bad(what: &str, subject: &str) -> BackendError {
    BackendError::new(BackendErrorKind::InvalidReference, what.to_owned())
        .on(subject.chars().take(80).collect::<String>())
        .untouched()
}
