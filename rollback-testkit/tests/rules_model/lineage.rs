//! Who followed whom.

use proptest::prelude::*;
use rollback_core::deployment::Deployment;
use rollback_core::lineage::Lineage;

use crate::config;
use crate::history::histories;
use crate::records::{index, settled_at};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn previous_is_what_stood_below(h in histories(24)) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        for d in records.iter().filter(|d| d.went_live()) {
            prop_assert_eq!(lineage.previous(d).map(index), h.previous(index(d)), "of {}", index(d));
        }
    }

    #[test]
    fn last_healthy_is_the_newest_good_one_before_what_is_live(h in histories(24)) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        for or_unjudged in [true, false] {
            let found = lineage.last_healthy(or_unjudged).map(index);
            prop_assert_eq!(found, h.last_healthy(or_unjudged), "or unjudged: {}", or_unjudged);
        }
    }

    #[test]
    fn standing_tells_what_a_rollback_went_past(h in histories(24)) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        for d in &records {
            prop_assert_eq!(lineage.standing(d), h.standing(index(d)), "of {}", index(d));
        }
    }

    #[test]
    fn as_of_is_what_was_live_then(h in histories(24)) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        for d in records.iter().filter(|d| d.settlement().is_some()) {
            let i = index(d);
            let then = settled_at(h.plain[i].day, i);
            prop_assert_eq!(lineage.as_of(then).map(index), h.live_after(i));
        }
    }

    #[test]
    fn what_is_replaced_says_by_what(h in histories(24)) {
        let (records, live) = (h.records(), h.live_record());
        let lineage = Lineage::new(&records, &live);
        for d in &records {
            let p = &h.plain[index(d)];
            let by = if p.went_live {
                let next = |i: &usize| h.plain[*i].went_live && h.plain[*i].before.known() == Some(index(d));
                (0..h.plain.len()).find(next)
            } else {
                p.rolled_back_by
            };
            let found = lineage.replaced_by(d).map(Deployment::sequence);
            prop_assert_eq!(found.map(|s| s.0), by.map(|i| i as u64 + 1), "of {}", index(d));
        }
    }
}
