//! The store's writes through the trait, against the transactions they cannot do without.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rollback_core::deployment::Outcome;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryStore, Holder, Lease, Then, Version};
use rollback_core::time::{Clock, SystemClock};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{sample, settlement};

use crate::figure::{Figure, Unit, clocked, compare, timed};
use crate::raw::{DeploymentRow, EventRow, Raw, settled};

/// Events of a deployment before it is settled, about as many as a real one has.
const EVENTS: usize = 12;

fn event(n: usize) -> TimedEvent {
    TimedEvent::new(
        SystemClock.now(),
        Event::TakenOver {
            decision: format!("a line such as events have, number {n}"),
            by: None,
        },
    )
}

/// Where the raw transaction is run.
#[derive(Debug, Clone, Copy)]
enum On {
    /// On the thread that measures.
    ThisThread,
    /// Where an async program runs what blocks.
    BlockingThread,
}

pub(crate) async fn append(dir: &Path) -> Figure {
    let name = "sqlite: append one event, against the raw transaction";
    let figure = appended(dir, "append", name, On::ThisThread);
    figure.await.at_most("1.2")
}

/// The same without what the way to a blocking thread and back takes.
pub(crate) async fn append_on_a_blocking_thread(dir: &Path) -> Figure {
    let name = "sqlite: the same, against the raw transaction on a blocking thread";
    appended(dir, "append-blocking", name, On::BlockingThread).await
}

async fn appended(dir: &Path, file: &str, name: &str, on: On) -> Figure {
    let store = SqliteStore::open(dir.join(format!("{file}.db")))
        .await
        .unwrap();
    let raw = Raw::open(&dir.join(format!("{file}-raw.db"))).await;
    let raw = Arc::new(Mutex::new((raw, 0)));
    let lease: tokio::sync::Mutex<Option<Lease>> = tokio::sync::Mutex::new(None);
    let (store, raw, lease) = (&store, &raw, &lease);
    compare(
        name,
        Unit::Micros,
        1_200,
        |n| async move {
            let mut lease = lease.lock().await;
            // A new deployment every few events; beginning one is not an append.
            if n % EVENTS == 0 {
                let new = sample(&format!("w{n}@bench"), u64::try_from(n).unwrap());
                let holder = Holder::this_process(SystemClock.now());
                *lease = Some(store.begin(&new, &holder, Version(0)).await.unwrap().lease);
            }
            let events = [event(n)];
            let append = store.append(lease.as_ref().unwrap(), &events);
            let (time, done) = timed(append).await;
            done.unwrap();
            time
        },
        |n| async move {
            if n % EVENTS == 0 {
                let new = sample(&format!("w{n}@bench"), u64::try_from(n).unwrap());
                let (raw, sequence) = &mut *raw.lock().unwrap();
                *sequence = raw.begin(&DeploymentRow::from(&new));
            }
            let event = EventRow::from(&event(n));
            let raw = Arc::clone(raw);
            let step = move || {
                let (raw, sequence) = &mut *raw.lock().unwrap();
                raw.append(*sequence, n % EVENTS, std::slice::from_ref(&event));
            };
            match on {
                On::ThisThread => clocked(step),
                On::BlockingThread => {
                    let (time, done) = timed(tokio::task::spawn_blocking(step)).await;
                    done.unwrap();
                    time
                }
            }
        },
    )
    .await
}

pub(crate) async fn begin_and_finish(dir: &Path) -> Figure {
    let store = SqliteStore::open(dir.join("begin.db")).await.unwrap();
    let raw = Mutex::new(Raw::open(&dir.join("begin-raw.db")).await);
    let (store, raw) = (&store, &raw);
    compare(
        "sqlite: begin + finish, against the 2 raw transactions",
        Unit::Micros,
        600,
        |n| async move {
            let new = sample(&format!("w{n}@bench"), u64::try_from(n).unwrap());
            let holder = Holder::this_process(SystemClock.now());
            let end = settlement(&new.id, Outcome::Succeeded);
            let both = async {
                let begun = store.begin(&new, &holder, Version(0)).await.unwrap();
                let now = SystemClock.now();
                store
                    .finish(&begun.lease, &[], &end, now, &Then::Release)
                    .await
                    .unwrap();
            };
            timed(both).await.0
        },
        |n| async move {
            let new = sample(&format!("w{n}@bench"), u64::try_from(n).unwrap());
            let row = DeploymentRow::from(&new);
            let end = settled(SystemClock.now(), &settlement(&new.id, Outcome::Succeeded));
            let raw = &mut *raw.lock().unwrap();
            clocked(|| raw.deploy(&row, &[&[end]]))
        },
    )
    .await
}
