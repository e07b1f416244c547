//! Stories of a stack: three workloads that move as one, cut short at every point, recovered by one
//! process or by one for each workload. At rest all of them are new, or all are as before.

use std::collections::BTreeMap;
use std::time::Duration;

use rollback_core::deployment::{Deployment, LiveRecord, Outcome};
use rollback_core::engine::{GroupReport, RollbackEngine, Workload};
use rollback_core::error::Error;
use rollback_core::health::Gate;
use rollback_core::history::HistoryReader as _;
use rollback_core::id::{StackName, WorkloadId};
use rollback_core::stack::{Stack, StackGoal, StackRequest};

use super::life::Fate;
use super::oracle::{Breach, nothing_acknowledged_is_lost};
use super::play::{Played, wait};
use super::process::{Came, Composed, Known, Machine, Process, Program, me};
use super::scenario::{Bringing, Hanging, Says};
use super::story::{By, Deed, Meanwhile, Needs, Story};
use crate::fake::{FakeBackend, FakeTarget};

/// How many workloads the stack has.
pub(super) const MEMBERS: usize = 3;

/// More recoveries than any story takes.
const ENOUGH: usize = 12;

struct Stage {
    story: Story,
    machine: Machine,
    targets: Vec<FakeTarget>,
    breaches: Vec<Breach>,
    report: Option<GroupReport>,
}

fn member(nth: usize) -> WorkloadId {
    let name = ["api", "db", "web"][nth];
    format!("{name}@simulated").parse().expect("a valid id")
}

fn shop() -> StackName {
    "shop".parse().expect("a valid name")
}

fn deploys(version: &str, members: usize) -> StackRequest {
    let references = (0..members).map(|nth| (member(nth), version.to_owned()));
    StackRequest::deploy(shop(), references, me())
}

/// Runs a request for the stack to its end.
async fn runs(engine: &RollbackEngine, request: StackRequest) -> Result<GroupReport, Error> {
    Ok(engine.run_stack(request).await?.await)
}

impl Story {
    /// Plays it to its end, and says what was seen.
    pub(super) fn play(self) -> Played {
        let target = || match self.bringing {
            Bringing::Replace | Bringing::InPlace => FakeTarget::replacing(),
            Bringing::Beside => FakeTarget::beside(),
        };
        let mut stage = Stage {
            story: self,
            machine: Machine::new(self.bringing),
            targets: (0..MEMBERS).map(|_| target()).collect(),
            breaches: Vec::new(),
            report: None,
        };
        stage.set();
        let cut_at = stage.act();
        let cut_again_at = stage.recovers();
        stage.rests();
        stage.goes_on();
        Played {
            cut_at,
            cut_again_at,
            breaches: stage.breaches,
        }
    }
}

impl Stage {
    fn breach(&mut self, what: &'static str, seen: impl Into<String>) {
        self.breaches.push(Breach::new(what, seen));
    }

    /// An engine that knows these members.
    fn engine(
        targets: Vec<FakeTarget>,
        needs: Needs,
        knows: Vec<usize>,
    ) -> impl Fn(&Composed) -> RollbackEngine + Send + 'static {
        move |composed| {
            let machine = &composed.machine;
            let mut builder = RollbackEngine::builder(machine.disk.open(composed.life.clone()))
                .clock(machine.clock.clone());
            for nth in &knows {
                let backend = FakeBackend::new(member(*nth), targets[*nth].clone())
                    .with_boundary(std::sync::Arc::new(composed.life.clone()));
                let mut workload = Workload::new(backend)
                    .policy(Says::Auto.policy())
                    .gate(quick());
                workload = match (needs, nth) {
                    (Needs::InARow, 1 | 2) => workload.depends_on(member(nth - 1)),
                    (Needs::Backwards, 0 | 1) => workload.depends_on(member(nth + 1)),
                    _ => workload,
                };
                builder = builder.workload(workload);
            }
            if knows.len() == MEMBERS {
                builder = builder.stack(Stack::new(shop(), (0..MEMBERS).map(member)));
            }
            builder.build().expect("an engine")
        }
    }

    fn start<T, F>(
        &self,
        knows: Vec<usize>,
        fate: Option<Fate>,
        act: impl FnOnce(RollbackEngine) -> F + Send + 'static,
    ) -> Process<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let engine = Self::engine(self.targets.clone(), self.story.needs, knows);
        let program = Program {
            knows_the_workload: Known::Yes,
            hanging: Hanging::Nothing,
            says: Says::Auto,
            panics: None,
            heals: None,
        };
        Process::start(&self.machine, program, fate, move |composed| {
            let engine = engine(&composed);
            async move { act(engine).await }
        })
    }

    fn does<T, F>(&self, act: impl FnOnce(RollbackEngine) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        match self.start((0..MEMBERS).collect(), None, act).run() {
            Came::ToItsEnd(ended) => ended,
            Came::ToItsPoint | Came::Apart => panic!("nothing cuts it short"),
        }
    }

    fn set(&mut self) {
        let mut versions = vec!["v1"];
        if self.story.deed == Deed::Rollback {
            versions.push("v2");
        }
        for version in versions {
            let made = self
                .does(move |engine| async move { runs(&engine, deploys(version, MEMBERS)).await });
            match made {
                Ok(report) if report.succeeded() => {}
                other => self.breach("the base does not come to be", format!("{other:?}")),
            }
        }
        if let Deed::Sick(nth) = self.story.deed {
            self.targets[nth].sicken("v2");
        }
    }

    /// What is live when it goes forward.
    fn after(&self) -> Vec<&'static str> {
        match self.story.deed {
            Deed::Rollback => vec!["v1"; MEMBERS],
            Deed::Some => vec!["v2", "v2", "v1"],
            _ => vec!["v2"; MEMBERS],
        }
    }

    /// What was live before.
    fn before(&self) -> Vec<&'static str> {
        match self.story.deed {
            Deed::Rollback => vec!["v2"; MEMBERS],
            _ => vec!["v1"; MEMBERS],
        }
    }

    fn act(&mut self) -> Option<String> {
        let deed = self.story.deed;
        let away = match deed {
            Deed::Away(nth) => Some(self.targets[nth].clone()),
            _ => None,
        };
        let fate = self.story.first.map(Fate::Halts);
        let mut process = self.start((0..MEMBERS).collect(), fate, move |engine| async move {
            let request = match deed {
                Deed::Rollback => StackRequest::rollback(shop(), StackGoal::LastHealthy, me()),
                Deed::Some => deploys("v2", 2),
                _ => deploys("v2", MEMBERS),
            };
            let mut notices = engine.subscribe();
            let run = engine.run_stack(request).await?;
            let event = match deed {
                Deed::Cancel(event) => event,
                Deed::Away(_) => "switch-intended",
                _ => return Ok(run.await),
            };
            while !run.is_finished() {
                let until = tokio::time::timeout(Duration::from_millis(1), notices.recv());
                let Ok(Ok(notice)) = until.await else {
                    continue;
                };
                if notice.event.is_some_and(|e| e.event.name() == event) {
                    break;
                }
            }
            match &away {
                Some(target) => target.cut(),
                None => run.cancel(),
            }
            Ok::<_, Error>(run.await)
        });
        let came = process.run();
        let met = matches!(came, Came::ToItsPoint) || !process.is_fated();
        let cut_at = met.then(|| process.last_point());
        let cut_at = cut_at.filter(|_| self.story.first.is_some());
        match came {
            Came::ToItsEnd(Ok(report)) => self.report = Some(report),
            Came::ToItsEnd(Err(e)) => self.breach("the group was not opened", e.to_string()),
            Came::Apart => self.breach("the act panicked", ""),
            Came::ToItsPoint => {}
        }
        process.kill();
        for nth in 0..MEMBERS {
            self.targets[nth].mend();
            // What is not to be switched again, nobody starts either.
            if self.story.meanwhile == Meanwhile::Reboot && self.goes_forward(nth) {
                self.targets[nth].stop_by_hand();
            }
        }
        cut_at
    }

    /// One process recovers, perhaps cut short. Where it was cut, if it was.
    fn recovery(&mut self, knows: Vec<usize>, fate: Option<Fate>) -> Option<String> {
        let mut process = self.start(knows, fate, |engine| async move {
            engine.recover().await.map(drop)
        });
        let came = process.run();
        let cut = matches!(came, Came::ToItsPoint).then(|| process.last_point());
        if matches!(came, Came::Apart) {
            self.breach("a recovery panicked", "");
        }
        process.kill();
        cut
    }

    /// Recoveries, the first one cut short, until nothing is in flight.
    fn recovers(&mut self) -> Option<String> {
        let mut fate = self.story.second.map(Fate::Halts);
        let mut cut = None;
        for _ in 0..ENOUGH {
            match self.story.by {
                By::One => {
                    let at = self.recovery((0..MEMBERS).collect(), fate.take());
                    cut = cut.or(at);
                }
                By::Each => {
                    for nth in 0..MEMBERS {
                        let at = self.recovery(vec![nth], fate.take());
                        cut = cut.or(at);
                    }
                }
                By::EachBackwards => {
                    for nth in (0..MEMBERS).rev() {
                        let at = self.recovery(vec![nth], fate.take());
                        cut = cut.or(at);
                    }
                }
                By::TwoAtOnce => {
                    let at = self.two_at_once(fate.take());
                    cut = cut.or(at);
                }
            }
            if !self.is_in_flight() {
                break;
            }
        }
        cut
    }

    fn two_at_once(&mut self, fate: Option<Fate>) -> Option<String> {
        let mut first = self.start(vec![0, 1], fate, |engine| async move {
            engine.recover().await.map(drop)
        });
        let came = first.run();
        let cut = matches!(came, Came::ToItsPoint).then(|| first.last_point());
        self.recovery(vec![1, 2], None);
        if cut.is_some() {
            first.resume();
        }
        first.kill();
        cut
    }

    /// Whether a member is in flight, and its group decided.
    fn goes_forward(&self, nth: usize) -> bool {
        let store = self.machine.disk.store();
        wait(async move {
            let state = store.workload(&member(nth)).await.expect("a state");
            let Some(in_flight) = state.in_flight else {
                return false;
            };
            let own = store.get(&in_flight.deployment).await.expect("a record");
            let group = own.as_ref().and_then(|d| d.group());
            let Some(id) = group.map(|g| g.id.coordinator().clone()) else {
                return false;
            };
            let coordinator = store.get(&id).await.expect("a record");
            coordinator.is_some_and(|c| c.has_decided())
        })
    }

    fn is_in_flight(&self) -> bool {
        let store = self.machine.disk.store();
        wait(async move {
            let all = store.workloads().await.expect("states");
            all.states.iter().any(|s| s.in_flight.is_some())
        })
    }

    fn records(&self) -> BTreeMap<WorkloadId, (LiveRecord, Vec<Deployment>)> {
        let store = self.machine.disk.store();
        wait(async move {
            let mut all = BTreeMap::new();
            for nth in 0..MEMBERS {
                let query = rollback_core::history::Query::workload(&member(nth)).limit(1_000);
                let state = store.workload(&member(nth)).await.expect("a state");
                let page = store.list(&query).await.expect("records");
                all.insert(member(nth), (state.live, page.deployments));
            }
            all
        })
    }

    /// All of them are new, or all are as before; and the history says so.
    fn rests(&mut self) {
        if self.is_in_flight() {
            self.breach("it is not at rest", "");
            return;
        }
        let serving: Vec<String> = self
            .targets
            .iter()
            .map(|t| t.serving().unwrap_or_default())
            .collect();
        let is = |expected: Vec<&str>| serving.iter().map(String::as_str).eq(expected);
        let (forward, back) = (is(self.after()), is(self.before()));
        if !forward && !back {
            self.breach("neither all are new nor all as before", serving.join(" "));
        }
        if self.targets.iter().any(|t| t.running() != 1) {
            self.breach("not exactly one runs", "");
        }
        let may_go_forward = !matches!(self.story.deed, Deed::Sick(_));
        if forward && !may_go_forward {
            self.breach("a sick group went live", serving.join(" "));
        }
        let violations: Vec<String> = self
            .targets
            .iter()
            .flat_map(FakeTarget::violations)
            .collect();
        if !violations.is_empty() {
            self.breach(
                "the engine broke its promise to a backend",
                violations.join("; "),
            );
        }
        for (workload, (live, records)) in self.records() {
            let known = live
                .known()
                .and_then(|id| records.iter().find(|d| d.id() == id));
            let recorded = known.and_then(|d| d.release().map(|r| r.artifact().digest.clone()));
            let nth = (0..MEMBERS)
                .find(|nth| member(*nth) == workload)
                .unwrap_or(0);
            if recorded.as_deref() != Some(serving[nth].as_str()) {
                let seen = format!("{workload}: {live} on record, {} serves", serving[nth]);
                self.breach("what is live is not what is on record", seen);
            }
            if let Some(open) = records.iter().find(|d| d.outcome().is_none()) {
                self.breach("a record is unfinished", open.phase().to_string());
            }
        }
        if let Some(report) = &self.report {
            let said = report.succeeded();
            let whole = report.members().values().all(Result::is_ok);
            if said && !forward {
                self.breach("a success was told, and it is not live", serving.join(" "));
            }
            if whole && !said && forward {
                self.breach("a failure was told, and it is live", serving.join(" "));
            }
        }
        let (machine, mut found) = (self.machine.clone(), Vec::new());
        let mut more = wait(async move {
            nothing_acknowledged_is_lost(&machine, &mut found).await;
            found
        });
        self.breaches.append(&mut more);
    }

    /// One more deployment works, and nothing half-made is left.
    fn goes_on(&mut self) {
        if !self.breaches.is_empty() {
            return;
        }
        let next = self.does(|engine| async move { runs(&engine, deploys("v3", MEMBERS)).await });
        match next {
            Ok(report) if report.succeeded() => {}
            Ok(report) => self.breach("the next deployment does not work", report.summary()),
            Err(e) => self.breach("the next deployment does not work", e.to_string()),
        }
        let half = self
            .targets
            .iter()
            .flat_map(FakeTarget::standing)
            .find(|s| !s.complete || (!s.was_live && !s.runs));
        if let Some(half) = half {
            self.breach("something that was never live is left over", half.digest);
        }
        let odd = self
            .records()
            .into_values()
            .flat_map(|(_, records)| records);
        for d in odd {
            if d.outcome() == Some(Outcome::Degraded) {
                self.breach(
                    "a member is degraded",
                    d.settlement().map_or("", |s| &s.summary),
                );
            }
        }
    }
}

fn quick() -> Gate {
    Gate::default()
        .retries(1)
        .interval(Duration::from_millis(1))
        .start_period(Duration::ZERO)
}
