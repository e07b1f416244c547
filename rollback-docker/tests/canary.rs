//! A secret in a variable, a command, a label and a health check is in nothing that leaves the program:
//! no file of a store, no line of a log, no error, no plan, and no `Debug`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rollback_core::backend::Backend;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::{HistoryReader as _, HistoryStore};
use rollback_core::prelude::*;
use rollback_docker::{DockerBackend, Healthcheck, SwarmBackend};
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::docker::DockerFixture;
use support::overhear::Overhear;
use support::swarm::{SwarmWorld, swarm};
use support::{DockerWorld, fixture};

const CANARY: &str = "canary-that-sings-to-nobody";

/// The same with a number: which one has got out.
fn canary(n: u32) -> String {
    format!("{CANARY}-{n}")
}

/// What was seen from outside, and where.
struct Seen {
    all: Vec<(String, String)>,
}

impl Seen {
    fn see(&mut self, of: &str, what: impl Into<String>) {
        self.all.push((of.to_owned(), what.into()));
    }

    fn debug(&mut self, of: &str, what: &impl Debug) {
        self.see(of, format!("{what:?} {what:#?}"));
    }

    /// An error, with everything behind it.
    fn error(&mut self, of: &str, e: &(dyn std::error::Error + 'static)) {
        let mut cause = Some(e);
        while let Some(e) = cause {
            self.see(of, format!("{e} {e:#} {e:?}"));
            cause = e.source();
        }
    }

    fn files(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => self.files(&path),
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.see(&path.display().to_string(), text);
                }
            }
        }
    }
}

/// What a world's images are for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Good,
    /// Its check fails, and repeats what it was told.
    Sick,
    /// It ends, and repeats what it was told.
    Ends,
    /// It has no program to begin with: the command is one that is not there.
    Lost,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Good, Self::Sick, Self::Ends, Self::Lost];

    fn reference(self, fixture: &DockerFixture) -> String {
        let name = format!("{self:?}").to_lowercase();
        format!("{}/canary:{name}", fixture.registry())
    }

    fn publish(self, fixture: &DockerFixture) {
        let lines: &[&str] = match self {
            Self::Good => &["ENV MODE="],
            Self::Sick => &["ENV MODE=sick"],
            Self::Ends => &["ENV MODE=exit"],
            Self::Lost => &["ENV MODE= LOST=1", "ENTRYPOINT []"],
        };
        fixture.publish(&self.reference(fixture), lines);
    }

    fn command(self) -> Vec<String> {
        let program = match self {
            Self::Lost => canary(1),
            _ => "serve".to_owned(),
        };
        let [pw, secret] = [canary(2), canary(3)];
        vec![program, format!("--pw={pw}"), "--secret".into(), secret]
    }
}

/// Asks often, gives up soon.
fn check() -> Healthcheck {
    Healthcheck::new(["/server", "check", &canary(4)])
        .interval(Duration::from_millis(300))
        .retries(1)
}

/// Everything an embedder does, with what fails in each of its ways.
async fn lives(
    seen: &mut Seen,
    store: Arc<dyn HistoryStore>,
    fixture: &DockerFixture,
    make: &dyn Fn(Kind) -> Arc<dyn Backend>,
) {
    let me = || Actor::user("me").unwrap();
    let id = make(Kind::Good).workload().clone();
    for kind in [Kind::Good, Kind::Sick, Kind::Good, Kind::Ends, Kind::Lost] {
        let backend = make(kind);
        seen.debug("backend", &backend);
        let mut policy = Policy::default();
        policy.deadlines.gate = Duration::from_secs(40);
        let gate = Gate::default().interval(Duration::from_millis(200));
        let workload = Workload::new(backend).gate(gate).policy(policy);
        let engine = RollbackEngine::builder(Arc::clone(&store))
            .workload(workload.auto_rollback())
            .build()
            .unwrap();
        let of = format!("{kind:?}");
        let request = Request::deploy(id.clone(), kind.reference(fixture), me());
        let plan = engine.preview(&request).await.unwrap();
        seen.debug(&of, &plan);
        seen.see(&of, format!("{plan} {plan:#}"));
        seen.see(&of, serde_json::to_string(&plan).unwrap());
        let report = engine.execute(plan).await.unwrap().await.unwrap();
        assert_eq!(
            report.succeeded(),
            matches!(kind, Kind::Good),
            "{}",
            report.summary()
        );
        seen.debug(&of, &report);
        seen.see(&of, report.summary().to_string());
        seen.see(&of, serde_json::to_string(&report).unwrap());
        seen.debug(&of, &engine.health(&id).await.unwrap());
        let missing = format!("{}/canary:missing", fixture.registry());
        let e = engine.deploy(&id, missing, me()).await;
        seen.error(&of, &e.map(drop).unwrap_err());
        let page = engine.list(&Query::workload(&id)).await.unwrap();
        seen.debug(&of, &page);
        seen.see(&of, serde_json::to_string(&page.deployments).unwrap());
        if matches!(kind, Kind::Lost) {
            let back = Goal::To(page.deployments.last().unwrap().id().clone());
            let plan = engine
                .preview(&Request::rollback(id.clone(), back, me()))
                .await;
            let plan = plan.unwrap();
            seen.debug("rollback", &plan);
            seen.see("rollback", plan.to_string());
            let report = engine.execute(plan).await.unwrap().await.unwrap();
            seen.debug("rollback", &report);
        }
    }
    seen.debug("state", &store.workload(&id).await.unwrap());
}

/// The files that a history is kept in.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Sqlite,
    Json,
}

impl Kept {
    async fn open(self, dir: &Path) -> Arc<dyn HistoryStore> {
        match self {
            Self::Sqlite => Arc::new(SqliteStore::open(dir.join("history.db")).await.unwrap()),
            Self::Json => Arc::new(JsonStore::open(dir.join("history")).await.unwrap()),
        }
    }
}

/// Lives with each of these stores, and looks at what has come out.
async fn nothing_sings(
    stores: &[Kept],
    fixture: &DockerFixture,
    make: &dyn Fn(Kind) -> Arc<dyn Backend>,
    clear: &dyn Fn(),
) {
    static HEARD: OnceLock<Overhear> = OnceLock::new();
    let heard = HEARD.get_or_init(Overhear::begin);
    let mut seen = Seen { all: Vec::new() };
    Kind::ALL.iter().for_each(|kind| kind.publish(fixture));
    let dir = fixture.dir().join("stores");
    std::fs::create_dir(&dir).unwrap();
    for kept in stores {
        let store = kept.open(&dir).await;
        Box::pin(lives(&mut seen, store, fixture, make)).await;
        clear();
    }
    seen.files(&dir);
    let files = seen.all.iter().filter(|(of, _)| of.contains("/stores/"));
    assert!(files.count() > 2 * stores.len(), "their files were read");
    let traced = heard.heard();
    assert!(!traced.is_empty(), "something was traced");
    seen.see("tracing", traced);
    let told = seen.all.iter().any(|(_, text)| text.contains("***"));
    assert!(told, "there was something to hide");
    let out: Vec<String> = seen
        .all
        .iter()
        .filter_map(|(of, text)| {
            let at = text.find(CANARY)?;
            let from = text[..at].char_indices().rev().nth(300);
            let from = from.map_or(0, |(from, _)| from);
            let rest: String = text[at..].chars().take(60).collect();
            Some(format!("{of}: …{}{rest}…", &text[from..at]))
        })
        .collect();
    assert!(out.is_empty(), "{} places\n{}", out.len(), out.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_container_sings_to_nobody() {
    let Some(fixture) = fixture() else { return };
    let w = DockerWorld::new(&Arc::new(fixture));
    let make = |kind: Kind| -> Arc<dyn Backend> {
        let config = w
            .config()
            .env("TOKEN", canary(5))
            .label("note", canary(6))
            .healthcheck(&check())
            .command(kind.command());
        let shown = format!("{config:?}");
        assert!(!shown.contains(CANARY), "{shown}");
        Arc::new(DockerBackend::new(config).unwrap())
    };
    let clear = || {
        for (id, _) in w.containers() {
            w.fixture.must(&["rm", "-f", &id]);
        }
    };
    let stores = [Kept::Sqlite, Kept::Json];
    Box::pin(nothing_sings(&stores, &w.fixture, &make, &clear)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_service_sings_to_nobody() {
    let Some(fixture) = swarm() else { return };
    let w = SwarmWorld::new(&Arc::new(fixture));
    let make = |kind: Kind| -> Arc<dyn Backend> {
        let config = w
            .config()
            .env("TOKEN", canary(5))
            .label("note", canary(6))
            .container_label("note", canary(7))
            .healthcheck(&check())
            .command(kind.command());
        let shown = format!("{config:?}");
        assert!(!shown.contains(CANARY), "{shown}");
        Arc::new(SwarmBackend::new(config).unwrap())
    };
    let clear = || drop(w.fixture.must(&["service", "rm", &w.name]));
    // What it leaves out of its records it leaves out of either store's.
    Box::pin(nothing_sings(&[Kept::Json], &w.fixture, &make, &clear)).await;
}
