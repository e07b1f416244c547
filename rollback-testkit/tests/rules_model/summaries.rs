//! Summaries say what whole records say, and so does what is told of them.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rollback_core::deployment::{LiveRecord, Outcome};
use rollback_core::history::{Sequence, Settling, Summary};
use rollback_core::lineage::Lineage;
use rollback_core::points::Points;
use rollback_core::policy::{Keep, Retention};
use rollback_core::release::Restore;
use rollback_core::retention::retained;

use crate::config;
use crate::history::{History, histories};
use crate::records::index;

fn summaries(h: &History) -> Vec<Summary> {
    h.records().iter().map(Summary::of).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn of_summaries_the_same_is_told_as_of_records(h in histories(24), newest in 0..6_usize) {
        let (records, live) = (h.records(), h.live_record());
        let summaries = summaries(&h);
        let keep = Keep::new(newest, 0);
        let rules = Retention::new(keep, keep);
        for restore in [Restore::Everything, Restore::Artifact, Restore::Facets(Vec::new())] {
            let whole = Lineage::new(&records, &live).restoring(restore.clone());
            let slim = Lineage::new(&summaries, &live).restoring(restore);
            let (points, slim_points) = (
                Points::new(&whole, &rules, h.now()),
                Points::new(&slim, &rules, h.now()),
            );
            for (d, s) in records.iter().zip(&summaries) {
                prop_assert_eq!(whole.standing(d), slim.standing(s));
                prop_assert_eq!(points.check(d), slim_points.check(s));
                prop_assert_eq!(whole.replaced_by(d).map(|d| d.id()), slim.replaced_by(s).map(|s| &s.id));
            }
            for or_unjudged in [true, false] {
                let healthy = slim.last_healthy(or_unjudged).map(|s| &s.id);
                prop_assert_eq!(whole.last_healthy(or_unjudged).map(|d| d.id()), healthy);
            }
            let (whole, slim) = (
                retained(&whole, None, &rules, h.now()),
                retained(&slim, None, &rules, h.now()),
            );
            let ids = |all: &[&Summary]| all.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
            prop_assert_eq!(whole.forget.iter().map(|d| d.id().clone()).collect::<Vec<_>>(), ids(&slim.forget));
            prop_assert_eq!(whole.window.iter().map(|d| d.id().clone()).collect::<Vec<_>>(), ids(&slim.window));
        }
    }

    #[test]
    fn what_went_past_a_deployment_is_the_newest_rollback_that_did(h in histories(24)) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        for d in &records {
            let p = &h.plain[index(d)];
            let by = if p.went_live { h.abandoned_by(index(d)) } else { p.rolled_back_by };
            prop_assert_eq!(lineage.abandoned_by(d).map(index), by, "of {}", index(d));
        }
    }

    #[test]
    fn a_summary_comes_back_from_json_as_it_was(h in histories(8)) {
        for summary in summaries(&h) {
            let json = serde_json::to_string(&summary).unwrap();
            prop_assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
        }
    }
}

#[test]
fn a_long_history_is_not_gone_through_once_for_each_of_its_records() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let h = histories(24).new_tree(&mut runner).unwrap().current();
    let some = summaries(&h).pop().unwrap();
    let at = |n: u64| format!("deploy-20260101-000000-{n:08x}").parse().unwrap();
    let settled = |n| Settling::new(h.now(), Outcome::Succeeded, LiveRecord::Known(at(n)));
    // Every third one goes back, so that it went past others.
    let summaries: Vec<Summary> = (10..40_010)
        .rev()
        .map(|n| {
            let mut s = some.clone();
            (s.id, s.sequence) = (at(n), Sequence(n));
            s.settled = Some(settled(n));
            s.replaces = LiveRecord::Known(at(n - 1));
            s.restores = n.is_multiple_of(3).then(|| at(n - 4));
            s
        })
        .collect();
    let live = LiveRecord::Known(summaries[0].id.clone());
    let keep = Keep::new(100, 0);
    let rules = Retention::new(keep, keep);
    let begun = Instant::now();
    let lineage = Lineage::new(&summaries, &live);
    let points = Points::new(&lineage, &rules, h.now());
    let mut past = 0;
    for s in &summaries {
        past += usize::from(lineage.abandoned_by(s).is_some());
        let _ = (points.check(s), lineage.standing(s), lineage.replaced_by(s));
    }
    assert!(past > 20_000, "{past}");
    // Once for each record would be 1.6 thousand million steps.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
