//! A program that embeds the crates and does whatever the dice say, until its time is over or it
//! is killed. Now and then it drops its runtime in the middle of a run, as when `main` returns,
//! and goes on with a new one.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use git2::ErrorCode;
use rollback_core::deployment::{Deployment, Outcome};
use rollback_core::engine::{AutomaticRollback, Report, RollbackEngine, Run};
use rollback_core::error::{Chain, Error, ErrorKind, StoreErrorKind};
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::intercept::{Intercept, InterceptedStore, Write};
use tokio::runtime::{Builder, Runtime};

use crate::dice::Dice;
use crate::ground::{CLEANED, Ground, SITES, Site};
use crate::ledger::{Ledger, Line};
use crate::rounds::Repositories;
use crate::site;

/// How many things a program does at once.
const AT_ONCE: u64 = 2;

/// Writes down what the store acknowledges.
#[derive(Debug)]
pub(crate) struct Acknowledged(pub(crate) Arc<Ledger>);

impl Intercept for Acknowledged {
    type Passed = ();

    fn before(&self, _: Write<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn after(&self, write: Write<'_>, (): ()) -> Result<(), StoreError> {
        let deployment = write.deployment.to_string();
        self.0.add(&match write.what {
            "begun" => Line::Begun {
                workload: write.workload.to_string(),
                deployment,
            },
            event => Line::Written {
                deployment,
                event: event.to_owned(),
            },
        });
        Ok(())
    }
}

/// Works for so long.
pub(crate) fn work(ground: &Ground, whose: Repositories, seed: u64, lasts: Duration) {
    let ledger = Arc::new(Ledger::open(&ground.log).unwrap());
    let panics = Arc::clone(&ledger);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        panics.wrong("panic", panic);
        before(panic);
    }));
    let (began, mut dice) = (Instant::now(), Dice::new(seed));
    while began.elapsed() < lasts {
        let left = lasts.saturating_sub(began.elapsed());
        let session = if dice.percent(50) {
            left
        } else {
            left.min(Duration::from_millis(dice.between(20, 400)))
        };
        let runtime = runtime(&mut dice);
        let (seed, witness) = (dice.throw(), Witness::new(&ledger));
        let _ = runtime.block_on(async {
            tokio::time::timeout(session, serve(ground, whose, &witness, seed)).await
        });
        // What blocks goes on: nobody waits for it.
        witness.over.store(true, Ordering::SeqCst);
        runtime.shutdown_background();
    }
}

fn runtime(dice: &mut Dice) -> Runtime {
    let mut builder = if dice.percent(50) {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2);
        builder
    };
    builder.enable_all().build().unwrap()
}

/// Does one thing after the other, several at once.
async fn serve(ground: &Ground, whose: Repositories, witness: &Witness, seed: u64) {
    let ledger = &witness.ledger;
    let store = match ground.open().await {
        Ok(store) => store,
        Err(e) if e.kind() == StoreErrorKind::Busy => return,
        Err(e) => return ledger.wrong("open", format!("{e} ({:?})", e.kind())),
    };
    let store = InterceptedStore::new(store, Acknowledged(Arc::clone(ledger)));
    let engine = ground.engine(Arc::new(store));
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..AT_ONCE {
        let hand = Hand {
            ground: ground.clone(),
            whose,
            witness: witness.clone(),
            engine: engine.clone(),
            dice: Dice::of(seed, part),
            by: u64::from(std::process::id()),
        };
        tasks.spawn(hand.go());
    }
    // It is no error to recover while others work.
    match engine.recover().await {
        Ok(recovered) => {
            for one in recovered {
                if let Err(e) = one.result {
                    witness.judge("recover", &e);
                }
            }
        }
        Err(e) => witness.judge("recover", &e),
    }
    while tasks.join_next().await.is_some() {}
}

/// Writes down what must not happen, until the runtime is dropped: afterwards anything may fail.
#[derive(Debug, Clone)]
struct Witness {
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
}

impl Witness {
    fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            over: Arc::default(),
        }
    }

    fn judge(&self, verb: &str, e: &Error) {
        let expected = matches!(
            e.kind(),
            ErrorKind::Conflict
                | ErrorKind::Stale
                | ErrorKind::AlreadyLive
                | ErrorKind::Refused
                | ErrorKind::NotFound
                | ErrorKind::InvalidRequest
                | ErrorKind::Store(StoreErrorKind::Busy)
        );
        if expected || self.over.load(Ordering::SeqCst) {
            return;
        }
        let text = format!("{verb}: {:?}: {}", e.kind(), Chain::of(e));
        self.ledger.wrong("an error that nobody caused", text);
    }
}

/// One of the things that a program does at a time.
struct Hand {
    ground: Ground,
    whose: Repositories,
    witness: Witness,
    engine: RollbackEngine,
    dice: Dice,
    by: u64,
}

impl Hand {
    async fn go(mut self) {
        loop {
            self.one().await;
            tokio::task::yield_now().await;
        }
    }

    async fn one(&mut self) {
        let site = *self.dice.one_of(&SITES).unwrap();
        let id = site.id();
        match self.dice.below(100) {
            0..40 => self.deploy(&site).await,
            40..58 => self.roll_back(&id).await,
            58..63 => self.redeploy(&id).await,
            63..70 => self.cancel(&id).await,
            70..72 => self.adopt(&id).await,
            72..78 => self.pin(&id).await,
            78..82 => self.note(&id).await,
            82..85 => self.hold(&id).await,
            85..89 => self.clean_up(&id).await,
            89..92 => self.recover().await,
            92..94 if self.whose == Repositories::Shared => self.pack(&site),
            _ => self.look(&id).await,
        }
    }

    fn me(&self) -> Actor {
        Actor::user("chaos").unwrap()
    }

    fn check<T>(&self, verb: &str, result: Result<T, Error>) -> Option<T> {
        result.inspect_err(|e| self.witness.judge(verb, e)).ok()
    }

    async fn deploy(&mut self, site: &Site) {
        let nth = self.dice.below(site::VERSIONS);
        let mut version = format!("v{nth}");
        if self.dice.percent(20) {
            version = format!("w{:08x}", self.dice.throw() >> 32);
            let sick = self.dice.percent(20);
            match site::add(&self.ground.repository(site), &version, sick) {
                Ok(()) => {}
                // By a killed worker of the same name, as a killed `git tag` would: not ours.
                Err(e) if e.code() == ErrorCode::Locked => return,
                Err(e) => return self.witness.ledger.wrong("commit", e),
            }
        }
        let run = self.engine.deploy(&site.id(), version, self.me()).await;
        if let Some(run) = self.check("deploy", run) {
            self.follow("deploy", run).await;
        }
    }

    async fn roll_back(&mut self, id: &WorkloadId) {
        let goal = match self.dice.below(4) {
            0 => Goal::LastHealthy,
            1 => Goal::Previous,
            n => match self.any(id).await {
                Some(d) if n == 2 => Goal::To(d.id().clone()),
                Some(d) => Goal::Before(d.id().clone()),
                None => return,
            },
        };
        let run = self.engine.rollback(id, goal, self.me()).await;
        if let Some(run) = self.check("rollback", run) {
            self.follow("rollback", run).await;
        }
    }

    async fn redeploy(&mut self, id: &WorkloadId) {
        if let Some(d) = self.any(id).await {
            let run = self.engine.redeploy(d.id(), self.me()).await;
            if let Some(run) = self.check("redeploy", run) {
                self.follow("redeploy", run).await;
            }
        }
    }

    /// Waits for a run, or asks it to stop, or lets it go on alone.
    async fn follow(&mut self, verb: &str, run: Run) {
        match self.dice.below(10) {
            0 => return,
            1 | 2 => {
                let moment = Duration::from_millis(self.dice.below(40));
                tokio::time::sleep(moment).await;
                run.cancel();
            }
            _ => {}
        }
        if let Some(report) = self.check(verb, run.await) {
            self.report(&report);
        }
    }

    fn report(&self, report: &Report) {
        for d in [Some(report.deployment()), successor(report)]
            .into_iter()
            .flatten()
        {
            let outcome = d.outcome().map_or("none", Outcome::as_str).to_owned();
            self.witness.ledger.add(&Line::Reported {
                deployment: d.id().to_string(),
                outcome,
                live: report.live().known().map(ToString::to_string),
            });
        }
    }

    async fn cancel(&mut self, id: &WorkloadId) {
        let Some(state) = self.check("state", self.engine.state(id).await) else {
            return;
        };
        if let Some(in_flight) = state.in_flight {
            let done = self.engine.cancel(&in_flight.deployment, &self.me()).await;
            self.check("cancel", done);
        }
    }

    async fn adopt(&mut self, id: &WorkloadId) {
        let adopted = match self.engine.adopt(id, self.me()).await {
            Ok(run) => run.await,
            Err(e) => Err(e),
        };
        if let Some(report) = self.check("adopt", adopted) {
            self.report(&report);
        }
    }

    async fn pin(&mut self, id: &WorkloadId) {
        let Some(d) = self.any(id).await else { return };
        let pin = self.dice.percent(40);
        let value = if pin { "yes" } else { "no" };
        let by = self.setting(format!("pin {}", d.id()), value);
        let done = if pin {
            self.engine.pin(d.id(), &self.me()).await
        } else {
            self.engine.unpin(d.id(), &self.me()).await
        };
        self.set(by, done.is_ok());
        self.check("pin", done);
    }

    async fn note(&mut self, id: &WorkloadId) {
        let Some(d) = self.any(id).await else { return };
        let text = format!("note {:016x}", self.dice.throw());
        let note = text.parse().unwrap();
        let noted = self.engine.note(d.id(), note, &self.me()).await;
        if self.check("note", noted).is_some() {
            let deployment = d.id().to_string();
            self.witness.ledger.add(&Line::Noted { deployment, text });
        }
    }

    async fn hold(&mut self, id: &WorkloadId) {
        let hold = self.dice.percent(30);
        let value = if hold { "yes" } else { "no" };
        let by = self.setting(format!("hold {id}"), value);
        let done = if hold {
            let why = "the dice say so".parse().unwrap();
            self.engine.hold(id, why, self.me()).await.map(|_| ())
        } else {
            self.engine.lift_hold(id, &self.me()).await.map(|_| ())
        };
        self.set(by, done.is_ok());
        self.check("hold", done);
    }

    async fn clean_up(&mut self, id: &WorkloadId) {
        let rules = self.dice.percent(50).then(strict);
        let done = self.engine.clean_up(id, rules, &self.me()).await;
        self.check("clean-up", done);
    }

    /// What an owner of a repository does at night.
    fn pack(&self, site: &Site) {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.ground.repository(site));
        let said = git.args(["pack-refs", "--all"]).output().unwrap();
        if !said.status.success() {
            let said = String::from_utf8_lossy(&said.stderr);
            // A reference that is being written keeps git waiting, and then it gives up.
            if !said.contains("Unable to create") {
                self.witness.ledger.wrong("git pack-refs", said);
            }
        }
    }

    async fn recover(&mut self) {
        let recovered = self.engine.recover().await;
        for one in self.check("recover", recovered).into_iter().flatten() {
            self.check("recover", one.result);
        }
    }

    /// Reads, which has to work whatever others do.
    async fn look(&mut self, id: &WorkloadId) {
        match self.dice.below(4) {
            0 => {
                let request = Request::rollback(id.clone(), Goal::LastHealthy, self.me());
                let plan = self.engine.preview(&request).await;
                self.check("preview", plan);
            }
            1 => {
                let faults = self.check("verify", self.engine.verify().await);
                for fault in faults.into_iter().flatten() {
                    self.witness
                        .ledger
                        .wrong("verify while others write", fault);
                }
            }
            2 => {
                let health = self.engine.health(id).await;
                self.check("health", health);
            }
            _ => {
                let query = Query::workload(id).limit(5);
                let history = self.check("history", self.engine.history(&query).await);
                for record in history.into_iter().flat_map(|h| h.unreadable) {
                    self.witness.ledger.wrong("unreadable", record);
                }
            }
        }
    }

    /// One of the newest records.
    async fn any(&mut self, id: &WorkloadId) -> Option<Deployment> {
        let query = Query::workload(id).limit(CLEANED);
        let page = self.check("list", self.engine.list(&query).await)?;
        self.dice.one_of(&page.deployments).cloned()
    }

    fn setting(&mut self, what: String, value: &str) -> Setting {
        // Each attempt has a number of its own: two of one program may overlap.
        let setting = Setting {
            by: self.by << 32 | self.dice.throw() >> 32,
            what,
            value: value.to_owned(),
        };
        self.witness.ledger.add(&Line::Setting {
            by: setting.by,
            what: setting.what.clone(),
            value: setting.value.clone(),
        });
        setting
    }

    fn set(&self, setting: Setting, ok: bool) {
        let Setting { by, what, value } = setting;
        self.witness.ledger.add(&Line::Set {
            by,
            what,
            value,
            ok,
        });
    }
}

/// What a clean-up by hand keeps.
fn strict() -> Retention {
    Retention::new(Keep::new(CLEANED, 0), Keep::new(3, 0))
}

/// A setting under way.
struct Setting {
    by: u64,
    what: String,
    value: String,
}

fn successor(report: &Report) -> Option<&Deployment> {
    match report.automatic_rollback() {
        AutomaticRollback::Attempted { deployment, .. } => Some(deployment),
        _ => None,
    }
}
