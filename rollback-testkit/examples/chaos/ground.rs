//! [`Ground`]: a directory with repositories, deploy roots and a history, and the engine on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::HistoryStore;
use rollback_core::policy::{Deadlines, Keep, Retention};
use rollback_core::prelude::*;
use rollback_git::{GitBackend, GitConfig};
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;

use crate::site;

/// Which store keeps the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// One SQLite file.
    Sqlite,
    /// A directory of JSON files.
    Json,
}

impl Store {
    /// The store as people write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Json => "json",
        }
    }
}

/// Records that retention keeps of each workload.
pub(crate) const RECORDS: usize = 14;
/// Those that a clean-up by hand keeps.
pub(crate) const CLEANED: usize = 9;
/// Longest time for a step, on a busy machine.
const STEP: Duration = Duration::from_secs(30);
/// Releases within reach.
const RELEASES: usize = 6;

/// One of the workloads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    name: &'static str,
    repository: &'static str,
    /// How the restart command is written: as itself, or so that the process which runs in the
    /// end has another name than the one that was started.
    restart: Option<&'static [&'static str]>,
}

/// Two share a repository, one has its own with a work tree.
pub(crate) const SITES: [Site; 3] = [
    Site {
        name: "site@a",
        repository: "shared.git",
        restart: None,
    },
    Site {
        name: "api@a",
        repository: "shared.git",
        restart: Some(&["env", "A=1"]),
    },
    Site {
        name: "job@a",
        repository: "own",
        restart: Some(&[]),
    },
];

impl Site {
    /// Its workload.
    pub(crate) fn id(&self) -> WorkloadId {
        self.name.parse().unwrap()
    }

    /// Whether a restart command runs after each swap.
    pub(crate) fn restarts(&self) -> bool {
        self.restart.is_some()
    }
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// What may be crashed.
    pub(crate) dir: PathBuf,
    /// The log, which may not.
    pub(crate) log: PathBuf,
    /// Which store.
    pub(crate) store: Store,
}

impl Ground {
    /// Makes repositories and the directories around them.
    pub(crate) fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.dir.join("roots"))?;
        fs::create_dir_all(self.dir.join("serving"))?;
        for (name, bare) in [("shared.git", true), ("own", false)] {
            site::make(&self.dir.join(name), bare).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// A site's repository.
    pub(crate) fn repository(&self, site: &Site) -> PathBuf {
        self.dir.join(site.repository)
    }

    /// A site's deploy root.
    pub(crate) fn root(&self, site: &Site) -> PathBuf {
        self.dir.join("roots").join(site.name)
    }

    /// Where a site's restart command says what it started.
    pub(crate) fn serving(&self, site: &Site) -> PathBuf {
        self.dir.join("serving").join(site.name)
    }

    /// The history's file or directory.
    pub(crate) fn history(&self) -> PathBuf {
        match self.store {
            Store::Sqlite => self.dir.join("history.db"),
            Store::Json => self.dir.join("history"),
        }
    }

    /// Opens the history.
    pub(crate) async fn open(&self) -> Result<Arc<dyn HistoryStore>, StoreError> {
        Ok(match self.store {
            Store::Sqlite => Arc::new(SqliteStore::open(self.history()).await?),
            Store::Json => Arc::new(JsonStore::open(self.history()).await?),
        })
    }

    /// The engine, as an embedding program would compose it.
    pub(crate) fn engine(&self, store: Arc<dyn HistoryStore>) -> RollbackEngine {
        let mut builder = RollbackEngine::builder(store);
        for site in &SITES {
            builder = builder.workload(self.workload(site));
        }
        builder.build().unwrap()
    }

    fn workload(&self, site: &Site) -> Workload {
        let mut config = GitConfig::new(site.id(), self.repository(site), self.root(site));
        if let Some(wrapped) = site.restart {
            let exe = std::env::current_exe().unwrap().display().to_string();
            let serving = self.serving(site).display().to_string();
            let own = [exe, "restart".into(), serving];
            let wrapped = wrapped.iter().map(|word| (*word).to_owned());
            config = config.restart_command(wrapped.chain(own));
        }
        let gate = Gate::default()
            .retries(2)
            .interval(Duration::from_millis(5))
            .start_period(Duration::ZERO);
        let retention = Retention::new(Keep::new(RECORDS, 0), Keep::new(RELEASES, 0));
        let policy = Policy::default()
            .rollback(RollbackMode::Auto)
            .retention(retention)
            .deadlines(Deadlines::default().prepare(STEP).switch(STEP).retire(STEP));
        Workload::new(GitBackend::new(config).unwrap())
            .check(Published {
                root: self.root(site),
                serving: site.restarts().then(|| self.serving(site)),
            })
            .gate(gate)
            .policy(policy)
    }
}

/// Healthy when the published version says so, and is what was restarted last.
#[derive(Debug)]
struct Published {
    root: PathBuf,
    serving: Option<PathBuf>,
}

#[async_trait]
impl HealthCheck for Published {
    fn name(&self) -> String {
        "the published version".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|e| Unhealthy::new(format!("{}: {e}", path.display())))
        };
        let health = read(&self.root.join("current/health"))?;
        if health != "ok" {
            return Err(Unhealthy::new(format!("it is {health:?}")));
        }
        let Some(serving) = &self.serving else {
            return Ok(Healthy::yes());
        };
        let (served, published) = (read(serving)?, read(&self.root.join("current/version"))?);
        if served == published {
            Ok(Healthy::yes())
        } else {
            Err(Unhealthy::new(format!(
                "{published:?} is published and {served:?} serves"
            )))
        }
    }
}

/// The restart command: after a moment, what is in the directory it was started in serves. Now
/// and then the moment is long enough to outlive the engine that started it.
pub(crate) fn restart(serving: &Path) -> io::Result<()> {
    let version = fs::read_to_string("version")?;
    let late = if std::process::id().is_multiple_of(6) {
        250
    } else {
        3
    };
    std::thread::sleep(Duration::from_millis(late));
    fs::write(serving, version)
}
