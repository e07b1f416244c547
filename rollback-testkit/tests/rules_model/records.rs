//! The same histories as records, folded from events.

use std::time::Duration;

use rollback_core::backend::{End, Evidence, Handle, Instance, Prepared, Rollout};
use rollback_core::deployment::{
    Annotations, Deployment, LiveRecord, Note, Opening, Origin, Outcome, Settlement, Trigger,
};
use rollback_core::event::{Cause, Event, TimedEvent};
use rollback_core::health::{Site, Verdict};
use rollback_core::history::Sequence;
use rollback_core::id::{Actor, DeploymentId};
use rollback_core::policy::RollbackMode;
use rollback_core::release::{Artifact, Release};
use rollback_core::time::Timestamp;

use crate::history::{Fate, History, Live};

impl History {
    /// The records, newest first.
    pub(crate) fn records(&self) -> Vec<Deployment> {
        (0..self.plain.len())
            .rev()
            .map(|i| self.record(i))
            .collect()
    }

    pub(crate) fn live_record(&self) -> LiveRecord {
        record_of(self.live)
    }

    pub(crate) fn now(&self) -> Timestamp {
        time(self.day, self.plain.len() as u64)
    }

    fn record(&self, i: usize) -> Deployment {
        let p = &self.plain[i];
        let trigger = match (p.restores, i.checked_sub(1)) {
            (Some(to), Some(failed)) if self.plain[failed].rolled_back_by == Some(i) => {
                Trigger::AutomaticRollback {
                    to: id(to),
                    failed: id(failed),
                }
            }
            (Some(to), _) => Trigger::Rollback { to: id(to) },
            _ if p.adopted => Trigger::Adopt,
            _ => Trigger::Deploy,
        };
        let actor = Actor::user("model").unwrap();
        let workload = "api@model".parse().unwrap();
        let mut new = Opening::new(id(i), workload, trigger, actor, opened_at(p.day, i));
        new.replaces = record_of(p.before);
        new.fallback = record_of(p.before);
        let first = self.first(i);
        if i >= self.origins_since && first != i {
            let replaces = record_of(self.plain[first].before);
            new.origin = Some(Origin::new(id(first), Sequence(first as u64 + 1), replaces));
        }
        new.to = End::Planned(release(p.release));
        new.policy.rollback = match p.off {
            true => RollbackMode::Off,
            false => RollbackMode::Record,
        };
        let bad = p.bad.then(|| {
            Note::new(
                Actor::user("model").unwrap(),
                opened_at(p.day, i),
                "bad".parse().unwrap(),
            )
        });
        let mut annotations = Annotations::default();
        annotations.pinned = p.pinned;
        annotations.bad = bad;
        let at = settled_at(p.day, i);
        let events = self.events(i).into_iter();
        let events = events.map(|event| TimedEvent::new(at, event)).collect();
        Deployment::replay(new, Sequence(i as u64 + 1), events, annotations).unwrap()
    }

    fn events(&self, i: usize) -> Vec<Event> {
        let p = &self.plain[i];
        let prepared = Event::Prepared(Prepared::new(
            Rollout::Replace,
            Instance::new(release(p.release), Handle::new(format!("place-{i}"))),
        ));
        let verdict = match p.verdict {
            Some(true) => Verdict::Passed,
            Some(false) => Verdict::failed("it answers 500"),
            None => Verdict::Unknown,
        };
        let judged = Event::Judged {
            site: Site::Live,
            verdict: verdict.clone(),
            notes: Vec::new(),
        };
        let error = "it does not start".to_owned();
        let back = Event::GoingBack(Cause::StepFailed { error });
        let evidence = Evidence::default();
        let mut events = match p.fate {
            _ if p.adopted => vec![prepared, judged],
            // With and without an instance: it makes no difference.
            Fate::NeverSwitched if i.is_multiple_of(2) => vec![Event::PrepareIntended, prepared],
            Fate::NeverSwitched => vec![Event::PrepareIntended, back],
            Fate::SwitchedBack => vec![
                Event::PrepareIntended,
                prepared,
                Event::SwitchIntended,
                Event::Switched { evidence },
                back,
            ],
            // Of a switch that left no evidence nothing need stand at the target.
            Fate::Lost => vec![
                Event::PrepareIntended,
                prepared,
                Event::SwitchIntended,
                back,
            ],
            _ => vec![
                Event::PrepareIntended,
                prepared,
                Event::SwitchIntended,
                Event::Switched { evidence },
                judged,
            ],
        };
        if p.in_flight {
            return events;
        }
        events.push(Event::Settled(Settlement::new(
            match (p.fate, p.verdict) {
                (Fate::Lost, _) => Outcome::Interrupted,
                (Fate::NeverSwitched, _) | (_, Some(false)) => Outcome::Failed,
                (Fate::SwitchedBack, _) => Outcome::FailedAndRolledBack,
                _ => Outcome::Succeeded,
            },
            verdict,
            record_of(p.after),
            String::new(),
        )));
        if let Some(by) = p.rolled_back_by {
            events.push(Event::RolledBackBy { deployment: id(by) });
        }
        events
    }
}

fn record_of(live: Live) -> LiveRecord {
    match live {
        Live::Nothing => LiveRecord::Nothing,
        Live::Known(i) => LiveRecord::Known(id(i)),
        Live::Unknown => LiveRecord::Unknown,
    }
}

pub(crate) fn id(i: usize) -> DeploymentId {
    format!("deploy-20260101-000000-{i:04x}").parse().unwrap()
}

/// Which one an id names.
pub(crate) fn index(d: &Deployment) -> usize {
    usize::try_from(d.sequence().0).unwrap() - 1
}

fn release(n: u8) -> Release {
    let digest = format!("r{n}");
    Release::new("model".parse().unwrap(), Artifact::new(&*digest, &*digest))
}

/// The `n`th second of a day.
fn time(day: u64, n: u64) -> Timestamp {
    let seconds = 1_700_000_000 + day * 24 * 60 * 60 + n;
    Timestamp::UNIX_EPOCH.plus(Duration::from_secs(seconds))
}

fn opened_at(day: u64, i: usize) -> Timestamp {
    time(day, i as u64)
}

/// A moment later, and before the next one is opened.
pub(crate) fn settled_at(day: u64, i: usize) -> Timestamp {
    time(day, i as u64).plus(Duration::from_millis(500))
}
