//! What a command works on: a store, the workloads of a file, an engine on both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rollback_core::engine::RollbackEngine;
use rollback_core::history::{HistoryStore, Query};
use rollback_core::id::{Actor, DeploymentId, ServiceName, TargetName, WorkloadId};
use rollback_core::time::{Clock, SystemClock, Timestamp};
use rollback_examples::abbreviation::{Abbreviation, Ids};
use rollback_examples::catalog::{self, Catalog};
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;

use crate::args::Cli;
use crate::end::{AWAY, End, UNKNOWN, USAGE};

/// The largest page that stores give.
const PAGE: usize = 1_000;

pub(crate) struct World {
    pub(crate) engine: RollbackEngine,
    pub(crate) store: Arc<dyn HistoryStore>,
    pub(crate) actor: Actor,
    pub(crate) now: Timestamp,
    /// The file of the workloads, and which it has.
    config: Option<PathBuf>,
    catalog: Vec<WorkloadId>,
}

/// A store by kind and place.
enum Place {
    Sqlite(PathBuf),
    Json(PathBuf),
}

impl Place {
    fn of(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Self::Sqlite(path.into());
        }
        if let Some(path) = text.strip_prefix("json:") {
            return Self::Json(path.into());
        }
        let path = PathBuf::from(text);
        let inside = path.join("history.db");
        match (path.is_dir(), inside.is_file()) {
            (true, true) => Self::Sqlite(inside),
            (true, false) => Self::Json(path),
            (false, _) => Self::Sqlite(path),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Sqlite(path) | Self::Json(path) => path,
        }
    }

    /// Refuses where there is no history. Opening would make one, and an empty history is no answer
    /// to a typing error. An empty directory was made for something: what puts the first deployment
    /// on record begins a history there.
    fn check(&self, may_begin: bool) -> Result<(), End> {
        let path = self.path();
        let is_there = match self {
            Self::Sqlite(path) if path.is_file() => {
                let meta = path.metadata().map_err(|e| {
                    let text = format!("{} cannot be examined: {e}", path.display());
                    End::new(AWAY, text)
                })?;
                if meta.len() == 0 {
                    let text = format!(
                        "{} is an empty file and no history; nothing was changed (name a history \
                         with --store)",
                        path.display()
                    );
                    return Err(End::new(UNKNOWN, text));
                }
                true
            }
            // What is in the way of a history, opening says best.
            Self::Sqlite(path) => path.exists(),
            Self::Json(path) if path.is_dir() => {
                let has = |name| path.join(name).exists();
                may_begin || has("format.json") || has("workloads")
            }
            Self::Json(path) => path.exists(),
        };
        if is_there {
            return Ok(());
        }
        let text = format!(
            "there is no history at {}; nothing was created (name one with --store)",
            path.display()
        );
        Err(End::new(UNKNOWN, text))
    }
}

/// Who types this: never nobody, for it is recorded.
fn user(cli: &Cli) -> String {
    let said = |name| std::env::var(name).ok();
    let names = [
        cli.user.clone(),
        said("USER"),
        said("SUDO_USER"),
        said("LOGNAME"),
    ];
    let named = names.into_iter().flatten().find(|n| !n.trim().is_empty());
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

impl World {
    pub(crate) async fn open(cli: &Cli) -> Result<Self, End> {
        let place = Place::of(&cli.store);
        place.check(cli.command.may_begin())?;
        let store: Arc<dyn HistoryStore> = match &place {
            Place::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
            Place::Json(path) => Arc::new(JsonStore::open(path).await?),
        };
        let beside = place.path().parent().unwrap_or(Path::new("."));
        let config = match &cli.config {
            Some(path) => Some(path.clone()),
            None => Some(beside.join(catalog::FILE)).filter(|p| p.exists()),
        };
        let mut builder = RollbackEngine::builder_shared(Arc::clone(&store));
        let mut catalog = Vec::new();
        if let Some(path) = &config {
            let read = Catalog::read(path).map_err(|e| End::new(USAGE, e.to_string()))?;
            for entry in &read.workloads {
                let workload = entry.workload().map_err(|e| e.to_string())?;
                builder = builder.workload(workload);
                catalog.push(entry.workload.clone());
            }
        }
        Ok(Self {
            engine: builder.build()?,
            store,
            actor: Actor::user_via(&user(cli), "cli")?,
            now: SystemClock.now(),
            config,
            catalog,
        })
    }

    /// Whether it is known how this workload is deployed; `Err` says why not.
    pub(crate) fn deploys(&self, workload: &WorkloadId) -> Result<(), End> {
        if self.catalog.contains(workload) {
            return Ok(());
        }
        let catalog = self.catalog()?;
        let known: Vec<_> = catalog.iter().map(ToString::to_string).collect();
        let file = self.config.as_deref().unwrap_or(Path::new(catalog::FILE));
        let text = format!(
            "{} has no {workload}; it has {}",
            file.display(),
            known.join(", ")
        );
        Err(End::new(UNKNOWN, text))
    }

    /// The workloads that can be deployed; `Err` says why there are none.
    pub(crate) fn catalog(&self) -> Result<&[WorkloadId], End> {
        if !self.catalog.is_empty() {
            return Ok(&self.catalog);
        }
        let why = match &self.config {
            Some(path) => format!("{} has none", path.display()),
            None => format!("there is no {} beside the history", catalog::FILE),
        };
        let text = format!("no workloads are known: {why}; name a file of them with --config");
        Err(End::new(UNKNOWN, text))
    }

    /// Refuses a service or target that there is nothing of: an empty answer would be one to a
    /// typing error.
    pub(crate) async fn knows(
        &self,
        service: Option<&ServiceName>,
        target: Option<&TargetName>,
    ) -> Result<(), End> {
        let states = self.store.workloads().await?.states;
        let mut known = states.iter().map(|s| &s.workload).chain(&self.catalog);
        let meant = |w: &WorkloadId| {
            service.is_none_or(|s| s == w.service()) && target.is_none_or(|t| t == w.target())
        };
        let what = match (service, target) {
            (None, None) => return Ok(()),
            (Some(service), None) => service.to_string(),
            (None, Some(target)) => format!("@{target}"),
            (Some(service), Some(target)) => format!("{service}@{target}"),
        };
        match known.any(meant) {
            true => Ok(()),
            false => Err(End::new(UNKNOWN, format!("nothing is known of {what}"))),
        }
    }

    /// The deployment that is meant.
    pub(crate) async fn id(&self, typed: &Abbreviation) -> Result<DeploymentId, End> {
        // What is whole needs no look at all the others.
        if let Some(id) = typed.whole()
            && self.store.get(&id).await?.is_some()
        {
            return Ok(id);
        }
        Ok(self.ids().await?.find(typed)?.clone())
    }

    /// The ids of all deployments: no page of them says which short form is unique.
    pub(crate) async fn ids(&self) -> Result<Ids, End> {
        let mut query = Query::default().limit(PAGE);
        let mut newest_first = Vec::new();
        loop {
            let page = self.store.list(&query).await?;
            newest_first.extend(page.deployments.iter().map(|d| d.id().clone()));
            match page.next {
                Some(next) => query.before = Some(next),
                None => return Ok(Ids::new(newest_first)),
            }
        }
    }

    /// The workload that is meant to be acted on: the one named, or the only one there is.
    pub(crate) fn workload(&self, named: Option<WorkloadId>) -> Result<WorkloadId, End> {
        if let Some(workload) = named {
            self.deploys(&workload)?;
            return Ok(workload);
        }
        match self.catalog()? {
            [only] => Ok(only.clone()),
            several => {
                let names: Vec<_> = several.iter().map(ToString::to_string).collect();
                let text = format!("name one of {} with --workload", names.join(", "));
                Err(End::new(USAGE, text))
            }
        }
    }
}
