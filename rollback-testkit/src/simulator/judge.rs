//! What has to be true at each step of a [`Play`](super::play::Play): of how an act ends, of a
//! recovery, at rest, and of the deployment after.

use rollback_core::deployment::{Deployment, LiveRecord, Outcome, TriggerKind};
use rollback_core::error::ErrorKind;

use super::act::{self, Ended};
use super::hooks::Hook;
use super::oracle::{Breach, Sight, Tidy, nothing_acknowledged_is_lost};
use super::play::{Stage, wait};
use super::process::{Came, api, me};
use super::scenario::{Hanging, Release, Verb};
use super::trouble::{Change, During, Hand, Trouble};

/// How often a process may be told to recover before an operator is said to be needed.
const RECOVERS: usize = 3;

impl Stage {
    /// What has to be true of a recovery whatever comes after it.
    pub(super) fn was_recovered(&mut self, before: &Sight, to_its_end: bool) {
        let after = self.sight();
        for s in &before.standing {
            let is_known = s.by.as_ref().is_some_and(|by| before.record(by).is_some());
            if s.runs && !is_known && !after.runs(&s.handle) {
                self.breach("recovery stopped what it does not know", s.digest.clone());
            }
        }
        let panicked = matches!(self.play.trouble, Trouble::Panics(_, During::Recovery));
        if panicked && to_its_end && after.state.in_flight.is_some() {
            self.breach("a hook that panics keeps a workload from rest", "");
        }
        let Some(in_flight) = &before.state.in_flight else {
            return;
        };
        let stopped = self.play.trouble == Trouble::ByHand(Hand::Stops);
        let record = after.record(&in_flight.deployment);
        let succeeded = record.is_some_and(|d| d.outcome() == Some(Outcome::Succeeded));
        let runs = after.live.as_ref().is_some_and(|live| after.runs(live));
        if stopped && succeeded && !runs {
            self.breach("what does not run is on record as a success", "");
        }
    }

    /// An act that nobody cut short ends as it should.
    pub(super) fn ends_well(&mut self, came: Came<Ended>) {
        let panics = matches!(self.play.trouble, Trouble::Panics(..));
        let refused = self.play.trouble == Trouble::Refuses;
        // Somebody else's deployment may have come before.
        let overtaken = self.play.trouble.is_overtaken();
        match came {
            Came::ToItsEnd(Ended::Report(report)) => self.told = Some(report),
            Came::Apart if !panics => self.breach("the engine panicked", ""),
            Came::ToItsEnd(Ended::Failed(e)) if !panics && !overtaken && !refused => {
                self.breach("an act failed that nobody cut short", e.to_string());
            }
            _ => {}
        }
    }

    /// It comes to rest by itself, and is as it should be.
    pub(super) fn rests(&mut self) {
        let program = self.program();
        let mut said = String::new();
        for _ in 0..RECOVERS {
            match self.does(program, act::recover) {
                Ended::Recovered(all) => {
                    let failed = all.iter().find_map(|r| r.result.as_ref().err());
                    said = failed.map(ToString::to_string).unwrap_or_default();
                    if failed.is_none() {
                        break;
                    }
                }
                Ended::Failed(e) => said = e.to_string(),
                _ => {}
            }
        }
        if !said.is_empty() {
            self.breach("an operator is needed", said);
        }
        let sight = self.sight();
        let trouble = self.play.trouble;
        let foreign = trouble == Trouble::ByHand(Hand::PutsLive);
        let by_hand = matches!(self.play.scenario.verb, Verb::Adopt | Verb::AdoptDrifted);
        let adopted = sight.records.first().is_some_and(|d| {
            d.trigger().kind() == TriggerKind::Adopt && d.outcome() == Some(Outcome::Succeeded)
        });
        if foreign && sight.state.live == LiveRecord::Unknown {
            // The documented way out.
        } else if by_hand && !adopted {
            // Nobody has told the engine of what is live.
        } else if matches!(trouble, Trouble::ByHand(_) | Trouble::Backup(..)) {
            // Nobody has told the engine; `goes_on` will.
        } else {
            sight.is_one_live_and_on_record(&mut self.breaches);
            let may = self.play.scenario.may_serve();
            let overtaken = trouble.is_overtaken() && sight.serves() == "v8";
            // An automatic rollback that a hook refuses three times ends where it began.
            let refused = trouble == Trouble::Panics(Hook::Restart, During::Recovery)
                && sight.serves() == "v2";
            // The next process may have had the hook that heals it, where the first had none.
            let healed = trouble == Trouble::Catalog(Change::Hooks)
                && self.play.scenario.release == Release::SickUntilRemedied
                && sight.serves() == self.play.scenario.release.reference();
            let known = overtaken || refused || healed;
            if !may.contains(&sight.serves()) && !known {
                self.breach("the wrong release serves", sight.serves().to_owned());
            }
            self.restarted(&sight);
        }
        // Unless it was asked for.
        let is_left = !matches!(trouble, Trouble::ByHand(_)) && !trouble.is_overtaken();
        if foreign || by_hand && is_left {
            let put = sight.by_hand().into_iter().next_back();
            if !put.is_some_and(|put| sight.runs(&put)) {
                self.breach("what somebody put live by hand was stopped", "");
            }
        }
        if sight.state.in_flight.is_some() {
            self.breach("recovery leaves something in flight", "");
        }
        // What is not known to be nobody's waits for the next deployment.
        let waits = matches!(trouble, Trouble::ByHand(_)) || trouble.takes_history_back();
        if !waits {
            sight.nothing_is_left_over(Tidy::UntilTheNextDeployment, &mut self.breaches);
        }
        sight.records_tell_the_truth(&mut self.breaches);
        if let Some(told) = self.told.take()
            && !trouble.takes_history_back()
        {
            let record = sight.record(told.deployment().id());
            if record.and_then(Deployment::outcome) != Some(told.outcome()) {
                self.breach("a caller was told something else", told.summary());
            }
        }
        self.tasks_ran_once();
        let machine = self.machine.clone();
        let lost = wait(async move {
            let mut breaches = Vec::new();
            nothing_acknowledged_is_lost(&machine, &mut breaches).await;
            breaches
        });
        self.breaches.extend(lost);
    }

    /// The processes were brought to what is live.
    fn restarted(&mut self, sight: &Sight) {
        let hooks = self.play.scenario.hanging == Hanging::Everything
            && self.play.trouble != Trouble::Catalog(Change::Hooks);
        // One that panics restarts nothing.
        let panics = matches!(self.play.trouble, Trouble::Panics(Hook::Restart, _));
        let by_deployment = !matches!(self.play.scenario.verb, Verb::Adopt | Verb::AdoptDrifted);
        let to = self.machine.traces.lock().restarted_to.clone();
        if hooks && by_deployment && !panics && to != sight.live {
            self.breach("the processes were not restarted to what is live", "");
        }
    }

    fn tasks_ran_once(&mut self) {
        let twice = self.machine.traces.lock().tasks.values().any(|n| *n > 1);
        if twice {
            self.breach("a release task ran twice", "");
        }
    }

    /// Life goes on: the next deployment works, and leaves nothing over.
    pub(super) fn goes_on(&mut self) {
        let program = self.program();
        let sight = self.sight();
        if sight.state.live == LiveRecord::Unknown && sight.live.is_some()
            || self.play.trouble.takes_history_back()
        {
            let adopted = self.does(program, |engine| async move {
                super::act::adopted(&engine).await
            });
            if let Err(e) = adopted
                && e.kind() != ErrorKind::AlreadyLive
                && sight.live.is_some()
            {
                self.breach("what is live cannot be adopted", e.to_string());
            }
        }
        let deployed = self.does(program, |engine| async move {
            engine.lift_hold(&api(), &me()).await?;
            act::deploy(&engine, "v9").await
        });
        match deployed {
            Ok(report) if report.succeeded() => {}
            Ok(report) => self.breach("the next deployment does not succeed", report.summary()),
            Err(e) => self.breach("the next deployment is refused", e.to_string()),
        }
        let sight = self.sight();
        let mut breaches = Vec::new();
        sight.is_one_live_and_on_record(&mut breaches);
        sight.nothing_is_left_over(Tidy::Now, &mut breaches);
        if sight.serves() != "v9" {
            breaches.push(Breach::new(
                "the next deployment does not serve",
                sight.serves().to_owned(),
            ));
        }
        self.breaches.extend(breaches);
        let violations = self.machine.target.violations();
        if let Some(first) = violations.first() {
            self.breach("the engine broke its promise to the backend", first.clone());
        }
    }
}
