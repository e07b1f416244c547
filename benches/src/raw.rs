//! The store's transactions as plain SQL: what no durable history in SQLite can do without.

use std::path::Path;

use rollback_core::deployment::{Opening, Settlement};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::id::DeploymentId;
use rollback_sqlite::SqliteStore;
use rusqlite::{Connection, TransactionBehavior, params};

/// A connection with the settings that make a commit durable, on a file that the store laid out:
/// the same tables and indices, whatever they come to be.
pub(crate) struct Raw {
    connection: Connection,
}

/// A row of the events, made before the clock runs.
pub(crate) struct EventRow {
    at: i64,
    pub(crate) name: &'static str,
    body: String,
}

/// A row of the deployments, made before the clock runs.
pub(crate) struct DeploymentRow {
    id: String,
    workload: String,
    service: String,
    target: String,
    at: i64,
    header: String,
    labels: Vec<(String, String)>,
}

impl From<&TimedEvent> for EventRow {
    fn from(event: &TimedEvent) -> Self {
        Self {
            at: event.at.as_microsecond(),
            name: event.event.name(),
            body: serde_json::to_string(event).unwrap(),
        }
    }
}

impl From<&Opening> for DeploymentRow {
    fn from(new: &Opening) -> Self {
        Self {
            id: new.id.to_string(),
            workload: new.workload.to_string(),
            service: new.workload.service().to_string(),
            target: new.workload.target().to_string(),
            at: new.opened_at.as_microsecond(),
            header: serde_json::to_string(new).unwrap(),
            labels: new.labels.clone().into_iter().collect(),
        }
    }
}

impl DeploymentRow {
    /// Another deployment of another workload, alike in all else.
    pub(crate) fn renamed(&self, id: &DeploymentId, n: usize) -> Self {
        Self {
            id: id.to_string(),
            workload: format!("w{n}@bench"),
            service: format!("w{n}"),
            target: self.target.clone(),
            at: self.at,
            header: self.header.clone(),
            labels: self.labels.clone(),
        }
    }
}

/// Events as they are written, each step in one transaction: each intent, with what was left to it;
/// so what lasts a while, and the settlement. Opening the deployment is one more.
pub(crate) fn transactions(events: &[EventRow]) -> Vec<&[EventRow]> {
    let lasts = |e: &EventRow| e.name.ends_with("intended") || e.name == "switched";
    events.split_inclusive(lasts).collect()
}

/// The event with which a deployment ends.
pub(crate) fn settled(at: rollback_core::time::Timestamp, settlement: &Settlement) -> EventRow {
    EventRow::from(&TimedEvent::new(at, Event::Settled(settlement.clone())))
}

impl Raw {
    pub(crate) async fn open(path: &Path) -> Self {
        drop(SqliteStore::open(path).await.unwrap());
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .unwrap();
        // What keeps unsealed changes out is the store's own part.
        let triggers: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for trigger in triggers {
            let sql = format!("DROP TRIGGER {trigger}");
            connection.execute_batch(&sql).unwrap();
        }
        connection.set_prepared_statement_cache_capacity(64);
        Self { connection }
    }

    /// One durable transaction.
    fn commit<T>(&mut self, statements: impl FnOnce(&Connection) -> T) -> T {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        let value = statements(&tx);
        tx.commit().unwrap();
        value
    }

    /// A deployment and its workload's lease; gives the deployment's row id.
    pub(crate) fn begin(&mut self, row: &DeploymentRow) -> i64 {
        self.commit(|tx| {
            tx.prepare_cached(
                "INSERT INTO deployments
                   (id, workload, service, target, backend, trigger, actor, opened_us, opened_ns,
                    header)
                 VALUES (?1, ?2, ?3, ?4, 'bench', 'deploy', 'bench', ?5, 0, ?6)",
            )
            .unwrap()
            .execute(params![
                row.id,
                row.workload,
                row.service,
                row.target,
                row.at,
                row.header
            ])
            .unwrap();
            let sequence = tx.last_insert_rowid();
            for (name, value) in &row.labels {
                tx.prepare_cached(
                    "INSERT INTO labels (name, value, deployment) VALUES (?1, ?2, ?3)",
                )
                .unwrap()
                .execute(params![name, value, sequence])
                .unwrap();
            }
            tx.prepare_cached(
                "INSERT INTO workloads (id, version, epoch, live, in_flight, holder)
                 VALUES (?1, 1, 1, '\"nothing\"', ?2, '{\"pid\":1}')",
            )
            .unwrap()
            .execute(params![row.workload, row.id])
            .unwrap();
            sequence
        })
    }

    /// In one transaction; the first of them at this place.
    pub(crate) fn append(&mut self, sequence: i64, ordinal: usize, events: &[EventRow]) {
        self.commit(|tx| insert(tx, sequence, ordinal, events));
    }

    /// The last event, the columns that queries filter on, and the lease.
    pub(crate) fn finish(
        &mut self,
        sequence: i64,
        row: &DeploymentRow,
        ordinal: usize,
        events: &[EventRow],
    ) {
        let Some(settled) = events.last() else {
            return;
        };
        self.commit(|tx| {
            insert(tx, sequence, ordinal, events);
            tx.prepare_cached(
                "UPDATE deployments SET outcome = 'succeeded', verdict = 'passed',
                   settled_us = ?2, duration_ms = 1, settled_epoch = 1 WHERE sequence = ?1",
            )
            .unwrap()
            .execute(params![sequence, settled.at])
            .unwrap();
            tx.prepare_cached(
                "UPDATE workloads SET version = version + 1, live = ?2, in_flight = NULL,
                   holder = NULL WHERE id = ?1",
            )
            .unwrap()
            .execute(params![row.workload, row.id])
            .unwrap();
        });
    }

    /// All transactions of a deployment; what is in one of these steps is written in one.
    pub(crate) fn deploy(&mut self, row: &DeploymentRow, steps: &[&[EventRow]]) {
        let sequence = self.begin(row);
        let (last, before) = steps.split_last().unwrap();
        let mut ordinal = 0;
        for step in before {
            self.append(sequence, ordinal, step);
            ordinal += step.len();
        }
        self.finish(sequence, row, ordinal, last);
    }
}

fn insert(tx: &Connection, sequence: i64, ordinal: usize, events: &[EventRow]) {
    for (ordinal, event) in (ordinal..).zip(events) {
        tx.prepare_cached(
            "INSERT INTO events (deployment, ordinal, at_us, name, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .unwrap()
        .execute(params![
            sequence,
            i64::try_from(ordinal).unwrap(),
            event.at,
            event.name,
            event.body
        ])
        .unwrap();
    }
}
