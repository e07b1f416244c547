//! Telling subscribers and observers. Each observer has a task of its own, so that a slow one
//! delays no run and each is told in order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
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
pub struct Untold {
    /// How many.
    pub observers: usize,
}

pub(super) struct Observing {
    notices: broadcast::Sender<Notice>,
    pumps: Vec<Pump>,
}

/// One observer, and the task that tells it.
struct Pump {
    observer: Arc<dyn Observer>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Notices that it has not been told yet.
    behind: watch::Sender<u64>,
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
            behind: watch::Sender::new(0),
        };
        Self {
            notices: broadcast::Sender::new(NOTICES),
            pumps: observers.into_iter().map(pump).collect(),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    pub(super) fn tell(&self, notice: Notice) {
        for pump in &self.pumps {
            pump.behind.send_modify(|behind| *behind += 1);
        }
        // Nobody listening is not an error.
        let _ = self.notices.send(notice);
    }

    /// Makes sure that every observer's task runs, in this runtime if a former one has ended.
    pub(super) fn start(&self) {
        for pump in &self.pumps {
            pump.start(&self.notices);
        }
    }

    /// Waits until every observer has been told everything so far.
    pub(super) async fn flush(&self, within: Duration) -> Result<(), Untold> {
        let deadline = tokio::time::Instant::now() + within.min(Duration::from_secs(24 * 60 * 60));
        let mut observers = 0;
        for pump in &self.pumps {
            let mut behind = pump.behind.subscribe();
            let told = behind.wait_for(|behind| *behind == 0);
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
    fn start(&self, notices: &broadcast::Sender<Notice>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        // What a former task was not told, nobody will tell.
        self.behind.send_replace(0);
        let (observer, behind) = (Arc::clone(&self.observer), self.behind.clone());
        *task = Some(tokio::spawn(run(observer, notices.subscribe(), behind)));
    }
}

async fn run(
    observer: Arc<dyn Observer>,
    mut notices: broadcast::Receiver<Notice>,
    behind: watch::Sender<u64>,
) {
    loop {
        let passed = match notices.recv().await {
            Ok(notice) => {
                let observer = Arc::clone(&observer);
                // In a task of its own: one that panics is told the next notice all the same.
                let told = tokio::spawn(async move {
                    if observer.runs_on(notice.trigger) {
                        observer.notice(&notice).await;
                    }
                });
                if let Err(error) = told.await {
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
        behind.send_modify(|behind| *behind = behind.saturating_sub(passed));
    }
}
