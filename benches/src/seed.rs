//! Long histories, made without the verbs that would take hours to make them.

use std::path::Path;
use std::time::Duration;

use rollback_core::backend::{Evidence, Handle, Instance, Prepared, Rollout, Started};
use rollback_core::deployment::{Opening, Outcome, Settlement, Trigger};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::health::{Site, Verdict};
use rollback_core::history::{HistoryStore, Holder, Then};
use rollback_core::id::DeploymentId;
use rollback_core::time::{Clock, SystemClock, Timestamp};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{sample, settlement};
use rusqlite::{Connection, Transaction, params};
use sha2::{Digest as _, Sha256};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Over so long the records are spread, up to now.
const SPAN: Duration = Duration::from_secs(3 * 365 * 24 * 60 * 60);
const SERVICES: usize = 20;
const TARGETS: usize = 3;

/// How much of a timeline a record has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timeline {
    /// Its first event and its settlement: what a million records can be seeded with.
    Ends,
    /// All events of a deployment that replaced another.
    Whole,
}

/// A settled record.
pub(crate) struct Record {
    pub(crate) new: Opening,
    pub(crate) events: Vec<TimedEvent>,
    pub(crate) settlement: Settlement,
    pub(crate) settled_at: Timestamp,
}

pub(crate) fn service(n: usize) -> String {
    format!("service-{}", n % SERVICES)
}

/// Thirty days before now.
pub(crate) fn month_ago() -> Timestamp {
    ago(DAY * 30)
}

/// So long before now.
pub(crate) fn ago(span: Duration) -> Timestamp {
    // Whole seconds: the rows are written without the nanoseconds that are left over.
    let now = SystemClock.now().as_microsecond() / 1_000_000;
    let then = u64::try_from(now).unwrap() - span.as_secs();
    Timestamp::UNIX_EPOCH.plus(Duration::from_secs(then))
}

/// So many records of all services, oldest first, evenly over three years; one in ten failed.
pub(crate) fn records(count: usize, timeline: Timeline) -> impl Iterator<Item = Record> {
    let (begin, step) = (ago(SPAN), SPAN / u32::try_from(count).unwrap());
    // One of each workload, of which the others differ in what a record cannot share.
    let workloads = SERVICES * TARGETS;
    let samples: Vec<Opening> = (0..workloads)
        .map(|n| sample(&format!("{}@target-{}", service(n), n / SERVICES), 1))
        .collect();
    (0..count).map(move |n| {
        // A step that shares no factor with the number of workloads mixes them.
        let mut new = samples[n * 7 % workloads].clone();
        new.opened_at = begin.plus(step * u32::try_from(n).unwrap());
        new.id = DeploymentId::generate(new.opened_at);
        if n % 17 == 0 {
            let to = new.id.clone();
            new.trigger = Trigger::Rollback { to };
        }
        // Spread over all services.
        let outcome = if (n / SERVICES).is_multiple_of(10) {
            Outcome::Failed
        } else {
            Outcome::Succeeded
        };
        let took = Duration::from_millis(20_000 + (n as u64 * 7_919) % 90_000);
        Record {
            settled_at: new.opened_at.plus(took),
            settlement: settlement(&new.id, outcome),
            events: events(&new, timeline),
            new,
        }
    })
}

/// What comes before the settlement.
pub(crate) fn events(new: &Opening, timeline: Timeline) -> Vec<TimedEvent> {
    let instance = || Instance::new(new.to.release().unwrap().clone(), Handle::new("place"));
    let evidence = || Evidence::default().with("container", "0123456789abcdef");
    let events = match timeline {
        Timeline::Ends => vec![Event::PrepareIntended],
        Timeline::Whole => vec![
            Event::PrepareIntended,
            Event::Prepared(Prepared::new(Rollout::Beside, instance())),
            Event::StartIntended,
            Event::Started(Started::new(evidence())),
            Event::SwitchIntended,
            Event::Switched {
                evidence: evidence(),
            },
            Event::Judged {
                site: Site::Live,
                verdict: Verdict::Passed,
                notes: Vec::new(),
            },
            Event::RetireIntended,
            Event::Retired,
        ],
    };
    let at = new.opened_at;
    events
        .into_iter()
        .map(|event| TimedEvent::new(at, event))
        .collect()
}

/// Writes records through the store's own verbs: for stores that have no other way in.
pub(crate) async fn through(store: &dyn HistoryStore, records: impl Iterator<Item = Record>) {
    for record in records {
        let state = store.workload(&record.new.workload).await.unwrap();
        let holder = Holder::this_process(record.new.opened_at);
        let begun = store.begin(&record.new, &holder, state.version).await;
        let lease = begun.unwrap().lease;
        let (events, end) = (&record.events, &record.settlement);
        let done = store.finish(&lease, events, end, record.settled_at, &Then::Release);
        done.await.unwrap();
    }
}

/// Writes records into a new file as plain rows, in one transaction that is not synced.
pub(crate) async fn sqlite(path: &Path, records: impl Iterator<Item = Record>) -> SqliteStore {
    drop(SqliteStore::open(path).await.unwrap());
    let mut connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;
             PRAGMA foreign_keys = OFF;",
        )
        .unwrap();
    let tx = connection.transaction().unwrap();
    let indexes = indexes(&tx);
    for (name, _) in &indexes {
        tx.execute_batch(&format!("DROP INDEX {name}")).unwrap();
    }
    for record in records {
        insert(&tx, &record);
    }
    // Sorted once, they are made in a fraction of the time.
    for (_, sql) in &indexes {
        tx.execute_batch(sql).unwrap();
    }
    tx.commit().unwrap();
    drop(connection);
    SqliteStore::open(path).await.unwrap()
}

/// Name and definition of each index, whatever they come to be.
fn indexes(tx: &Transaction<'_>) -> Vec<(String, String)> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL";
    let mut statement = tx.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn insert(tx: &Transaction<'_>, record: &Record) {
    let new = &record.new;
    let succeeded = record.settlement.outcome == Outcome::Succeeded;
    let took = record.settled_at.since(new.opened_at).as_millis();
    let header = serde_json::to_string(new).unwrap();
    let settled = TimedEvent::new(record.settled_at, Event::Settled(record.settlement.clone()));
    let sequence: i64 = tx
        .prepare_cached("SELECT coalesce(max(sequence), 0) + 1 FROM deployments")
        .unwrap()
        .query_row([], |row| row.get(0))
        .unwrap();
    // As the store's FORMAT.md has it.
    let mut seal = Sha256::digest(format!("record\n{sequence}\n{header}"));
    let mut events = Vec::new();
    for event in record.events.iter().chain([&settled]) {
        let body = serde_json::to_string(event).unwrap();
        let before = base16ct::lower::encode_string(&seal);
        seal = Sha256::digest(format!("{before}\n{body}"));
        events.push((event, body, seal));
    }
    let added = Sha256::digest(format!("annotations\n{}\n{{}}", new.id));
    tx.prepare_cached(
        "INSERT INTO deployments
           (sequence, id, workload, service, target, backend, trigger, actor, opened_us, opened_ns,
            header, outcome, verdict, settled_us, duration_ms, settled_epoch, seal,
            annotations_seal)
         VALUES (?13, ?1, ?2, ?3, ?4, ?5, ?6, 'ann', ?7, 0, ?8, ?9, ?10, ?11, ?12, 1, ?14, ?15)",
    )
    .unwrap()
    .execute(params![
        new.id.as_str(),
        new.workload.to_string(),
        new.workload.service().as_str(),
        new.workload.target().as_str(),
        new.backend().map(|b| b.as_str()),
        new.trigger.kind().as_str(),
        new.opened_at.as_microsecond(),
        header,
        record.settlement.outcome.as_str(),
        if succeeded { "passed" } else { "failed" },
        record.settled_at.as_microsecond(),
        i64::try_from(took).unwrap(),
        sequence,
        &seal[..],
        &added[..],
    ])
    .unwrap();
    for (name, value) in &new.labels {
        tx.prepare_cached("INSERT INTO labels (name, value, deployment) VALUES (?1, ?2, ?3)")
            .unwrap()
            .execute(params![name, value, sequence])
            .unwrap();
    }
    for (ordinal, (event, body, seal)) in events.iter().enumerate() {
        tx.prepare_cached(
            "INSERT INTO events (deployment, ordinal, at_us, name, body, seal)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .unwrap()
        .execute(params![
            sequence,
            i64::try_from(ordinal).unwrap(),
            event.at.as_microsecond(),
            event.event.name(),
            body,
            &seal[..],
        ])
        .unwrap();
    }
}
