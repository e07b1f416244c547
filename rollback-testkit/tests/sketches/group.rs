//! Several workloads that move as one: a stack's.
//!
//! On paper: every member is a deployment of its own, with a lease of its own and the same `GroupId`; an
//! automatic rollback keeps it. Leases are taken in the order of the workloads' ids, so that two groups
//! cannot wait for each other, and those that were taken are settled when a later one is refused. The
//! decision is an event on the first member's record, the coordinator's, durable before any member goes
//! either way: an older program keeps it (`Newer`), and touches nothing of what it stands in.
//! Awkward: no `Request` has a group yet, and the engine has no barrier between gate and switch, so that
//! members are opened at the store. `Query` has no group: its members are found by reading records. The
//! guard over dependencies refuses siblings, which are in flight. `finish` settles one workload: members
//! are settled one after the other, each by the decision, which is what recovery reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use rollback_core::deployment::Trigger;
use rollback_core::history::{Begun, Holder, Lease, Sequence, Then, Version};
use rollback_core::id::GroupId;
use rollback_core::prelude::*;
use rollback_sqlite::SqliteStore;

use crate::{ada, workload};

/// What becomes of every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Forward,
    Back,
}

impl Decision {
    /// As an event that this version does not have: a program that has groups reads it as its own.
    fn event(self) -> Event {
        let decided = match self {
            Self::Forward => "forward",
            Self::Back => "back",
        };
        serde_json::from_value(serde_json::json!({"event": "group_decided", "decided": decided}))
            .unwrap()
    }

    /// What a coordinator's record says; `None`: nothing yet, and every member goes back.
    fn of(record: &Deployment) -> Option<Self> {
        let mut events = record.events().iter().rev().map(|e| &e.event);
        events.find_map(|event| {
            [Self::Forward, Self::Back]
                .into_iter()
                .find(|d| d.event() == *event)
        })
    }
}

/// Deployments that are opened as one.
#[derive(Debug, Clone)]
struct Group {
    id: GroupId,
    /// By workload, which is the order of their leases.
    members: BTreeMap<WorkloadId, Opening>,
}

impl Group {
    fn new(id: GroupId, members: impl IntoIterator<Item = Opening>) -> Self {
        let members = members.into_iter().map(|mut new| {
            new.group = Some(id.clone());
            (new.workload.clone(), new)
        });
        Self {
            members: members.collect(),
            id,
        }
    }

    /// Opens all of them or none; the first lease is the coordinator's.
    async fn open(
        &self,
        store: &dyn HistoryStore,
        at: Timestamp,
    ) -> Result<Vec<Begun>, StoreError> {
        let holder = Holder::this_process(at);
        let mut begun: Vec<Begun> = Vec::new();
        for (workload, new) in &self.members {
            let version = store.workload(workload).await?.version;
            match store.begin(new, &holder, version).await {
                Ok(one) => begun.push(one),
                Err(refused) => {
                    for (one, opened) in begun.iter().zip(self.members.values()) {
                        settle(store, &one.lease, opened, at).await?;
                    }
                    return Err(refused);
                }
            }
        }
        Ok(begun)
    }
}

/// Ends a member that has done nothing.
async fn settle(
    store: &dyn HistoryStore,
    lease: &Lease,
    opened: &Opening,
    at: Timestamp,
) -> Result<(), StoreError> {
    let why = "Another member of its group could not be opened.";
    let live = opened.fallback.clone();
    let settlement = Settlement::new(Outcome::Cancelled, Verdict::Unknown, live, why);
    store
        .finish(lease, &[], &settlement, at, &Then::Release)
        .await?;
    Ok(())
}

fn new(text: &str) -> Opening {
    let at = Timestamp::UNIX_EPOCH;
    let id = DeploymentId::generate(at);
    Opening::new(id, workload(text), Trigger::Deploy, ada(), at)
}

fn shop() -> Group {
    let members = ["web@shop", "api@shop", "db@shop"];
    Group::new("shop-41".parse().unwrap(), members.map(new))
}

/// A test on a store in memory and on one that writes what it keeps.
async fn on_stores(test: impl AsyncFn(Arc<dyn HistoryStore>)) {
    test(Arc::new(MemoryStore::new())).await;
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("history.db")).await;
    test(Arc::new(store.unwrap())).await;
}

#[tokio::test]
async fn the_members_of_a_group_are_found_again_by_its_id() {
    on_stores(async |store| {
        let (group, at) = (shop(), Timestamp::UNIX_EPOCH);
        let begun = group.open(store.as_ref(), at).await.unwrap();
        let opened: Vec<_> = begun
            .iter()
            .map(|b| b.lease.workload().to_string())
            .collect();
        assert_eq!(opened, ["api@shop", "db@shop", "web@shop"], "one order");
        let page = store.list(&Query::default()).await.unwrap();
        let members: Vec<_> = page
            .deployments
            .iter()
            .filter(|d| d.opening().group.as_ref() == Some(&group.id))
            .map(Deployment::sequence)
            .collect();
        let mut given: Vec<Sequence> = begun.iter().map(|b| b.sequence).collect();
        given.reverse();
        assert_eq!(members, given);
    })
    .await;
}

#[tokio::test]
async fn of_a_group_all_are_opened_or_none() {
    on_stores(async |store| {
        let (group, at) = (shop(), Timestamp::UNIX_EPOCH);
        let other = new("web@shop");
        let holder = Holder::this_process(at);
        let held = store.begin(&other, &holder, Version(0)).await.unwrap();
        let refused = group.open(store.as_ref(), at).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Conflict);
        for member in ["api@shop", "db@shop"] {
            let state = store.workload(&workload(member)).await.unwrap();
            assert!(state.in_flight.is_none(), "{member}");
        }
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn the_decision_of_a_group_is_kept_by_a_program_that_has_no_groups() {
    on_stores(async |store| {
        let (group, at) = (shop(), Timestamp::UNIX_EPOCH);
        let begun = group.open(store.as_ref(), at).await.unwrap();
        let coordinator = &begun[0].lease;
        let record = async || store.get(coordinator.deployment()).await.unwrap().unwrap();
        assert_eq!(Decision::of(&record().await), None);
        for decision in [Decision::Forward, Decision::Back] {
            let event = decision.event();
            assert!(matches!(event, Event::Newer(_)));
            let decided = TimedEvent::new(at, event);
            store.append(coordinator, &[decided]).await.unwrap();
            let record = record().await;
            assert_eq!(Decision::of(&record), Some(decision));
            assert!(record.is_newer(), "an older program touches nothing of it");
        }
    })
    .await;
}
