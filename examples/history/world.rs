//! What a command works on: a store, the workloads of a file, an engine on both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::{HistoryReader, HistoryStore, Query};
use rollback_core::id::{
    Actor, DeploymentId, GroupId, ServiceName, StackName, TargetName, WorkloadId,
};
use rollback_core::stack::Stack;
use rollback_core::time::{Clock, SystemClock, Timestamp};
use rollback_examples::abbreviation::{Abbreviation, Ids, NotOne, alike};
use rollback_examples::catalog::{self, Catalog, StackEntry};

use crate::args::{Cli, Command};
use crate::bare::Bare;
use crate::end::{End, UNKNOWN, USAGE};
use crate::out::aside;
use crate::place::{Opened, Place};
use crate::words;

/// How many candidates for what was typed are looked at.
const CANDIDATES: usize = 1_000;
/// How many ids are named where nothing is a candidate: enough to see how they look.
const NEWEST: usize = 3;

pub(crate) struct World {
    pub(crate) engine: RollbackEngine,
    pub(crate) store: Arc<dyn HistoryStore>,
    pub(crate) opened: Opened,
    pub(crate) actor: Actor,
    pub(crate) now: Timestamp,
    /// The file of the workloads, and what it has; or what is wrong with it.
    config: Option<PathBuf>,
    catalog: Result<Listed, String>,
}

/// What a file of workloads lists.
#[derive(Debug, Default)]
struct Listed {
    workloads: Vec<WorkloadId>,
    stacks: Vec<Stack>,
}

/// The same, as an engine is built of it.
#[derive(Default)]
struct Read {
    workloads: Vec<Workload>,
    stacks: Vec<Stack>,
}

impl Read {
    fn listed(&self) -> Listed {
        Listed {
            workloads: self.workloads.iter().map(|w| w.id().clone()).collect(),
            stacks: self.stacks.clone(),
        }
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

/// What a file has; nothing if there is none. `Err` says what is wrong with it.
fn read(config: Option<&Path>) -> Result<Read, String> {
    let Some(path) = config else {
        return Ok(Read::default());
    };
    let read = Catalog::read(path).map_err(|e| e.to_string())?;
    let entries = read.workloads.iter();
    let workloads = entries.map(|entry| {
        let workload = entry.workload();
        workload.map_err(|e| format!("{}: {}: {e}", path.display(), entry.workload))
    });
    Ok(Read {
        workloads: workloads.collect::<Result<_, _>>()?,
        stacks: read.stacks.iter().map(StackEntry::stack).collect(),
    })
}

fn engine(
    store: &Arc<dyn HistoryStore>,
    of: Read,
) -> Result<RollbackEngine, rollback_core::error::Error> {
    let builder = RollbackEngine::builder(Arc::clone(store));
    let builder = of.workloads.into_iter().fold(builder, |b, w| b.workload(w));
    let builder = of.stacks.into_iter().fold(builder, |b, s| b.stack(s));
    builder.build()
}

impl World {
    pub(crate) async fn open(cli: &Cli) -> Result<Self, End> {
        let place = Place::of(&cli.store);
        let config = match &cli.config {
            Some(path) => Some(path.clone()),
            None => Some(place.beside().join(catalog::FILE)).filter(|p| p.exists()),
        };
        let mut read = read(config.as_deref());
        let mut catalog = match &read {
            Ok(all) => Ok(all.listed()),
            Err(why) => Err(why.clone()),
        };
        let opened = place.open(begins(&cli.command, &catalog)).await?;
        let store = Arc::clone(&opened.store);
        if let (Ok(all), Ok(listed), Command::Cleanup(_)) = (&mut read, &catalog, &cli.command) {
            // What is only on record can be trimmed, too.
            for state in store.workloads().await?.states {
                if !listed.workloads.contains(&state.workload) {
                    let bare = Workload::new(Bare::new(state.workload)?);
                    all.workloads.push(bare);
                }
            }
        }
        let engine = match read.and_then(|all| {
            let file = config.as_deref().unwrap_or(Path::new(catalog::FILE));
            let built = engine(&store, all);
            built.map_err(|e| format!("{}: {}", file.display(), words::of(&e)))
        }) {
            Ok(engine) => engine,
            Err(why) if cli.command.needs_catalog() => return Err(End::new(USAGE, why)),
            Err(why) => {
                aside!("history: {why}; going on without it");
                catalog = Err(why);
                engine(&store, Read::default())?
            }
        };
        Ok(Self {
            engine,
            store,
            opened,
            actor: Actor::user_via(&user(cli), "cli")?,
            now: SystemClock.now(),
            config,
            catalog,
        })
    }

    /// Whether it is known how this workload is deployed; `Err` says why not.
    pub(crate) fn deploys(&self, workload: &WorkloadId) -> Result<(), End> {
        let catalog = self.catalog()?;
        if catalog.contains(workload) {
            return Ok(());
        }
        let text = format!(
            "{} has no {workload}; it has {}",
            self.file().display(),
            joined(catalog)
        );
        Err(End::new(UNKNOWN, text))
    }

    /// The file of the workloads.
    fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(catalog::FILE))
    }

    /// The workloads that can be deployed; `Err` says why there are none.
    pub(crate) fn catalog(&self) -> Result<&[WorkloadId], End> {
        let why = match (&self.catalog, &self.config) {
            (Ok(listed), _) if !listed.workloads.is_empty() => return Ok(&listed.workloads),
            (Err(why), _) => return Err(End::new(USAGE, why.clone())),
            (Ok(_), Some(path)) => format!("{} has none", path.display()),
            (Ok(_), None) => format!("there is no {} beside the history", catalog::FILE),
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
        let what = match (service, target) {
            (None, None) => return Ok(()),
            (Some(service), None) => service.to_string(),
            (None, Some(target)) => format!("@{target}"),
            (Some(service), Some(target)) => format!("{service}@{target}"),
        };
        let meant = |w: &WorkloadId| {
            service.is_none_or(|s| s == w.service()) && target.is_none_or(|t| t == w.target())
        };
        let states = self.store.workloads().await?;
        let damaged = states.damaged.iter().map(|d| &d.workload);
        let mut known = states.states.iter().map(|s| &s.workload).chain(damaged);
        let mut listed = self.catalog.iter().flat_map(|listed| &listed.workloads);
        match listed.any(meant) || known.any(meant) {
            true => Ok(()),
            false => Err(End::new(UNKNOWN, format!("nothing is known of {what}"))),
        }
    }

    /// The deployment that is meant.
    pub(crate) async fn id(&self, typed: &Abbreviation) -> Result<DeploymentId, End> {
        // What is whole needs no look at others.
        if let Some(id) = typed.whole()
            && self.store.get(&id).await?.is_some()
        {
            return Ok(id);
        }
        let found = self.store.find(&typed.to_string(), CANDIDATES).await?;
        if !found.is_empty() {
            return Ok(Ids::new(found).find(typed)?.clone());
        }
        let newest = self.store.list(&Query::default().limit(NEWEST)).await?;
        let newest = newest.deployments.iter().map(|d| d.id().clone());
        Err(End::from(NotOne::Unknown {
            typed: typed.clone(),
            newest: newest.collect(),
        }))
    }

    /// All ids that look like one of these: among them it shows which short form means one alone.
    pub(crate) async fn ids(
        &self,
        shown: impl IntoIterator<Item = &DeploymentId>,
    ) -> Result<Ids, End> {
        let alike: Vec<&str> = shown.into_iter().map(alike).collect();
        let found = self.store.find_each(&alike, CANDIDATES).await?;
        let mut all = found.concat();
        all.sort_unstable();
        all.dedup();
        Ok(Ids::new(all))
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
                let text = format!("name one of {} with --workload", joined(several));
                Err(End::new(USAGE, text))
            }
        }
    }

    /// The stacks that can be moved; `Err` says why there are none.
    pub(crate) fn stacks(&self) -> Result<&[Stack], End> {
        self.catalog()?;
        match &self.catalog {
            Ok(listed) if !listed.stacks.is_empty() => Ok(&listed.stacks),
            _ => {
                let text = format!(
                    "{} has no stacks; write which workloads belong together as \
                     \"stacks\": [{{\"stack\": \"shop\", \"workloads\": [\"api@web-1\", …]}}]",
                    self.file().display()
                );
                Err(End::new(UNKNOWN, text))
            }
        }
    }

    /// The stack that is meant: the one named, or the only one there is.
    pub(crate) fn stack(&self, named: Option<&StackName>) -> Result<&Stack, End> {
        let stacks = self.stacks()?;
        let names = || joined(stacks.iter().map(Stack::name));
        let Some(named) = named else {
            return match stacks {
                [only] => Ok(only),
                _ => Err(End::new(
                    USAGE,
                    format!("name one of the stacks {}", names()),
                )),
            };
        };
        stacks.iter().find(|s| s.name() == named).ok_or_else(|| {
            let file = self.file().display();
            let text = format!("{file} has no stack {named}; it has {}", names());
            End::new(UNKNOWN, text)
        })
    }

    /// The group that is meant, by its own id or by that of any member; and the stack that it moved.
    pub(crate) async fn group(&self, typed: &Abbreviation) -> Result<(GroupId, StackName), End> {
        let id = self.id(typed).await?;
        match self.engine.get(&id).await?.group() {
            Some(group) => Ok((group.id.clone(), group.stack.clone())),
            None => Err(End::new(
                UNKNOWN,
                format!(
                    "{id} moved alone, and is no group; nothing was changed; stack list shows \
                         the groups there are"
                ),
            )),
        }
    }
}

fn joined(names: impl IntoIterator<Item: ToString>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| name.to_string()).collect();
    names.join(", ")
}

/// Whether a command may begin a history: it puts a first deployment on record, of what the file of
/// workloads says how to deploy.
fn begins(command: &Command, catalog: &Result<Listed, String>) -> bool {
    let Ok(listed) = catalog else { return false };
    command.first_deployments().is_some_and(|named| {
        !listed.workloads.is_empty() && named.iter().all(|w| listed.workloads.contains(w))
    })
}
