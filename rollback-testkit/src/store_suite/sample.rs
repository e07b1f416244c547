//! Sample deployments.

use std::time::Duration;

use rollback_core::backend::{End, Handle, Instance, Prepared, Reuse, Rollout};
use rollback_core::deployment::{LiveRecord, Note, Opening, Outcome, Settlement, Trigger};
use rollback_core::error::{StoreError, StoreErrorKind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::health::Verdict;
use rollback_core::history::{
    Amend, Amendment, Begun, Finished, HistoryStore, Holder, Then, Version,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::release::{Artifact, Release};
use rollback_core::time::{Clock, SystemClock, Timestamp};

/// The `n`th second of the sample history.
pub fn at(n: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH.plus(Duration::from_secs(1_700_000_000 + n))
}

/// This process as a holder, since now.
pub fn holder() -> Holder {
    Holder::this_process(SystemClock.now())
}

/// A deployment of `v1` on `workload`, opened at second `n`, with an id of its own.
pub fn sample(workload: &str, n: u64) -> Opening {
    sample_of(workload, n, Trigger::Deploy)
}

/// The same, set off by `trigger`.
pub fn sample_of(workload: &str, n: u64, trigger: Trigger) -> Opening {
    let release = Release::new(
        "sample".parse().unwrap(),
        Artifact::new(format!("app:v{n}"), format!("sha256:{n:064x}")),
    );
    let actor = Actor::user_via("ann", "cli").unwrap();
    let id = DeploymentId::generate(at(n));
    let mut new = Opening::new(id, workload.parse().unwrap(), trigger, actor, at(n));
    new.reason = Some("because".parse().unwrap());
    new.to = End::Planned(release);
    new.reuse = match n % 2 {
        0 => Reuse::Kept,
        _ => Reuse::Never,
    };
    new.labels = [("team".to_owned(), "core".to_owned())].into();
    new
}

/// A settlement with this outcome; the deployment is live if it succeeded.
pub fn settlement(id: &DeploymentId, outcome: Outcome) -> Settlement {
    let succeeded = outcome == Outcome::Succeeded;
    Settlement::new(
        outcome,
        if succeeded {
            Verdict::Passed
        } else {
            Verdict::failed("503 at /healthz")
        },
        if succeeded {
            LiveRecord::Known(id.clone())
        } else {
            LiveRecord::Unknown
        },
        "so it ended".to_owned(),
    )
}

pub(super) fn timed(n: u64, event: Event) -> TimedEvent {
    TimedEvent::new(at(n), event)
}

pub(super) fn prepared(new: &Opening) -> Event {
    Event::Prepared(Prepared::new(
        Rollout::Replace,
        Instance::new(new.to.release().unwrap().clone(), Handle::new("place")),
    ))
}

pub(super) fn workload(text: &str) -> WorkloadId {
    text.parse().unwrap()
}

/// Begins at whatever version the workload has.
pub(super) async fn begin(store: &dyn HistoryStore, new: &Opening) -> Begun {
    let version = store.workload(&new.workload).await.unwrap().version;
    store.begin(new, &holder(), version).await.unwrap()
}

/// Begins and settles, `took` seconds later.
pub(super) async fn settle(store: &dyn HistoryStore, new: &Opening, outcome: Outcome, took: u64) {
    let begun = begin(store, new).await;
    let end = new.opened_at.plus(Duration::from_secs(took));
    let settlement = settlement(&new.id, outcome);
    let done = store
        .finish(&begun.lease, &[], &settlement, end, &Then::Release)
        .await;
    assert!(matches!(done, Ok(Finished::Released)), "{done:?}");
}

/// A refusal has its kind, and says to what it happened and what to do next.
#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, kind: StoreErrorKind) {
    match result {
        Err(e) => {
            assert_eq!(e.kind(), kind, "{e}");
            let names_it = e.subject().is_some() || e.conflict().is_some();
            assert!(names_it, "to what it happened is not said: {e}");
            assert!(e.advised().is_some(), "what to do next is not said: {e}");
        }
        Ok(value) => panic!("{kind:?} was expected, and this was done: {value:?}"),
    }
}

/// A person's remark.
pub fn note(text: &str) -> Note {
    Note::new(Actor::user("ann").unwrap(), at(9), text.parse().unwrap())
}

/// An amendment by `ann`.
pub fn by_ann(what: Amend, now: u64) -> Amendment {
    Amendment::new(Actor::user("ann").unwrap(), at(now), what)
}

/// Amends a workload as it is now.
///
/// # Errors
///
/// The store's, as it is.
pub async fn amend(
    store: &dyn HistoryStore,
    workload: &WorkloadId,
    amendment: &Amendment,
) -> Result<Version, StoreError> {
    let version = store.workload(workload).await?.version;
    store.amend(workload, version, amendment).await
}
