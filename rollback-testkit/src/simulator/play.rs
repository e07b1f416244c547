//! [`Play`]: one machine's story, from its first deployment to the judgement of the oracle.

use std::fmt;

use rollback_core::engine::{Report, RollbackEngine};

use rollback_core::history::Liveness;

use super::act::{self, Ended};
use super::hooks::Hook;
use super::life::{Fate, Nth};
use super::oracle::{Breach, Sight};
use super::process::{Came, Known, Machine, Process, Program};
use super::scenario::{Bringing, Hanging, Release, Says, Scenario, Verb};
use super::trouble::{Change, During, Hand, How, Meanwhile, Since, To, Trouble, When};

/// One story: what is done, where it is cut short, and what happens meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Play {
    pub(super) scenario: Scenario,
    pub(super) trouble: Trouble,
    /// Where the act is cut short.
    pub(super) first: Option<Nth>,
    /// Where the first recovery is.
    pub(super) second: Option<Nth>,
}

impl fmt::Display for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} | trouble: {} | first: {:?}, second: {:?}",
            self.scenario, self.trouble, self.first, self.second
        )
    }
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Played {
    /// The name of the point at which the act was cut short; `None`: it came to its end.
    pub(super) cut_at: Option<String>,
    /// The same for the first recovery.
    pub(super) cut_again_at: Option<String>,
    pub(super) breaches: Vec<Breach>,
}

pub(super) struct Stage {
    pub(super) play: Play,
    pub(super) machine: Machine,
    pub(super) breaches: Vec<Breach>,
    /// What the act's caller was told.
    pub(super) told: Option<Box<Report>>,
    /// With what all programs are composed since one of them was: what was begun with a hook is not
    /// finished without it.
    hanging: Hanging,
}

impl Play {
    /// Plays the story to its end, and says what was seen.
    pub(super) fn play(self) -> Played {
        let mut stage = Stage {
            play: self,
            machine: Machine::new(self.scenario.bringing),
            breaches: Vec::new(),
            told: None,
            hanging: self.scenario.hanging,
        };
        stage.set();
        let (cut_at, cut_again_at) = stage.act();
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
    pub(super) fn program(&self) -> Program {
        let scenario = self.play.scenario;
        let heals = scenario.release == Release::SickUntilRemedied;
        Program {
            knows_the_workload: Known::Yes,
            hanging: self.hanging,
            says: scenario.says,
            panics: None,
            heals: heals.then_some(scenario.release.reference()),
        }
    }

    /// Lets a process without faults do something to its end.
    pub(super) fn does<T, F>(&self, program: Program, act: impl FnOnce(RollbackEngine) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut process = Process::start(&self.machine, program, None, |c| act(c.engine()));
        match process.run() {
            Came::ToItsEnd(ended) => ended,
            Came::ToItsPoint | Came::Apart => panic!("nothing cuts it short"),
        }
    }

    pub(super) fn sight(&self) -> Sight {
        let machine = self.machine.clone();
        wait(async move { Sight::of(&machine).await })
    }

    pub(super) fn breach(&mut self, what: &'static str, seen: impl Into<String>) {
        self.breaches.push(Breach::new(what, seen));
    }

    /// What is there before the act.
    fn set(&mut self) {
        let scenario = self.play.scenario;
        let target = &self.machine.target;
        if scenario.verb == Verb::Adopt {
            target.put_live_by_hand("v1");
        }
        let verb = scenario.verb;
        let base = self.does(self.program(), |engine| act::base(engine, verb));
        if let Err(e) = base {
            self.breach("the base does not come to be", e.to_string());
        }
        let target = &self.machine.target;
        match scenario.release {
            Release::Good => {}
            Release::Sick | Release::SickUntilRemedied => target.sicken("v2"),
            Release::SickAsTheFormer => {
                target.sicken("v1");
                target.sicken("v2");
            }
        }
        if scenario.verb == Verb::AdoptDrifted {
            target.put_live_by_hand("by-hand");
        }
    }

    /// The act, what cuts it short, and the first recovery.
    fn act(&mut self) -> (Option<String>, Option<String>) {
        let Scenario { verb, release, .. } = self.play.scenario;
        let mut program = self.program();
        if let Trouble::Panics(hook, During::TheAct) = self.play.trouble {
            program.panics = Some(hook);
        }
        let before = self.machine.disk.len();
        let fate = self.play.first.map(match self.play.trouble {
            Trouble::Refuses => Fate::Refused,
            _ => Fate::Halts,
        });
        let mut process = Process::start(&self.machine, program, fate, |composed| {
            act::act(composed, verb, release)
        });
        let came = process.run();
        // Whose fate did not come to pass in a whole life was told everything.
        let met = matches!(came, Came::ToItsPoint) || !process.is_fated();
        let cut_at = met.then(|| process.last_point());
        self.ends_well(came);
        match self.play.trouble {
            Trouble::Stopped(meanwhile) if cut_at.is_some() => {
                self.meanwhile(meanwhile);
                let came = process.resume();
                self.ends_well(came);
                process.kill();
            }
            Trouble::Away(To::WhoActs) if cut_at.is_some() => {
                self.machine.target.cut();
                // It insists for a while, and leaves the rest to recovery.
                process.resume();
                process.kill();
                self.machine.target.mend();
            }
            Trouble::Threads(when) => {
                process.leave();
                if when == When::Before {
                    self.threads_end();
                }
            }
            _ => process.kill(),
        }
        self.trouble(before);
        let cut_again_at = self.recovers();
        (cut_at, cut_again_at)
    }

    /// What happens between the death of one process and the birth of the next.
    fn trouble(&mut self, before: usize) {
        let target = &self.machine.target;
        match self.play.trouble {
            Trouble::Backup(since, how) => {
                let now = self.machine.disk.len();
                let writes = match since {
                    Since::Before => before,
                    Since::HalfWay => before + (now - before) / 2,
                };
                let disk = self.machine.disk.clone();
                wait(async move { disk.restore(writes, how, |w| w).await });
            }
            Trouble::Program(age) => {
                let disk = self.machine.disk.clone();
                wait(async move {
                    disk.restore(disk.len(), How::Copied, |w| w.read_by(age))
                        .await
                });
            }
            Trouble::Clock(years) => self.machine.clock.jump(years),
            Trouble::ByHand(Hand::PutsLive) => drop(target.put_live_by_hand("foreign")),
            Trouble::ByHand(Hand::Stops) => target.stop_by_hand(),
            Trouble::ByHand(Hand::Removes) => target.remove_by_hand(),
            Trouble::Catalog(Change::Bringing) => match self.play.scenario.bringing {
                Bringing::Replace | Bringing::InPlace => target.now_beside(),
                Bringing::Beside => target.now_replacing(),
            },
            Trouble::Away(To::WhoRecovers) => target.cut(),
            _ => {}
        }
    }

    /// The first process that recovers. It may be cut short, too.
    fn recovers(&mut self) -> Option<String> {
        let mut program = self.program();
        match self.play.trouble {
            Trouble::Panics(hook, During::Recovery) => program.panics = Some(hook),
            Trouble::Catalog(Change::Gone) => program.knows_the_workload = Known::No,
            Trouble::Catalog(Change::Hooks) => {
                program.hanging = match program.hanging {
                    Hanging::Nothing => Hanging::Everything,
                    Hanging::Everything => Hanging::Nothing,
                };
                if program.hanging == Hanging::Everything {
                    self.hanging = Hanging::Everything;
                }
            }
            Trouble::Catalog(Change::Policy) => {
                program.says = match program.says {
                    Says::Auto | Says::AutoAndHold => Says::Off,
                    Says::Off | Says::Record => Says::Auto,
                };
            }
            _ => {}
        }
        let before = self.sight();
        let fate = self.play.second.map(Fate::Halts);
        let mut process = Process::start(&self.machine, program, fate, |composed| {
            act::recover(composed.engine())
        });
        let came = process.run();
        let during = self.play.trouble == Trouble::Threads(When::During);
        let cut = match came {
            Came::ToItsPoint => Some(process.last_point()),
            Came::ToItsEnd(_) | Came::Apart => None,
        };
        if during {
            // Where it would have been cut short, the old threads go on instead.
            self.threads_end();
            if cut.is_some() {
                process.resume();
            }
        }
        process.kill();
        self.machine.target.mend();
        self.was_recovered(&before, cut.is_none());
        if self.play.trouble == Trouble::Threads(When::After) {
            self.deploys_meanwhile();
            self.threads_end();
        }
        cut
    }

    pub(super) fn threads_end(&mut self) {
        if self.machine.threads.go_on(1_000) {
            self.breach("a thread does not end", "");
        }
    }

    /// What another process may do while this one is stopped.
    fn meanwhile(&mut self, meanwhile: Meanwhile) {
        if let Meanwhile::ClockJumps(years) = meanwhile {
            self.machine.clock.jump(years);
            return;
        }
        let recovered = self.does(self.program(), act::recover);
        match recovered {
            Ended::Recovered(all) if all.is_empty() => {}
            other => self.breach("a living holder was taken over", format!("{other:?}")),
        }
        if meanwhile == Meanwhile::Deploys {
            self.deploys_meanwhile();
        }
    }

    /// Another process tries to deploy while what a former one began may still go on.
    fn deploys_meanwhile(&mut self) {
        let in_flight = self.sight().state.in_flight;
        let is_held = in_flight.is_some_and(|f| f.liveness == Liveness::Alive);
        let deployed = self.does(self.program(), |engine| async move {
            act::deploy(&engine, "v8").await
        });
        if deployed.is_ok() && is_held {
            self.breach("two deployments ran at once", "");
        }
    }
}

/// Waits for what waits for nothing.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

impl Trouble {
    /// Whether it can happen to a scenario at all.
    pub(super) fn suits(self, scenario: &Scenario) -> bool {
        let hooked = scenario.hanging == Hanging::Everything;
        match self {
            Self::Panics(Hook::Remediation, _) => hooked && scenario.release != Release::Good,
            _ => hooked || !self.needs_hooks(),
        }
    }
}
