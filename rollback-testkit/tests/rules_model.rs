//! Lineage, last healthy, rollback points and retention against naive models, on random
//! histories made of records alone.
//!
//! `PROPTEST_CASES` says how many; 2,000 unless it is set.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use rollback_core::backend::{Evidence, Prepared, Rollout, WayBack};
use rollback_core::deployment::{Annotations, Note, Skipped};
use rollback_core::event::{Cause, TimedEvent};
use rollback_core::history::Sequence;
use rollback_core::lineage::{Lineage, Standing};
use rollback_core::planner::Selection;
use rollback_core::points::{NoPoint, Points};
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_core::request::Reapply;
use rollback_core::retention::retained;

/// One deployment to make.
#[derive(Debug, Clone)]
struct Act {
    what: What,
    /// Days since the one before.
    days: u64,
    pinned: bool,
    bad: bool,
    off: bool,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// Of this release, with this health.
    Deploy(u8, Health),
    /// It failed before the switch, or was refused.
    Nothing(u8),
    /// It switched and was put back.
    Undone(u8),
    /// To the life of this index, modulo how many there are.
    Rollback(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Sick,
    Mute,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let health = prop_oneof![
        3 => Just(Health::Good),
        1 => Just(Health::Sick),
        1 => Just(Health::Mute)
    ];
    let what = prop_oneof![
        5 => (0..8u8, health).prop_map(|(r, h)| What::Deploy(r, h)),
        1 => (0..8u8).prop_map(What::Nothing),
        1 => (0..8u8).prop_map(What::Undone),
        3 => any::<prop::sample::Index>().prop_map(|i| What::Rollback(i.index(1_000))),
    ];
    let rarely = || prop::bool::weighted(0.1);
    let act = (what, 0..20u64, rarely(), rarely(), rarely()).prop_map(
        |(what, days, pinned, bad, off)| Act {
            what,
            days,
            pinned,
            bad,
            off,
        },
    );
    prop::collection::vec(act, 0..30)
}

/// What a person would write down of each deployment.
#[derive(Debug, Clone)]
struct Life {
    release: u8,
    verdict: Health,
    went_live: bool,
    placed: bool,
    /// The index of the life that it brings back.
    restores: Option<usize>,
    /// The index of the life that it replaced.
    replaces: Option<usize>,
    day: u64,
    act: Act,
}

/// The lives, oldest first, and which is live.
fn lives(acts: &[Act]) -> (Vec<Life>, Option<usize>) {
    let (mut lives, mut live, mut day) = (Vec::<Life>::new(), None, 0);
    for act in acts {
        day += act.days;
        let went: Vec<usize> = (0..lives.len()).filter(|i| lives[*i].went_live).collect();
        let (release, verdict, went_live, placed, restores) = match act.what {
            What::Deploy(release, health) => (release, health, true, true, None),
            What::Nothing(release) => (release, Health::Mute, false, false, None),
            What::Undone(release) => (release, Health::Mute, false, true, None),
            What::Rollback(_) if went.is_empty() => continue,
            What::Rollback(n) => {
                let to = went[n % went.len()];
                (lives[to].release, lives[to].verdict, true, true, Some(to))
            }
        };
        lives.push(Life {
            release,
            verdict,
            went_live,
            placed,
            restores,
            replaces: live,
            day,
            act: act.clone(),
        });
        if went_live {
            live = Some(lives.len() - 1);
        }
    }
    (lives, live)
}

fn at(day: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH.plus(Duration::from_secs(day * 24 * 60 * 60))
}

fn id(n: usize) -> DeploymentId {
    format!("deploy-20260101-000000-{n:04x}").parse().unwrap()
}

/// The same as records, newest first.
fn records(lives: &[Life]) -> Vec<Deployment> {
    (0..lives.len()).rev().map(|n| record(lives, n)).collect()
}

fn record(lives: &[Life], n: usize) -> Deployment {
    let life = &lives[n];
    let release = Release::new(
        "model".parse().unwrap(),
        Artifact::new(format!("v{}", life.release), format!("v{}", life.release)),
    );
    let replaces = life
        .replaces
        .map_or(LiveRecord::Nothing, |n| LiveRecord::Known(id(n)));
    let new = NewDeployment {
        id: id(n),
        workload: "api@web-1".parse().unwrap(),
        trigger: match life.restores {
            Some(to) => Trigger::Rollback { to: id(to) },
            None => Trigger::Deploy,
        },
        actor: Actor::user("ann").unwrap(),
        reason: None,
        opened_at: at(life.day),
        replaces: replaces.clone(),
        fallback: replaces.clone(),
        from: End::Nothing,
        to: End::Planned(release.clone()),
        gate: Gate::default(),
        policy: Policy {
            rollback: if life.act.off {
                RollbackMode::Off
            } else {
                RollbackMode::Record
            },
            ..Policy::default()
        },
        forced: Vec::new(),
        skips: Vec::new(),
        skipped: Skipped::Left,
        warnings: Vec::new(),
        labels: Default::default(),
        correlation: None,
        group: None,
    };
    let verdict = match life.verdict {
        Health::Good => Verdict::Passed,
        Health::Sick => Verdict::failed("sick"),
        Health::Mute => Verdict::Unknown,
    };
    let mut events = Vec::new();
    if life.placed {
        let instance = Instance {
            release,
            handle: Handle::new(format!("{n}")),
        };
        events.extend([
            Event::PrepareIntended,
            Event::Prepared(Prepared {
                rollout: Rollout::Replace,
                to: instance,
                way_back: WayBack::Exact,
            }),
            Event::SwitchIntended,
            Event::Switched {
                evidence: Evidence::default(),
            },
        ]);
        if life.went_live {
            events.push(Event::Judged {
                site: Site::Live,
                verdict: verdict.clone(),
                notes: Vec::new(),
            });
        } else {
            events.push(Event::GoingBack(Cause::Cancelled));
        }
    }
    events.push(Event::Settled(Settlement {
        outcome: match (life.went_live, life.verdict) {
            (true, Health::Sick) => Outcome::Failed,
            (true, _) => Outcome::Succeeded,
            (false, _) => Outcome::Cancelled,
        },
        verdict,
        live: if life.went_live {
            LiveRecord::Known(id(n))
        } else {
            replaces
        },
        summary: String::new(),
    }));
    let timed = |event| TimedEvent {
        at: at(life.day),
        event,
    };
    let note = Note {
        by: Actor::user("ann").unwrap(),
        at: at(life.day),
        text: "leaks".parse().unwrap(),
    };
    let annotations = Annotations {
        pinned: life.act.pinned,
        bad: life.act.bad.then_some(note),
        notes: Vec::new(),
    };
    let events = events.into_iter().map(timed).collect();
    Deployment::replay(new, Sequence(n as u64 + 1), events, annotations).unwrap()
}

fn origin(lives: &[Life], mut n: usize) -> usize {
    while let Some(to) = lives[n].restores {
        n = to;
    }
    n
}

fn last_healthy(lives: &[Life], live: Option<usize>) -> Option<usize> {
    let (before, now) = match live {
        Some(live) => (origin(lives, live), Some(lives[live].release)),
        None => (lives.len(), None),
    };
    let eligible = |n: &usize| {
        let l = &lives[*n];
        l.went_live && !l.act.bad && !l.act.off && Some(l.release) != now
    };
    let of = |verdict| {
        let mut all = (0..before).rev().filter(eligible);
        all.find(|n| lives[*n].verdict == verdict)
    };
    let judged = |n: usize| lives[n].went_live && lives[n].verdict != Health::Mute;
    match of(Health::Good) {
        Some(n) => Some(n),
        None if (0..before).any(judged) => None,
        None => of(Health::Mute),
    }
}

fn previous(lives: &[Life], live: usize) -> Option<usize> {
    let mut n = origin(lives, live);
    loop {
        let before = lives[n].replaces?;
        if lives[before].release != lives[live].release {
            return Some(before);
        }
        n = origin(lives, before);
    }
}

/// Which stay, by the rule's own words.
fn stays(lives: &[Life], live: Option<usize>, keep: Keep, today: u64) -> HashSet<usize> {
    let mut stays: HashSet<usize> = (0..lives.len())
        .filter(|n| {
            lives.len() - n <= keep.newest
                || today - lives[*n].day < u64::from(keep.days)
                || lives[*n].act.pinned
        })
        .collect();
    stays.extend(live);
    stays.extend(last_healthy(lives, live));
    // The proof that health is judged at all.
    let before = live.map_or(lives.len(), |live| origin(lives, live));
    let judged = |n: &usize| lives[*n].went_live && lives[*n].verdict != Health::Mute;
    stays.extend((0..before).rev().find(judged));
    for n in stays.clone() {
        let mut n = n;
        while let Some(to) = lives[n].restores {
            stays.insert(to);
            n = to;
        }
    }
    stays
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(2_000, |n| n.parse().unwrap());
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lineage_and_retention_are_what_a_person_would_expect(
        acts in acts(),
        newest in 0..12usize,
        days in 0..120u32,
        artifacts in 0..6usize,
        later in 0..60u64,
    ) {
        let (lives, live) = lives(&acts);
        let records = records(&lives);
        let state = live.map_or(LiveRecord::Nothing, |n| LiveRecord::Known(id(n)));
        let lineage = Lineage::new(&records, &state);
        let number = |d: &Deployment| usize::try_from(d.sequence().0).unwrap() - 1;
        let number = |d: Option<&Deployment>| d.map(number);

        prop_assert_eq!(number(lineage.last_healthy(true)), last_healthy(&lives, live));
        if let Some(live) = lineage.live() {
            prop_assert_eq!(number(lineage.previous(live)), previous(&lives, number(Some(live)).unwrap()));
        }
        let today = lives.last().map_or(0, |l| l.day) + later;
        prop_assert_eq!(number(lineage.as_of(at(today))), live);
        let alive = records.iter().filter(|d| lineage.standing(d) == Standing::Live);
        prop_assert_eq!(alive.count(), usize::from(live.is_some()));

        // Retention of records: exactly the rule, and a second time nothing more.
        let rules = Retention {
            records: Keep::new(newest, days),
            artifacts: Keep::new(artifacts, days / 2),
        };
        let kept = retained(&lineage, None, &rules, at(today));
        let gone: BTreeSet<usize> = kept.forget.iter().filter_map(|d| number(Some(*d))).collect();
        let stay = stays(&lives, live, rules.records, today);
        let expected: BTreeSet<usize> = (0..lives.len()).filter(|n| !stay.contains(n)).collect();
        prop_assert_eq!(&gone, &expected);
        let left: Vec<Deployment> =
            records.iter().filter(|d| !gone.contains(&number(Some(*d)).unwrap())).cloned().collect();
        let after = Lineage::new(&left, &state);
        let again = retained(&after, None, &rules, at(today));
        prop_assert_eq!(again.forget.len(), 0, "a second time forgets more");
        let window = |r: &rollback_core::retention::Retained<'_>| -> Vec<DeploymentId> {
            r.window.iter().map(|d| d.id().clone()).collect()
        };
        prop_assert_eq!(window(&kept), window(&again));

        // What is forgotten changes no answer that is still on record.
        prop_assert_eq!(number(after.last_healthy(true)), last_healthy(&lives, live));
        if let Some(live) = after.live() {
            let before = previous(&lives, number(Some(live)).unwrap());
            let now = number(after.previous(live));
            prop_assert!(now == before || now.is_none(), "{now:?} for {before:?}");
        }

        // The window: what is protected is in it, and no failure takes a good one's place.
        let reach: HashSet<usize> = kept.window.iter().filter_map(|d| number(Some(*d))).collect();
        for n in live.into_iter().chain(last_healthy(&lives, live)) {
            prop_assert!(reach.contains(&n), "{n} is out of reach");
        }
        let mut good = HashSet::new();
        for n in (0..lives.len()).rev().filter(|n| stay.contains(n)) {
            let l = &lives[n];
            let is_good = l.placed && l.went_live && l.verdict != Health::Sick && !l.act.off;
            if is_good && good.len() < artifacts && good.insert(l.release) {
                prop_assert!(reach.contains(&n), "{n} is one of the newest {artifacts} good ones");
            }
        }

        // Points say what the planner does with a deployment that is named.
        let points = Points::new(&lineage, &rules, at(today));
        let policy = Policy::default();
        let today_release = lineage.live().and_then(Deployment::release);
        for d in &records {
            let goal = Goal::To(d.id().clone());
            let planned = Selection {
                workload: d.workload(),
                goal: &goal,
                lineage: &lineage,
                today: today_release,
                restore: &Restore::Everything,
                policy: &policy,
                reapply: Reapply::Yes,
            }
            .candidates();
            match (points.check(d), planned) {
                (Ok(()), Ok(_)) | (Err(NoPoint::Live | NoPoint::LetGo), _) => {}
                (Err(_), Err(_)) => {}
                // To put what is live in place anew needs nothing that was captured.
                (Err(NoPoint::NotCaptured), Ok(_)) => {
                    prop_assert_eq!(d.release(), today_release);
                }
                (point, planned) => prop_assert!(false, "{}: {point:?}, {planned:?}", d.id()),
            }
        }
    }
}
