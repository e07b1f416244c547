//! Telling subscribers and observers. Each observer has a task of its own, so that a slow one
//! delays no run and each is told in order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::guard::{Notice, Observer};

/// How many notices a slow subscriber may fall behind before it misses some.
const NOTICES: usize = 1_024;

/// Some observers have not been told everything yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{observers} of the observers have not been told everything yet; wait longer, or let it go"
)]
#[non_exhaustive]
pub struct Untold {
    /// How many observers have notices left.
    pub observers: usize,
}

pub(super) struct Observing {
    notices: broadcast::Sender<Notice>,
    /// How many notices were sent. Held while one is sent, and while somebody begins to listen.
    sent: Mutex<u64>,
    pumps: Vec<Pump>,
}

/// One observer, and the task that tells it.
struct Pump {
    observer: Arc<dyn Observer>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Up to which notice it has been told, or has missed them.
    told: watch::Sender<u64>,
}

impl fmt::Debug for Observing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let observers = self.pumps.iter().map(|pump| &pump.observer);
        f.debug_list().entries(observers).finish()
    }
}

impl Observing {
    pub(super) fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        let pump = |observer| Pump {
            observer,
            task: Mutex::new(None),
            told: watch::Sender::new(0),
        };
        Self {
            notices: broadcast::Sender::new(NOTICES),
            sent: Mutex::new(0),
            pumps: observers.into_iter().map(pump).collect(),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    pub(super) fn tell(&self, notice: Notice) {
        let mut sent = self.sent();
        *sent += 1;
        // Nobody listening is not an error.
        let _ = self.notices.send(notice);
    }

    /// Makes sure that every observer's task runs, in this runtime if a former one has ended.
    pub(super) fn start(&self) {
        for pump in &self.pumps {
            let sent = self.sent();
            pump.start(&self.notices, *sent);
        }
    }

    fn sent(&self) -> MutexGuard<'_, u64> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every observer has been told everything so far.
    pub(super) async fn flush(&self, within: Duration) -> Result<(), Untold> {
        let deadline = tokio::time::Instant::now() + within.min(Duration::from_secs(24 * 60 * 60));
        let sent = *self.sent();
        let mut observers = 0;
        for pump in &self.pumps {
            let mut told = pump.told.subscribe();
            let told = told.wait_for(|told| *told >= sent);
            if tokio::time::timeout_at(deadline, told).await.is_err() {
                observers += 1;
            }
        }
        match observers {
            0 => Ok(()),
            observers => Err(Untold { observers }),
        }
    }
}

impl Pump {
    fn start(&self, notices: &broadcast::Sender<Notice>, sent: u64) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        // What a former task was not told, nobody will tell.
        self.told.send_replace(sent);
        let (observer, told) = (Arc::clone(&self.observer), self.told.clone());
        *task = Some(tokio::spawn(run(observer, notices.subscribe(), told)));
    }
}

async fn run(
    observer: Arc<dyn Observer>,
    mut notices: broadcast::Receiver<Notice>,
    told: watch::Sender<u64>,
) {
    loop {
        let passed = match notices.recv().await {
            Ok(notice) => {
                let observer = Arc::clone(&observer);
                // In a task of its own: one that panics is told the next notice all the same.
                let telling = tokio::spawn(async move {
                    if observer.runs_on(notice.trigger) {
                        observer.notice(&notice).await;
                    }
                });
                if let Err(error) = telling.await {
                    tracing::error!(%error, "an observer panicked");
                }
                1
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "an observer is too slow");
                missed
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        told.send_modify(|told| *told += passed);
    }
}
