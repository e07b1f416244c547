//! [`Verb`]: what the child does, from where it starts, and how it is done again.

use std::path::Path;
use std::sync::Arc;

use rollback_core::deployment::{Annotation, Opening, Outcome, Trigger};
use rollback_core::error::StoreError;
use rollback_core::event::Event;
use rollback_core::history::{Amend, Finished, HistoryReader, HistoryStore, Lease, Then};
use rollback_core::id::Actor;

use crate::store_suite::processes::Open;
use crate::store_suite::sample::{
    amend, at, begin, by_ann, holder, note, sample_of, settle, settlement, timed, workload,
};

/// A verb that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Opens a history that does not exist, and begins.
    First,
    /// [`HistoryStore::begin`].
    Begin,
    /// [`HistoryStore::append`].
    Append,
    /// `finish` that frees the lease
    Finish,
    /// `finish` that opens the successor
    FinishAndOpen,
    /// `finish` of the successor, which amends the failed one
    FinishAndAmend,
    /// [`HistoryStore::take_over`].
    TakeOver,
    /// [`HistoryStore::request_cancel`].
    RequestCancel,
    /// `amend`: a hold
    SetHold,
    /// `amend`: a policy, in a history without a workload
    SetPolicy,
    /// [`HistoryStore::annotate`].
    Annotate,
    /// `forget`, of two records
    Forget,
}

pub(super) const API: &str = "api@web-1";

impl Verb {
    /// Every verb that a process is killed in.
    pub const ALL: [Self; 12] = [
        Self::First,
        Self::Begin,
        Self::Append,
        Self::Finish,
        Self::FinishAndOpen,
        Self::FinishAndAmend,
        Self::TakeOver,
        Self::RequestCancel,
        Self::SetHold,
        Self::SetPolicy,
        Self::Annotate,
        Self::Forget,
    ];

    pub(super) fn named(name: &str) -> Self {
        let named = Self::ALL.into_iter().find(|v| format!("{v:?}") == name);
        named.expect("a verb's name")
    }

    /// Makes the history that it starts from: three deployments, the third of them live, unless
    /// it is the first thing that ever happens.
    pub(super) async fn base(self, open: impl Open, place: &Path) {
        if self == Self::First {
            return;
        }
        let store = open.open(place).await;
        if self == Self::SetPolicy {
            return;
        }
        for (n, outcome) in [
            (1, Outcome::Failed),
            (2, Outcome::Succeeded),
            (3, Outcome::Succeeded),
        ] {
            settle(&*store, &deployment(n), outcome, 1).await;
        }
    }

    /// What the child does before it is watched.
    pub(super) async fn set_up(self, open: impl Open, place: &Path) -> Ready {
        if self == Self::First {
            return Ready::default();
        }
        let store = open.open(place).await;
        let lease = match self {
            Self::Append
            | Self::Finish
            | Self::FinishAndOpen
            | Self::FinishAndAmend
            | Self::TakeOver
            | Self::RequestCancel => Some(begin(&*store, &deployment(4)).await.lease),
            _ => None,
        };
        let lease = match (self, lease) {
            // Its holder is dead.
            (Self::TakeOver, _) => None,
            (Self::FinishAndAmend, Some(lease)) => {
                let end = settlement(lease.deployment(), Outcome::Failed);
                let then = Then::Open(Box::new(successor()));
                match store.finish(&lease, &[], &end, at(5), &then).await.unwrap() {
                    Finished::Opened(begun) => Some(begun.lease),
                    Finished::Released => panic!("the successor was to be opened"),
                }
            }
            (_, lease) => lease,
        };
        Ready {
            store: Some(store),
            lease,
        }
    }

    /// Writes once, in the process that is to be killed.
    pub(super) async fn act(
        self,
        open: impl Open,
        place: &Path,
        ready: Ready,
    ) -> Result<(), StoreError> {
        let store = match ready.store {
            Some(store) => store,
            None => open.open(place).await,
        };
        let (api, lease) = (workload(API), ready.lease);
        match self {
            Self::First | Self::Begin => {
                let new = deployment(6);
                let version = store.workload(&api).await?.version;
                store.begin(&new, &holder(), version).await.map(drop)
            }
            Self::Append | Self::Finish | Self::FinishAndOpen | Self::FinishAndAmend => {
                self.under(&*store, &lease.expect("a lease")).await
            }
            Self::TakeOver => store.take_over(&api, &holder()).await.map(drop),
            Self::RequestCancel => store.request_cancel(&deployment(4).id, &ann()).await,
            Self::SetHold => {
                let why = "a freeze".parse().unwrap();
                amend(&*store, &api, &by_ann(Amend::Hold { why }, 7))
                    .await
                    .map(drop)
            }
            Self::SetPolicy => {
                let policy = by_ann(Amend::SetPolicy(Box::default()), 7);
                amend(&*store, &workload("new@web-1"), &policy)
                    .await
                    .map(drop)
            }
            Self::Annotate => {
                let what = Annotation::Note(note("looked at"));
                store.annotate(&deployment(1).id, &what).await
            }
            Self::Forget => {
                let ids = [deployment(1).id, deployment(2).id];
                store.forget(&ids).await.map(drop)
            }
        }
    }

    /// Those that promise to bear repeating after an error.
    pub const REPEATABLE: [Self; 4] = [
        Self::Append,
        Self::Finish,
        Self::FinishAndOpen,
        Self::FinishAndAmend,
    ];

    /// Does one of those, and again while it fails. A settlement may be durable in one place and
    /// be carried to others later: the next write is done too.
    pub(super) async fn insist(self, ready: Ready) -> Result<(), StoreError> {
        let store = ready.store.expect("it was set up");
        self.repeat(&*store, ready.lease.expect("a lease")).await?;
        match self {
            Self::Append => Ok(()),
            _ => amend(&*store, &workload(API), &by_ann(Amend::LiftHold, 9))
                .await
                .map(drop),
        }
    }

    async fn repeat(self, store: &dyn HistoryStore, lease: Lease) -> Result<(), StoreError> {
        let mut tried = 0;
        loop {
            match self.under(store, &lease).await {
                Err(e) if e.is_transient() && tried < 4 => tried += 1,
                done => return done,
            }
        }
    }

    /// What is done under a lease.
    async fn under(self, store: &dyn HistoryStore, lease: &Lease) -> Result<(), StoreError> {
        let (outcome, then) = match self {
            Self::FinishAndOpen => (Outcome::Failed, Then::Open(Box::new(successor()))),
            Self::FinishAndAmend => {
                let then = Then::ReleaseAndAmend(deployment(4).id);
                (Outcome::Succeeded, then)
            }
            Self::Finish => (Outcome::Succeeded, Then::Release),
            _ => {
                let decision = "goes on".into();
                let event = timed(5, Event::TakenOver { decision, by: None });
                return store.append(lease, &[event]).await.map(drop);
            }
        };
        let end = settlement(lease.deployment(), outcome);
        store.finish(lease, &[], &end, at(8), &then).await.map(drop)
    }

    /// Does it again, in a process that has only just opened the store: who needs a lease takes
    /// over that of the dead.
    pub(super) async fn again(
        self,
        open: impl Open,
        place: &Path,
        store: Arc<dyn HistoryStore>,
    ) -> Result<(), StoreError> {
        let lease = match self {
            Self::Append | Self::Finish | Self::FinishAndOpen | Self::FinishAndAmend => {
                Some(store.take_over(&workload(API), &holder()).await?)
            }
            _ => None,
        };
        let store = Some(store);
        self.act(open, place, Ready { store, lease }).await
    }
}

/// A child that may begin.
#[derive(Debug, Default)]
pub(super) struct Ready {
    store: Option<Arc<dyn HistoryStore>>,
    lease: Option<Lease>,
}

/// The `n`th deployment: the same in every process.
fn deployment(n: u64) -> Opening {
    of(n, Trigger::Deploy)
}

/// The automatic rollback of the fourth.
fn successor() -> Opening {
    let (to, failed) = (deployment(3).id, deployment(4).id);
    of(5, Trigger::AutomaticRollback { to, failed })
}

fn of(n: u64, trigger: Trigger) -> Opening {
    let mut new = sample_of(API, n, trigger);
    let time = new.id.as_str().rsplit_once('-').unwrap().0;
    new.id = format!("{time}-{n:016x}").parse().unwrap();
    new
}

fn ann() -> Actor {
    Actor::user("ann").unwrap()
}
