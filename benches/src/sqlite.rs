//! A durable append through the trait, against the transaction it cannot do without.

use std::path::Path;
use std::sync::Mutex;

use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryStore, Holder, Version};
use rollback_core::time::{Clock, SystemClock};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::sample;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::figure::{Figure, compare};

/// Events of a deployment before it is settled, about as many as a real one has.
const EVENTS: usize = 12;

/// A connection with the settings that make a commit durable, and a table like that of events.
pub(crate) fn raw(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE events (
                 deployment INTEGER NOT NULL, ordinal INTEGER NOT NULL, at_us INTEGER NOT NULL,
                 json TEXT NOT NULL, PRIMARY KEY (deployment, ordinal)) STRICT, WITHOUT ROWID;",
        )
        .unwrap();
    connection
}

/// One durable transaction that inserts one row.
pub(crate) fn commit(connection: &mut Connection, n: usize, json: &str) {
    let n = i64::try_from(n).unwrap();
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    tx.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")
        .unwrap()
        .execute(params![n, n, n, json])
        .unwrap();
    tx.commit().unwrap();
}

pub(crate) async fn append(dir: &Path) -> Figure {
    let store = SqliteStore::open(dir.join("append.db")).await.unwrap();
    let raw = Mutex::new(raw(&dir.join("append-raw.db")));
    let event = |n: usize| TimedEvent {
        at: SystemClock.now(),
        event: Event::TakenOver {
            decision: format!("a line such as events have, number {n}"),
        },
    };
    let lease = tokio::sync::Mutex::new(None);
    let (store, raw, lease) = (&store, &raw, &lease);
    compare(
        "sqlite: append, against one raw transaction",
        600,
        |n| async move {
            let mut lease = lease.lock().await;
            // A new deployment every few events; beginning one is not an append.
            if n % EVENTS == 0 || lease.is_none() {
                *lease = None;
            }
            if lease.is_none() {
                let new = sample(&format!("w{n}@bench"), u64::try_from(n).unwrap());
                let holder = Holder::this_process(SystemClock.now());
                let begun = store.begin(&new, &holder, Version(0)).await.unwrap();
                *lease = Some(begun.lease);
            }
            store
                .append(lease.as_ref().unwrap(), &event(n))
                .await
                .unwrap();
        },
        |n| async move {
            let json = serde_json::to_string(&event(n)).unwrap();
            commit(&mut raw.lock().unwrap(), n, &json);
        },
    )
    .await
}
