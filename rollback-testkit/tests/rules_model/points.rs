//! Rollback points: what the history calls one, the planner goes to.

use proptest::prelude::*;
use rollback_core::history::Summary;
use rollback_core::lineage::Lineage;
use rollback_core::plan::Refusal;
use rollback_core::planner::Selection;
use rollback_core::points::{NoPoint, Points};
use rollback_core::policy::{Keep, Policy, Retention};
use rollback_core::release::Restore;
use rollback_core::request::{Goal, Reapply};
use rollback_core::retention::retained;

use crate::config;
use crate::history::{History, histories};
use crate::records::{id, index};

/// Whether the planner goes to each deployment, or why not.
fn planner(h: &History, reapply: Reapply) -> Vec<(usize, Result<(), Refusal>)> {
    let (records, live) = (h.records(), h.live_record());
    let summaries: Vec<Summary> = records.iter().map(Summary::of).collect();
    let lineage = Lineage::new(&summaries, &live);
    let policy = Policy::default();
    let today = lineage.live().and_then(|live| live.release.as_ref());
    let workload = "api@model".parse().unwrap();
    let mut answers = Vec::new();
    for d in &records {
        let goal = Goal::To(d.id().clone());
        let selection = Selection {
            workload: &workload,
            goal: &goal,
            lineage: &lineage,
            live: today,
            today,
            restore: &Restore::Everything,
            policy: &policy,
            reapply,
        };
        let answer = selection.candidates();
        if let Ok(found) = &answer {
            let found: Vec<_> = found.candidates.iter().map(|d| &d.id).collect();
            assert_eq!(found, [d.id()], "the one that was named");
        }
        answers.push((index(d), answer.map(|_| ())));
    }
    answers
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_planner_goes_exactly_to_the_points(h in histories(24), newest in 0..6_usize) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let keep = Keep::new(newest, 0);
        let rules = Retention::new(keep, keep);
        let points = Points::new(&lineage, &rules, h.now());
        for (i, answer) in planner(&h, Reapply::No) {
            let d = lineage.get(&id(i)).unwrap();
            match (points.check(d), answer) {
                // Its release may be what is live, by another deployment's doing.
                (Ok(()) | Err(NoPoint::LetGo), Ok(()) | Err(Refusal::AlreadyLive { .. })) => {}
                (Err(NoPoint::Live), Err(_)) => {}
                (Err(NoPoint::NotCaptured), Err(Refusal::AlreadyLive { .. })) => {}
                (Err(why), Err(Refusal::NotARollbackPoint { why: said, .. })) => {
                    prop_assert_eq!(why.to_string(), said);
                }
                other => prop_assert!(false, "{i}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_point_within_reach_has_its_release_in_the_window(h in histories(24), newest in 0..6_usize) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let keep = Keep::new(newest, 0);
        let rules = Retention::new(keep, keep);
        let points = Points::new(&lineage, &rules, h.now());
        let gone = retained(&lineage, None, &rules, h.now()).forget;
        let gone: Vec<usize> = gone.into_iter().map(index).collect();
        let stays = (0..h.plain.len()).filter(|i| !gone.contains(i)).collect();
        let window = h.window(&stays, &rules);
        for d in &records {
            let p = &h.plain[index(d)];
            let reach = window.iter().any(|i| h.plain[*i].release == p.release);
            match points.check(d) {
                Ok(()) => prop_assert!(reach, "{} is a point", index(d)),
                Err(NoPoint::LetGo) => prop_assert!(!reach, "{} is let go", index(d)),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn each_reason_is_the_first_that_holds(h in histories(24)) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let points = Points::new(&lineage, &Retention::default(), h.now());
        for d in &records {
            let p = &h.plain[index(d)];
            let expected = if h.live.known() == Some(index(d)) {
                Some("live")
            } else if p.in_flight {
                Some("in flight")
            } else if !p.placed {
                Some("never placed")
            } else if p.bad {
                Some("bad")
            } else if p.off {
                Some("off")
            } else if h.live.known().is_some_and(|live| h.plain[live].release == p.release) {
                Some("live")
            } else {
                None
            };
            let said = points.check(d).err().map(|why| match why {
                NoPoint::Live => "live",
                NoPoint::InFlight => "in flight",
                NoPoint::NeverPlaced => "never placed",
                NoPoint::MarkedBad { .. } => "bad",
                NoPoint::NotCaptured => "off",
                _ => "let go",
            });
            prop_assert_eq!(said, expected, "{}", index(d));
        }
    }
}
