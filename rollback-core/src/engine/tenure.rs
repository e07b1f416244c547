//! [`Tenure`]: a lease or an exclusion in use. It is renewed as long as it is there, and says when it
//! is over.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::error::{Chain, StoreError, StoreErrorKind};
use crate::event::TimedEvent;
use crate::history::{Exclusion, HistoryStore, Keep, Lease, Renewal, Trust};

/// How often a lease is renewed, or oftener where it is trusted for less than three times this: so
/// soon it is seen that another process wants this one to stop.
const POLL: Duration = Duration::from_millis(500);

/// How long a renewal is waited for at most before a second one is sent, where time matters.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long where it does not: all that is missed meanwhile is that somebody wants a stop.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// How many renewals are under way at once at most, before they are given up.
const AT_ONCE: usize = 2;

/// How often the patience is doubled at most: what a store hangs in may keep a thread for ever.
const DOUBLINGS: u32 = 10;

/// Why nothing may be done any more under what was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Somebody else has it.
    Fenced,
    /// It was not renewed in time, and somebody else may have it soon.
    Expired,
}

/// What can be held of a store for a while.
#[async_trait]
pub(super) trait Held: fmt::Debug + Sized + Send + Sync + 'static {
    fn trust(&self) -> Trust;

    /// What keeps it while something acts under it.
    fn keep(&self) -> Option<Keep>;

    /// The same by name alone.
    fn unguarded(&self) -> Self;

    async fn renew(&self, store: &dyn HistoryStore) -> Result<Renewal, StoreError>;
}

#[async_trait]
impl Held for Lease {
    fn trust(&self) -> Trust {
        self.trust()
    }

    fn keep(&self) -> Option<Keep> {
        self.keep()
    }

    fn unguarded(&self) -> Self {
        self.unguarded()
    }

    async fn renew(&self, store: &dyn HistoryStore) -> Result<Renewal, StoreError> {
        store.renew(self).await
    }
}

#[async_trait]
impl Held for Exclusion {
    fn trust(&self) -> Trust {
        self.trust()
    }

    fn keep(&self) -> Option<Keep> {
        Some(self.keep())
    }

    fn unguarded(&self) -> Self {
        self.unguarded()
    }

    async fn renew(&self, store: &dyn HistoryStore) -> Result<Renewal, StoreError> {
        Ok(Renewal::new(store.renew_exclusion(self).await?, None))
    }
}

/// What is known of what is held.
#[derive(Debug)]
struct State {
    /// When the request was sent whose answer this is.
    asked: Instant,
    trust: Trust,
    is_fenced: bool,
    is_cancelled: bool,
}

impl State {
    /// When it is over, unless it is renewed: at two thirds of what was granted, counted from before
    /// it was asked for. The last third is there for what is under way to come to its end in.
    fn until(&self) -> Option<Instant> {
        match self.trust {
            Trust::WhileHeld => None,
            Trust::For(span) => self.asked.checked_add(span / 3 * 2),
        }
    }

    fn pause(&self) -> Duration {
        match self.trust {
            Trust::WhileHeld => POLL,
            Trust::For(span) => POLL.min(span / 3),
        }
    }

    /// How long one renewal is waited for before another one is sent beside it.
    fn patience(&self) -> Duration {
        match self.trust {
            Trust::WhileHeld => LONG_PATIENCE,
            Trust::For(span) => PATIENCE.min(span / 6),
        }
    }

    fn has_expired(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() >= until)
    }

    fn over(&self) -> Option<Over> {
        if self.is_fenced {
            Some(Over::Fenced)
        } else {
            self.has_expired().then_some(Over::Expired)
        }
    }

    fn note(&mut self, asked: Instant, answer: &Result<Renewal, StoreError>) {
        match answer {
            // What is over stays over: somebody may have been told so.
            _ if self.over().is_some() => {}
            Ok(renewal) => {
                self.is_cancelled |= renewal.cancel_requested_by.is_some();
                if asked >= self.asked {
                    (self.asked, self.trust) = (asked, renewal.trust);
                }
            }
            Err(e) if e.kind() == StoreErrorKind::Fenced => self.is_fenced = true,
            // A store that does not answer now is asked again.
            Err(_) => {}
        }
    }
}

/// Ends the renewals with what needed them.
#[derive(Debug)]
struct Beat(AbortHandle);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A lease or an exclusion in use. Dropping it ends its renewals, unless something that acts under it
/// [keeps](Self::keep) it.
#[derive(Debug)]
pub(super) struct Tenure<T> {
    store: Arc<dyn HistoryStore>,
    held: T,
    state: Arc<watch::Sender<State>>,
    beat: Arc<Beat>,
}

impl<T: Held> Tenure<T> {
    /// Holds what the store gave when it was asked at this instant.
    pub(super) fn of(store: &Arc<dyn HistoryStore>, held: T, asked: Instant) -> Self {
        let state = Arc::new(watch::Sender::new(State {
            asked,
            trust: held.trust(),
            is_fenced: false,
            is_cancelled: false,
        }));
        // By name alone: who dies keeps nobody alive with a renewal that is under way.
        let renewals = renewals(Arc::downgrade(store), held.unguarded(), Arc::clone(&state));
        let beat = Arc::new(Beat(tokio::spawn(renewals).abort_handle()));
        Self {
            store: Arc::clone(store),
            held,
            state,
            beat,
        }
    }

    pub(super) fn held(&self) -> &T {
        &self.held
    }

    /// Gives back what was held.
    pub(super) fn into_held(self) -> T {
        self.held
    }

    /// What keeps it, and goes on renewing it.
    pub(super) fn keep(&self) -> Keep {
        Keep::new((self.held.keep(), Arc::clone(&self.beat)))
    }

    /// Renews it now.
    pub(super) async fn renew(&self) -> Result<Renewal, StoreError> {
        renew(self.store.as_ref(), &self.held, &self.state).await
    }

    /// Whether another process has asked for a stop, by what is known.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state.borrow().is_cancelled
    }

    /// An error if it is over.
    pub(super) fn holds(&self) -> Result<(), Over> {
        self.state.borrow().over().map_or(Ok(()), Err)
    }

    /// Until it is over.
    pub(super) async fn over(&self) -> Over {
        self.when(State::over).await
    }

    /// Until another process has asked for a stop.
    pub(super) async fn cancel_requested(&self) {
        let mut state = self.state.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = state.wait_for(|state| state.is_cancelled).await;
    }

    /// What the store says, if it says it in time. Whether somebody else has taken what is held, it
    /// says itself.
    pub(super) async fn in_time<A>(&self, answer: impl Future<Output = A>) -> Result<A, Over> {
        let expired = self.when(|state| state.has_expired().then_some(()));
        tokio::select! {
            biased;
            () = expired => Err(Over::Expired),
            answer = answer => Ok(answer),
        }
    }

    /// The first answer to this, which may change with each renewal and with time.
    async fn when<A>(&self, ask: impl Fn(&State) -> Option<A>) -> A {
        let mut state = self.state.subscribe();
        loop {
            let until = {
                let state = state.borrow_and_update();
                if let Some(answer) = ask(&state) {
                    return answer;
                }
                state.until()
            };
            let expired = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = state.changed() => {}
                () = expired => {}
            }
        }
    }
}

impl Tenure<Lease> {
    /// Adds events to the record, which renews the lease.
    pub(super) async fn append(&self, events: &[TimedEvent]) -> Result<Renewal, StoreError> {
        let answer = self.store.append(&self.held, events);
        noted(&self.state, answer).await
    }
}

/// Waits for an answer, and notes what it says of what is held.
async fn noted(
    state: &watch::Sender<State>,
    answer: impl Future<Output = Result<Renewal, StoreError>>,
) -> Result<Renewal, StoreError> {
    let asked = Instant::now();
    let answer = answer.await;
    state.send_modify(|state| state.note(asked, &answer));
    answer
}

async fn renew<T: Held>(
    store: &dyn HistoryStore,
    held: &T,
    state: &watch::Sender<State>,
) -> Result<Renewal, StoreError> {
    noted(state, held.renew(store)).await
}

/// Renews until it is over: what nobody acts under any more is not kept from others.
async fn renewals<T: Held>(
    store: Weak<dyn HistoryStore>,
    held: T,
    state: Arc<watch::Sender<State>>,
) {
    let held = Arc::new(held);
    let (mut under_way, mut given_up) = (JoinSet::new(), 0);
    loop {
        let (pause, patience) = {
            let state = state.borrow();
            (state.pause(), state.patience())
        };
        tokio::time::sleep(pause).await;
        let Some(store) = store.upgrade() else {
            return;
        };
        if state.borrow().over().is_some() {
            return;
        }
        // What has come meanwhile is noted.
        while under_way.try_join_next().is_some() {}
        if under_way.len() == AT_ONCE {
            under_way.abort_all();
            under_way = JoinSet::new();
            given_up = DOUBLINGS.min(given_up + 1);
        }
        let (held, state) = (Arc::clone(&held), Arc::clone(&state));
        under_way.spawn(async move { renew(store.as_ref(), held.as_ref(), &state).await });
        // What it says is noted, however late it comes.
        tokio::select! {
            Some(answer) = under_way.join_next() => match answer {
                Ok(Err(e)) if !e.is_transient() => {
                    tracing::warn!(error = %Chain::of(&e), "a lease was not renewed");
                }
                Ok(_) => given_up = 0,
                Err(_) => {}
            },
            () = tokio::time::sleep(patience.saturating_mul(1 << given_up)) => {}
        }
    }
}
