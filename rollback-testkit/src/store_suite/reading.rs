//! Cases about what is read.

use std::collections::BTreeSet;

use rollback_core::backend::Evidence;
use rollback_core::deployment::{Deployment, Opening, Outcome, Trigger, TriggerKind};
use rollback_core::event::Event;
use rollback_core::history::{
    Annotation, HistoryReader, HistoryStore, Query, Stats, Summary, Version, WorkloadState,
};
use rollback_core::id::Actor;
use rollback_core::release::{Artifact, Release};

use super::StoreHarness;
use super::sample::{at, begin, note, prepared, sample, settle, timed, workload};

pub(super) async fn an_unseen_workload_is_at_version_zero(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let api = workload("api@web-1");
    let state = store.workload(&api).await.unwrap();
    assert_eq!(state, WorkloadState::unseen(api));
    assert!(store.workloads().await.unwrap().states.is_empty());
    let page = store.list(&Query::default()).await.unwrap();
    assert!(page.deployments.is_empty() && page.next.is_none());
    let stats = store.stats(&Query::default()).await.unwrap();
    assert_eq!(stats, Stats::default());
}

pub(super) async fn workloads_are_listed_by_id(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    // By service, then target: not as the texts compare ('-' sorts before '@').
    for name in ["b@x", "a@z", "a-b@x", "a@y"] {
        settle(&*store, &sample(name, 1), Outcome::Succeeded, 1).await;
    }
    let states = store.workloads().await.unwrap().states;
    let names: Vec<_> = states.iter().map(|s| s.workload.to_string()).collect();
    assert_eq!(names, ["a@y", "a@z", "a-b@x", "b@x"]);
    for state in states {
        assert_eq!(state, store.workload(&state.workload).await.unwrap());
    }
}

pub(super) async fn a_reopened_store_shows_everything(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let (old, new) = (sample("api@web-1", 1), sample("api@web-1", 5));
    settle(&*store, &old, Outcome::Succeeded, 1).await;
    let begun = begin(&*store, &new).await;
    let step = timed(6, Event::PrepareIntended);
    store.append(&begun.lease, &[step]).await.unwrap();
    let before = store.list(&Query::default()).await.unwrap();
    drop((begun, store));
    let store = harness.store().await;
    assert_eq!(store.list(&Query::default()).await.unwrap(), before);
    assert_eq!(before.deployments.len(), 2);
    let state = store.workload(&new.workload).await.unwrap();
    assert_eq!(state.version, Version(3));
    assert_eq!(state.live.known(), Some(&old.id));
    assert_eq!(state.in_flight.unwrap().deployment, new.id);
}

pub(super) async fn summaries_say_what_the_records_say(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let all = mixed(&*store).await;
    same_summaries(&*store).await;
    let annotated = all.iter().find(|d| d.settlement().is_some()).unwrap().id();
    let bad = Annotation::MarkBad(note("it leaks"));
    for annotation in [Annotation::Pin, bad, Annotation::Unpin] {
        store.annotate(annotated, &annotation).await.unwrap();
        same_summaries(&*store).await;
    }
    let bad = store.get(annotated).await.unwrap().unwrap();
    let of_it = store
        .summaries(bad.workload(), usize::MAX)
        .await
        .unwrap()
        .summaries;
    let of_it = of_it.iter().find(|s| s.id == *annotated).unwrap();
    assert!(of_it.bad.is_some() && !of_it.pinned);
    for d in all.iter().rev().take(3) {
        let live = store.workload(d.workload()).await.unwrap().live;
        let goes = u64::from(live.known() != Some(d.id()));
        let gone = store.forget(&[d.id().clone()]).await.unwrap_or(0);
        assert_eq!(gone, goes);
    }
    same_summaries(&*store).await;
    // As another process finds them.
    drop(store);
    same_summaries(&*harness.store().await).await;
}

pub(super) async fn a_summary_follows_its_deployment_to_its_end(harness: &dyn StoreHarness) {
    super::writing::finish_amends_the_failed_deployment(harness).await;
    let store = harness.store().await;
    same_summaries(&*store).await;
    let new = sample("api@web-1", 9);
    let begun = begin(&*store, &new).await;
    for event in [
        Event::PrepareIntended,
        prepared(&new),
        Event::SwitchIntended,
        Event::Switched {
            evidence: Evidence::default(),
        },
    ] {
        store
            .append(&begun.lease, &[timed(9, event)])
            .await
            .unwrap();
        same_summaries(&*store).await;
    }
    let newest = store
        .summaries(&new.workload, usize::MAX)
        .await
        .unwrap()
        .summaries
        .remove(0);
    assert!(newest.id == new.id && newest.placed && newest.settled.is_none());
}

async fn same_summaries(store: &dyn HistoryReader) {
    let mut workloads = BTreeSet::new();
    let page = store.list(&Query::default().limit(1_000)).await.unwrap();
    workloads.extend(page.deployments.iter().map(|d| d.workload().clone()));
    for workload in workloads {
        let of_it = page
            .deployments
            .iter()
            .filter(|d| *d.workload() == workload);
        let expected: Vec<Summary> = of_it.map(Summary::of).collect();
        for limit in [0, 1, 3, expected.len(), expected.len() + 1, usize::MAX] {
            let told = store.summaries(&workload, limit).await.unwrap();
            let newest = &expected[..expected.len().min(limit)];
            assert_eq!(told.summaries, newest, "{workload}, at most {limit}");
            assert_eq!(told.unreadable, []);
            // All of them, and no more, may be taken for a part.
            assert!(!told.is_whole || newest.len() == expected.len(), "{limit}");
            assert!(told.is_whole || limit <= expected.len(), "{limit}");
        }
    }
}

/// Thirty deployments that differ in everything a query can ask for, one of them in flight.
async fn mixed(store: &dyn HistoryStore) -> Vec<Deployment> {
    let outcomes = [
        Outcome::Succeeded,
        Outcome::Failed,
        Outcome::FailedAndRolledBack,
        Outcome::Refused,
        Outcome::Cancelled,
        Outcome::Interrupted,
        Outcome::Degraded,
    ];
    let some = sample("api@web-1", 0).id;
    let triggers = [
        Trigger::Deploy,
        Trigger::Redeploy { of: some.clone() },
        Trigger::Rollback { to: some.clone() },
        Trigger::AutomaticRollback {
            to: some.clone(),
            failed: some,
        },
        Trigger::Adopt,
    ];
    for n in 0..30usize {
        let service = ["api", "web", "API"][n % 3];
        let target = ["web-1", "web-2"][n % 2];
        // Opened in another order than they are stored in.
        let opened = (n as u64 * 7) % 30;
        let mut new: Opening = sample(&format!("{service}@{target}"), opened);
        new.trigger = triggers[n % triggers.len()].clone();
        new.actor = match n % 4 {
            0 => Actor::user("ann").unwrap(),
            1 => Actor::user_via("ann", "web").unwrap(),
            2 => Actor::user("Bob").unwrap(),
            _ => Actor::system("recovery").unwrap(),
        };
        if n % 5 == 0 {
            new.labels = [("team".into(), "edge".into()), ("tier".into(), "1".into())].into();
        }
        new.to = match n % 7 {
            0 => rollback_core::backend::End::Nothing,
            odd => rollback_core::backend::End::Planned(Release::new(
                ["git", "docker"][odd % 2].parse().unwrap(),
                Artifact::new("a", "b"),
            )),
        };
        if n == 29 {
            drop(begin(store, &new).await);
        } else {
            settle(store, &new, outcomes[(n / 2) % 7], (n as u64 * 13) % 40).await;
        }
    }
    let all = store.list(&Query::default().limit(1_000)).await.unwrap();
    assert_eq!(all.deployments.len(), 30);
    assert!(all.unreadable.is_empty());
    all.deployments
}

/// A query for each filter alone, and some together; each is named.
fn queries() -> Vec<(&'static str, Query)> {
    let mut queries = vec![
        ("everything", Query::default()),
        ("one workload", Query::workload(&workload("api@web-1"))),
    ];
    macro_rules! query {
        ($name:literal, $($field:ident: $value:expr),*) => {{
            let mut query = Query::default();
            $(query.$field = Some($value);)*
            queries.push(($name, query));
        }};
    }
    query!("service", service: "api".parse().unwrap());
    query!("target", target: "web-2".parse().unwrap());
    query!("backend", backend: "git".parse().unwrap());
    query!("outcome", outcome: Outcome::Failed);
    query!("trigger", trigger: TriggerKind::AutomaticRollback);
    query!("actor, whatever channel", actor: "ann".parse().unwrap());
    query!("component", actor: "recovery".parse().unwrap());
    query!("label", label: ("team".into(), "edge".into()));
    query!("label of another value", label: ("tier".into(), "2".into()));
    query!("since", since: at(10));
    query!("until", until: at(10));
    query!("span", since: at(5), until: at(25));
    query!("several", service: "web".parse().unwrap(), actor: "ann".parse().unwrap(),
        label: ("team".into(), "core".into()), since: at(2));
    for (_, query) in &mut queries {
        query.limit = 1_000;
    }
    queries
}

pub(super) async fn every_filter_agrees_with_the_querys_meaning(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let all = mixed(&*store).await;
    for (name, query) in queries() {
        let page = store.list(&query).await.unwrap();
        let meant: Vec<_> = all.iter().filter(|d| query.matches(d)).cloned().collect();
        assert_eq!(page.deployments, meant, "{name}");
        assert_eq!(page.next, None, "{name}");
        let selective = name != "everything" && name != "label of another value";
        assert!(
            !selective || (!meant.is_empty() && meant.len() < all.len()),
            "{name} proves little"
        );
    }
}

pub(super) async fn pages_skip_and_repeat_nothing(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let all = mixed(&*store).await;
    let descending = all.windows(2).all(|w| w[0].sequence() > w[1].sequence());
    assert!(descending, "newest first");
    for (name, whole) in queries() {
        let meant: Vec<_> = all.iter().filter(|d| whole.matches(d)).collect();
        for limit in [1, 7, meant.len().max(1)] {
            let mut query = whole.clone().limit(limit);
            let mut paged = Vec::new();
            loop {
                let page = store.list(&query).await.unwrap();
                assert!(page.deployments.len() <= limit);
                paged.extend(page.deployments);
                let Some(next) = page.next else { break };
                query.before = Some(next);
            }
            assert!(paged.iter().eq(meant.iter().copied()), "{name} by {limit}");
        }
    }
    // What is written between two pages shifts neither.
    let first = store.list(&Query::default().limit(7)).await.unwrap();
    let late = sample("new@web-9", 99);
    settle(&*store, &late, Outcome::Failed, 1).await;
    let mut rest = Query::default();
    rest.before = first.next;
    let rest = store.list(&rest).await.unwrap().deployments;
    let joined = first.deployments.into_iter().chain(rest);
    assert!(joined.eq(all), "paging while somebody writes");
}

pub(super) async fn the_limit_is_clamped(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    for n in 0..1_002 {
        settle(&*store, &sample("api@web-1", n), Outcome::Succeeded, 1).await;
    }
    for (asked, given) in [
        (0, 1),
        (1, 1),
        (50, 50),
        (1_000, 1_000),
        (usize::MAX, 1_000),
    ] {
        let page = store.list(&Query::default().limit(asked)).await.unwrap();
        assert_eq!(page.deployments.len(), given, "{asked}");
        assert!(page.next.is_some());
        let distinct: BTreeSet<_> = page.deployments.iter().map(Deployment::id).collect();
        assert_eq!(distinct.len(), given);
    }
}

pub(super) async fn stats_are_what_the_records_say(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    let all = mixed(&*store).await;
    for (name, query) in queries() {
        let meant = Stats::of(all.iter().filter(|d| query.matches(d)));
        // A page's limit and place do not matter.
        let mut query = query.limit(1);
        query.before = Some(all[20].sequence());
        assert_eq!(store.stats(&query).await.unwrap(), meant, "{name}");
    }
    let everything = store.stats(&Query::default()).await.unwrap();
    assert!(everything.total > 20 && everything.rollbacks > 4);
    assert_eq!(everything.recent_failures.len(), 5);
}

pub(super) async fn a_sound_store_verifies_without_a_fault(harness: &dyn StoreHarness) {
    let store = harness.store().await;
    settle(&*store, &sample("api@web-1", 1), Outcome::Succeeded, 1).await;
    settle(&*store, &sample("db@web-1", 2), Outcome::Failed, 2).await;
    let open = begin(&*store, &sample("api@web-1", 3)).await;
    assert_eq!(harness.store().await.verify().await.unwrap(), []);
    drop(open);
}
