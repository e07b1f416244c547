//! Agreement: the same random history in several stores, compared record by record.

use std::time::Duration;

use rollback_core::deployment::{Annotation, Opening, Outcome, Trigger};
use rollback_core::error::{StoreError, StoreErrorKind};
use rollback_core::event::{Cause, Event, TimedEvent};
use rollback_core::health::{Site, Verdict};
use rollback_core::history::{
    Amend, Finished, HistoryStore, Lease, Query, Sequence, Then, Version, WorkloadState,
};
use rollback_core::id::{Actor, DeploymentId};
use rollback_core::policy::{Policy, RollbackMode};

use super::sample::{amend, at, by_ann, holder, note, prepared, sample_of, settlement};

const WORKLOADS: [&str; 3] = ["api@web-1", "api@web-2", "db@web-1"];

/// Does the same random things to all stores, and panics where they differ: in what they answer,
/// in a record, a state, a page or a count. The seed tells one history from another.
pub async fn agree(stores: &[&dyn HistoryStore], seed: u64, steps: usize) {
    let mut run = Agreement {
        stores,
        random: Random(seed),
        seed,
        clock: 0,
        known: Vec::new(),
        leases: Vec::new(),
    };
    for _ in 0..steps {
        run.step().await;
    }
    run.compare().await;
}

/// A small generator: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    /// splitmix64, by Steele, Lea and Flood.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        match all.len() {
            0 => None,
            n => Some(&all[self.below(n)]),
        }
    }
}

struct Agreement<'a> {
    stores: &'a [&'a dyn HistoryStore],
    random: Random,
    seed: u64,
    clock: u64,
    known: Vec<Opening>,
    /// Deployments in flight, with each store's own lease.
    leases: Vec<(Opening, Vec<Lease>)>,
}

/// What a store answered, without what may differ.
fn kind<T>(result: &Result<T, StoreError>) -> Result<(), StoreErrorKind> {
    result.as_ref().map(drop).map_err(StoreError::kind)
}

impl Agreement<'_> {
    fn now(&mut self) -> u64 {
        self.clock += 1 + self.random.next() % 5;
        self.clock
    }

    #[track_caller]
    fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, answers: &[T]) {
        for answer in answers {
            assert_eq!(
                answers[0], *answer,
                "seed {}: the stores differ in {what}",
                self.seed
            );
        }
    }

    async fn step(&mut self) {
        match self.random.below(16) {
            0..=3 => self.begin().await,
            4..=7 => self.append().await,
            8..=10 => self.finish().await,
            11 => self.drop_and_take_over().await,
            12 => self.annotate().await,
            13 => self.set().await,
            14 => self.cancel().await,
            _ => self.forget().await,
        }
    }

    async fn begin(&mut self) {
        let workload = WORKLOADS[self.random.below(WORKLOADS.len())];
        let n = self.now();
        let trigger = match (self.random.below(5), self.random.of(&self.known)) {
            (0, _) => Trigger::Adopt,
            (1, Some(to)) => Trigger::Rollback { to: to.id.clone() },
            (2, Some(of)) => Trigger::Redeploy { of: of.id.clone() },
            _ => Trigger::Deploy,
        };
        let mut new = sample_of(workload, n, trigger);
        if self.random.below(4) == 0 {
            new.actor = Actor::system("cron").unwrap();
            new.labels.clear();
        }
        if self.random.below(12) == 0
            && let Some(known) = self.random.of(&self.known)
        {
            new.id = known.id.clone();
        }
        let stale = u64::from(self.random.below(8) == 0);
        let mut answers = Vec::new();
        let mut leases = Vec::new();
        for store in self.stores {
            let Version(version) = store.workload(&new.workload).await.unwrap().version;
            let begun = store.begin(&new, &holder(), Version(version + stale)).await;
            answers.push((kind(&begun), begun.as_ref().ok().map(|b| b.sequence)));
            leases.extend(begun.ok().map(|b| b.lease));
        }
        self.same("begin", &answers);
        if !leases.is_empty() {
            self.known.push(new.clone());
            self.leases.push((new, leases));
        }
    }

    fn event(&mut self, new: &Opening) -> Event {
        match self.random.below(10) {
            0 => Event::PrepareIntended,
            1 => prepared(new),
            2 => Event::SwitchIntended,
            3 => Event::Switched {
                evidence: rollback_core::backend::Evidence::default(),
            },
            4 => Event::Judged {
                site: Site::Live,
                verdict: Verdict::failed("503"),
                notes: Vec::new(),
            },
            5 => Event::RemediationIntended {
                name: "restart".into(),
            },
            6 => Event::GoingBack(Cause::Cancelled { by: None }),
            7 => Event::RetireIntended,
            8 => Event::Retired,
            _ => Event::TakenOver {
                decision: "again".into(),
                by: None,
            },
        }
    }

    async fn append(&mut self) {
        let now = self.now();
        if self.leases.is_empty() {
            return;
        }
        let i = self.random.below(self.leases.len());
        let new = self.leases[i].0.clone();
        let event = self.event(&new);
        // The same once more is stored once.
        for _ in 0..=self.random.below(2) {
            let timed = TimedEvent::new(at(now), event.clone());
            let mut answers = Vec::new();
            for (store, lease) in self.stores.iter().zip(&self.leases[i].1) {
                answers.push(kind(
                    &store.append(lease, std::slice::from_ref(&timed)).await,
                ));
            }
            self.same("append", &answers);
        }
    }

    async fn finish(&mut self) {
        let now = self.now();
        if self.leases.is_empty() {
            return;
        }
        let i = self.random.below(self.leases.len());
        let (new, leases) = self.leases.swap_remove(i);
        let outcomes = [
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Interrupted,
            Outcome::Degraded,
        ];
        let outcome = outcomes[self.random.below(outcomes.len())];
        let settled = settlement(&new.id, outcome);
        let mut successor = None;
        let then = match (self.random.below(4), self.random.of(&self.known)) {
            (0, _) => {
                let trigger = Trigger::AutomaticRollback {
                    to: new.id.clone(),
                    failed: new.id.clone(),
                };
                let next = sample_of(&new.workload.to_string(), now, trigger);
                successor = Some(next.clone());
                Then::Open(Box::new(next))
            }
            (1, Some(failed)) => Then::ReleaseAndAmend(failed.id.clone()),
            _ => Then::Release,
        };
        let (mut answers, mut open, mut back) = (Vec::new(), Vec::new(), Vec::new());
        for (store, lease) in self.stores.iter().zip(leases) {
            match store.finish(&lease, &[], &settled, at(now), &then).await {
                Ok(Finished::Released) => answers.push((Ok(()), None)),
                Ok(Finished::Opened(begun)) => {
                    answers.push((Ok(()), Some(begun.sequence)));
                    open.push(begun.lease);
                }
                Err(e) => {
                    answers.push((Err(e.kind()), None));
                    back.push(lease);
                }
            }
        }
        self.same("finish", &answers);
        if let Some(next) = successor.filter(|_| !open.is_empty()) {
            self.known.push(next.clone());
            self.leases.push((next, open));
        }
        if !back.is_empty() {
            self.leases.push((new, back));
        }
    }

    async fn drop_and_take_over(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let i = self.random.below(self.leases.len());
        let alive = self.random.below(3) == 0;
        let (new, old) = self.leases.swap_remove(i);
        let kept = if alive { Some(old) } else { None };
        let (mut answers, mut leases) = (Vec::new(), Vec::new());
        for store in self.stores {
            let taken = store.take_over(&new.workload, &holder()).await;
            answers.push((kind(&taken), taken.as_ref().ok().map(Lease::epoch)));
            leases.extend(taken.ok());
        }
        self.same("take_over", &answers);
        match kept {
            Some(old) => self.leases.push((new, old)),
            None => self.leases.push((new, leases)),
        }
    }

    async fn annotate(&mut self) {
        let Some(new) = self.random.of(&self.known).cloned() else {
            return;
        };
        let what = match self.random.below(5) {
            0 => Annotation::Pin,
            1 => Annotation::Unpin,
            2 => Annotation::MarkBad(note("leaks")),
            3 => Annotation::ClearBad,
            _ => Annotation::Note(note("look at this")),
        };
        let mut answers = Vec::new();
        for store in self.stores {
            answers.push(kind(&store.annotate(&new.id, &what).await));
        }
        self.same("annotate", &answers);
    }

    async fn set(&mut self) {
        let now = self.now();
        let workload = WORKLOADS[self.random.below(WORKLOADS.len())]
            .parse()
            .unwrap();
        let policy = Policy::default().rollback(RollbackMode::Auto);
        let what = match self.random.below(4) {
            0 => Amend::Hold {
                why: "freeze".parse().unwrap(),
            },
            1 => Amend::LiftHold,
            2 => Amend::SetPolicy(Box::new(policy)),
            _ => Amend::ClearPolicy,
        };
        let what = by_ann(what, now);
        let mut answers = Vec::new();
        for store in self.stores {
            answers.push(amend(*store, &workload, &what).await.unwrap());
        }
        self.same("amend", &answers);
    }

    async fn cancel(&mut self) {
        let Some(new) = self.random.of(&self.known).cloned() else {
            return;
        };
        let by = Actor::user("bob").unwrap();
        let mut answers = Vec::new();
        for store in self.stores {
            answers.push(kind(&store.request_cancel(&new.id, &by).await));
        }
        self.same("request_cancel", &answers);
        for (_, leases) in &self.leases {
            let mut renewals = Vec::new();
            for (store, lease) in self.stores.iter().zip(leases) {
                renewals.push(store.renew(lease).await.map_err(|e| e.kind()));
            }
            self.same("renew", &renewals);
        }
    }

    async fn forget(&mut self) {
        let ids: Vec<DeploymentId> = (0..self.random.below(4))
            .filter_map(|_| self.random.of(&self.known).map(|n| n.id.clone()))
            .collect();
        let mut answers = Vec::new();
        for store in self.stores {
            answers.push(store.forget(&ids).await.map_err(|e| e.kind()));
        }
        self.same("forget", &answers);
    }

    async fn compare(&mut self) {
        let mut states = Vec::new();
        for store in self.stores {
            let mut all: Vec<WorkloadState> = store.workloads().await.unwrap().states;
            // Told by a lock each, at its own time.
            for state in &mut all {
                if let Some(in_flight) = &mut state.in_flight {
                    in_flight.holder = holder();
                    in_flight.holder.since = at(0);
                }
            }
            states.push(all);
        }
        self.same("states", &states);
        for new in &self.known {
            let mut records = Vec::new();
            for store in self.stores {
                records.push(store.get(&new.id).await.unwrap());
            }
            self.same("a record", &records);
        }
        for _ in 0..8 {
            let query = self.query();
            let (mut pages, mut stats) = (Vec::new(), Vec::new());
            for store in self.stores {
                pages.push(store.list(&query).await.unwrap());
                stats.push(store.stats(&query).await.unwrap());
            }
            self.same(&format!("the page of {query:?}"), &pages);
            self.same(&format!("the counts of {query:?}"), &stats);
        }
        for store in self.stores {
            let faults = store.verify().await.unwrap();
            assert_eq!(faults, [], "seed {}: {store:?}", self.seed);
        }
    }

    fn query(&mut self) -> Query {
        let mut query = Query::default().limit(1 + self.random.below(20));
        let clock = self.clock;
        let mut sometimes = |n: usize| self.random.below(n) == 0;
        if sometimes(3) {
            query.service = Some("api".parse().unwrap());
        }
        if sometimes(3) {
            query.target = Some("web-1".parse().unwrap());
        }
        if sometimes(6) {
            query.outcome = Some(Outcome::Failed);
        }
        if sometimes(6) {
            query.outcome = Some(Outcome::FailedAndRolledBack);
        }
        if sometimes(5) {
            query.trigger = Some(rollback_core::deployment::TriggerKind::Rollback);
        }
        if sometimes(5) {
            query.actor = Some("cron".parse().unwrap());
        }
        if sometimes(5) {
            query.label = Some(("team".into(), "core".into()));
        }
        if sometimes(4) {
            query.since = Some(at(clock / 3));
        }
        if sometimes(4) {
            query.until = Some(at(clock / 2).plus(Duration::from_nanos(1)));
        }
        if sometimes(4) {
            query.before = Some(Sequence(5));
        }
        query
    }
}
