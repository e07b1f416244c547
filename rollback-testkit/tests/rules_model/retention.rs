//! What is let go, and that nothing else depends on it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rollback_core::deployment::Deployment;
use rollback_core::lineage::{Lineage, Standing};
use rollback_core::policy::{Keep, Retention};
use rollback_core::retention::retained;

use crate::config;
use crate::history::{History, histories};
use crate::records::{id, index, settled_at};

fn keep() -> impl Strategy<Value = Keep> {
    (0..6_usize, 0..12_u32).prop_map(|(newest, days)| Keep::new(newest, days))
}

fn rules() -> impl Strategy<Value = Retention> {
    (keep(), keep()).prop_map(|(records, artifacts)| Retention::new(records, artifacts))
}

fn indices(deployments: &[&Deployment]) -> BTreeSet<usize> {
    deployments.iter().map(|d| index(d)).collect()
}

/// The records that are left once the rules have been applied.
fn left(h: &History, rules: &Retention) -> Vec<Deployment> {
    let (mut records, live) = (h.records(), h.live_record());
    let lineage = Lineage::new(&records, &live);
    let gone = indices(&retained(&lineage, None, rules, h.now()).forget);
    records.retain(|d| !gone.contains(&index(d)));
    records
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn records_go_when_no_rule_keeps_them(h in histories(24), rules in rules()) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let gone = indices(&retained(&lineage, None, &rules, h.now()).forget);
        let stays = h.stays(rules.records);
        prop_assert!(gone.is_disjoint(&stays), "gone {gone:?}, must stay {stays:?}");
        for i in (0..h.plain.len()).filter(|i| !gone.contains(i) && !stays.contains(i)) {
            // Kept by no rule of its own: then something that stays would mean something else
            // without it.
            let kept = || (0..h.plain.len()).filter(|k| !gone.contains(k));
            let needed = kept().any(|k| h.plain[k].restores == Some(i))
                || kept().any(|k| h.abandoned_by(k) == Some(i))
                || h.to_previous().contains(&i)
                || h.newest_judged() == Some(i)
                || i + 1 == h.plain.len();
            prop_assert!(needed, "{i} stays for nothing");
        }
    }

    #[test]
    fn what_is_live_in_flight_last_healthy_or_pinned_is_never_let_go(h in histories(24)) {
        let none = Keep::new(0, 0);
        let rules = Retention::new(none, none);
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let retained = retained(&lineage, None, &rules, h.now());
        let protected = h.protected();
        prop_assert!(indices(&retained.forget).is_disjoint(&protected));
        let placed: BTreeSet<usize> = protected.into_iter().filter(|i| h.plain[*i].placed).collect();
        prop_assert_eq!(indices(&retained.window), placed);
    }

    #[test]
    fn what_the_one_in_flight_may_go_back_to_is_never_let_go(h in histories(24)) {
        let none = Keep::new(0, 0);
        let rules = Retention::new(none, none);
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        // Whichever it is: its own step applies the rules.
        for own in 0..h.plain.len() {
            let gone = indices(&retained(&lineage, Some(&id(own)), &rules, h.now()).forget);
            let needs = [Some(own), h.plain[own].before.known()];
            for needed in needs.into_iter().flatten() {
                prop_assert!(!gone.contains(&needed), "{own} needs {needed}");
            }
        }
    }

    #[test]
    fn the_window_is_the_newest_of_each_release_failures_apart(h in histories(24), rules in rules()) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let retained = retained(&lineage, None, &rules, h.now());
        let gone = indices(&retained.forget);
        let stays: BTreeSet<usize> = (0..h.plain.len()).filter(|i| !gone.contains(i)).collect();
        prop_assert_eq!(indices(&retained.window), h.window(&stays, &rules));
        let order: Vec<u64> = retained.window.iter().map(|d| d.sequence().0).collect();
        prop_assert!(order.is_sorted_by(|a, b| a > b), "newest first: {order:?}");
    }

    #[test]
    fn applied_again_the_rules_let_nothing_more_go(h in histories(24), rules in rules()) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let window = indices(&retained(&lineage, None, &rules, h.now()).window);
        let left = left(&h, &rules);
        let lineage = Lineage::new(&left, &live);
        let again = retained(&lineage, None, &rules, h.now());
        prop_assert_eq!(indices(&again.forget), BTreeSet::new());
        prop_assert!(indices(&again.window).is_superset(&window), "let go: {window:?}");
    }

    #[test]
    fn applied_again_the_rules_keep_nothing_more_within_reach(h in histories(24), rules in rules()) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        let window = indices(&retained(&lineage, None, &rules, h.now()).window);
        let left = left(&h, &rules);
        let lineage = Lineage::new(&left, &live);
        let again = retained(&lineage, None, &rules, h.now());
        prop_assert_eq!(indices(&again.window), window);
    }

    #[test]
    fn last_healthy_is_the_same_after_forgetting(h in histories(24), rules in rules()) {
        let (left, live) = (left(&h, &rules), h.live_record());
        let found = Lineage::new(&left, &live).last_healthy(true).map(index);
        prop_assert_eq!(found, h.last_healthy(true));
    }

    #[test]
    fn previous_of_what_is_live_stays_while_its_record_does(h in histories(24), rules in rules()) {
        let (left, live) = (left(&h, &rules), h.live_record());
        let lineage = Lineage::new(&left, &live);
        let kept = |i: &usize| left.iter().any(|d| index(d) == *i);
        if let Some(before) = h.live.known().and_then(|live| h.previous(live)).filter(kept) {
            let after = lineage.live().and_then(|live| lineage.previous(live)).map(index);
            prop_assert_eq!(after, Some(before));
        }
    }

    #[test]
    fn previous_of_what_is_live_never_becomes_another_one(h in histories(24), rules in rules()) {
        let (left, live) = (left(&h, &rules), h.live_record());
        let lineage = Lineage::new(&left, &live);
        let before = h.live.known().and_then(|live| h.previous(live));
        let after = lineage.live().and_then(|live| lineage.previous(live)).map(index);
        prop_assert!(after.is_none() || after == before, "{after:?}, was {before:?}");
    }

    #[test]
    fn standing_is_the_same_after_forgetting(h in histories(24), rules in rules()) {
        let (left, live) = (left(&h, &rules), h.live_record());
        let lineage = Lineage::new(&left, &live);
        for d in &left {
            let standing: Standing = lineage.standing(d);
            prop_assert_eq!(standing, h.standing(index(d)), "of {}", index(d));
        }
    }

    #[test]
    fn as_of_never_becomes_another_one(h in histories(24), rules in rules()) {
        let (left, live) = (left(&h, &rules), h.live_record());
        let lineage = Lineage::new(&left, &live);
        let kept = |i: usize| left.iter().any(|d| index(d) == i);
        for i in (0..h.plain.len()).filter(|i| !h.plain[*i].in_flight) {
            let then = lineage.as_of(settled_at(h.plain[i].day, i)).map(index);
            let was = h.live_after(i);
            // Where records were let go at that time, nobody has to know.
            let whole = kept(i) && was.is_none_or(kept) && (i + 1 == h.plain.len() || kept(i + 1));
            let agrees = then == was || (then.is_none() && !whole);
            prop_assert!(agrees, "after {}: {:?}, was {:?}", i, then, was);
        }
    }
}
