//! What is told by the newest records alone is what is told by all of them.

use proptest::prelude::*;
use rollback_core::deployment::{LiveRecord, Outcome};
use rollback_core::health::VerdictKind;
use rollback_core::history::{ReleaseSummary, Sequence, Settling, Summaries, Summary};
use rollback_core::id::DeploymentId;
use rollback_core::policy::{Keep, Policy, Retention};
use rollback_core::release::{Artifact, Release, Restore};
use rollback_core::told::Telling;
use rollback_core::withheld::Withheld;

use crate::config;
use crate::history::{History, histories};

/// The newest of these.
fn newest(all: &[Summary], count: usize) -> Summaries {
    let mut newest = Summaries::default();
    newest.summaries.extend(all.iter().take(count).cloned());
    newest.is_whole = count >= all.len();
    newest
}

fn summaries(h: &History) -> Vec<Summary> {
    h.records().iter().map(Summary::of).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_newest_records_tell_what_all_tell_or_nothing(
        h in histories(40),
        records in 0..40_usize,
        artifacts in 0..6_usize,
        days in 0..20_u32,
        fall_back_to_unjudged in any::<bool>(),
    ) {
        let (all, live) = (summaries(&h), h.live_record());
        let policy = Policy::default().retention(Retention::new(Keep::new(records, days), Keep::new(artifacts, days / 2))).fall_back_to_unjudged(fall_back_to_unjudged);
        for restore in [Restore::Everything, Restore::Artifact] {
            let telling = Telling { live: &live, restore, policy: &policy, withheld: Withheld::default(), now: h.now() };
            let ids: Vec<DeploymentId> = all.iter().map(|s| s.id.clone()).collect();
            let whole = telling.of(&newest(&all, all.len()), &ids).unwrap();
            for count in [all.len() / 4, all.len() / 2, all.len().saturating_sub(1)] {
                let some = newest(&all, count);
                for expected in whole.iter().take(count) {
                    if let Some(told) = telling.of(&some, std::slice::from_ref(&expected.of)) {
                        prop_assert_eq!(&told[0], expected, "by {} of {}", count, all.len());
                    }
                }
            }
        }
    }

    #[test]
    fn all_records_tell_of_each(h in histories(24)) {
        let (all, live) = (summaries(&h), h.live_record());
        let policy = Policy::default();
        let telling = Telling { live: &live, restore: Restore::Everything, policy: &policy, withheld: Withheld::default(), now: h.now() };
        let ids: Vec<DeploymentId> = all.iter().map(|s| s.id.clone()).collect();
        let told = telling.of(&newest(&all, all.len()), &ids).unwrap();
        prop_assert_eq!(told.into_iter().map(|t| t.of).collect::<Vec<_>>(), ids);
    }
}

#[test]
fn a_page_of_an_ordinary_history_is_told_by_little_more_than_itself() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let h = proptest::strategy::Strategy::new_tree(&histories(24), &mut runner)
        .map(|tree| proptest::strategy::ValueTree::current(&tree))
        .unwrap();
    let some = summaries(&h).pop().unwrap();
    let at = |n: u64| format!("deploy-20260101-000000-{n:08x}").parse().unwrap();
    // Every fifth rolls back two, and every seventh fails its gate.
    let all: Vec<Summary> = (10..10_010)
        .rev()
        .map(|n: u64| {
            let artifact = Artifact::new("main", format!("commit {}", n % 9));
            let release = Release::new("git".parse().unwrap(), artifact);
            let live = LiveRecord::Known(at(n));
            let mut s = some.clone();
            (s.id, s.sequence, s.opened_at) = (at(n), Sequence(n), h.now());
            s.settled = Some(Settling::new(h.now(), Outcome::Succeeded, live));
            s.replaces = LiveRecord::Known(at(n - 1));
            s.restores = n.is_multiple_of(5).then(|| at(n - 2));
            s.verdict = match n.is_multiple_of(7) {
                true => VerdictKind::Failed,
                false => VerdictKind::Passed,
            };
            (s.placed, s.pinned, s.bad) = (true, false, None);
            s.release = Some(ReleaseSummary::of(&release));
            s
        })
        .collect();
    let live = LiveRecord::Known(all[0].id.clone());
    let policy = Policy::default();
    let telling = Telling {
        withheld: Withheld::default(),
        live: &live,
        restore: Restore::Everything,
        policy: &policy,
        now: h.now(),
    };
    let ids: Vec<DeploymentId> = all.iter().take(50).map(|s| s.id.clone()).collect();
    let told = telling
        .of(&newest(&all, 64), &ids)
        .expect("no more is read");
    assert_eq!(told, telling.of(&newest(&all, all.len()), &ids).unwrap());
}
