//! Reads of a long history, of whatever store: how they grow with it, and against each other.

use std::path::Path;
use std::sync::Arc;

use rollback_core::deployment::{Deployment, Opening, Outcome};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryReader, HistoryStore, Query, Sequence};
use serde::{Deserialize, Serialize};

use crate::figure::{Figure, Unit, clocked, compare, timed};
use crate::seed::{self, Record};

/// A store under measurement, and what it is called in figures.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn HistoryStore>,
}

/// One of the services, its deployments of the last thirty days.
fn month() -> Query {
    let mut query = Query::default();
    query.service = seed::service(3).parse().ok();
    query.since = Some(seed::month_ago());
    query
}

/// The newest page of a long history, against that of a short one.
pub(crate) async fn newest(long: &Subject, short: &Subject, sizes: [&str; 2]) -> Figure {
    let list = async |subject: &Subject| {
        let query = Query::default();
        let (time, page) = timed(subject.store.list(&query)).await;
        assert_eq!(page.unwrap().deployments.len(), 50);
        time
    };
    let list = &list;
    let figure = compare(
        format!(
            "{}: newest 50 of {} records, against the same of {}",
            long.name, sizes[0], sizes[1]
        ),
        Unit::Micros,
        400,
        |_| list(long),
        |_| list(short),
    );
    figure.await.at_most("2")
}

/// The newest page of one store, against that of another with the same records.
pub(crate) async fn newest_against(ours: &Subject, other: &Subject, size: &str) -> Figure {
    let list = async |subject: &Subject| {
        let (time, page) = timed(subject.store.list(&Query::default())).await;
        assert_eq!(page.unwrap().deployments.len(), 50);
        time
    };
    let list = &list;
    compare(
        format!(
            "{}: newest 50 of {size} records, against {}'s",
            ours.name, other.name
        ),
        Unit::Micros,
        200,
        |_| list(ours),
        |_| list(other),
    )
    .await
}

/// Counts over a month of one service, against a page.
pub(crate) async fn stats(long: &Subject, size: &str) -> Figure {
    let (query, everything) = (&month(), &Query::default());
    let figure = compare(
        format!(
            "{}: stats of 30 days of 1 service in {size} records, against newest 50",
            long.name
        ),
        Unit::Micros,
        200,
        |_| async move {
            let (time, stats) = timed(long.store.stats(query)).await;
            assert!(stats.unwrap().total > 100);
            time
        },
        |_| async move { timed(long.store.list(everything)).await.0 },
    );
    figure.await.at_most("10")
}

/// A record as one file, as programs without a store keep it.
#[derive(Serialize, Deserialize)]
struct Kept {
    header: Opening,
    events: Vec<TimedEvent>,
}

/// Keeps records as one JSON file each; says how many there are.
pub(crate) fn keep_as_files(records: impl Iterator<Item = Record>, dir: &Path) -> usize {
    std::fs::create_dir_all(dir).unwrap();
    let mut files = 0;
    for record in records {
        let mut events = record.events;
        events.push(TimedEvent::new(
            record.settled_at,
            Event::Settled(record.settlement),
        ));
        let path = dir.join(format!("{}.json", record.new.id));
        let header = record.new;
        let json = serde_json::to_vec(&Kept { header, events }).unwrap();
        std::fs::write(path, json).unwrap();
        files += 1;
    }
    files
}

/// The failures of one service: a handful of any thousand records.
pub(crate) fn few() -> Query {
    let mut query = many();
    query.outcome = Some(Outcome::Failed);
    query
}

/// All of one service: a whole page of a thousand records.
pub(crate) fn many() -> Query {
    let mut query = Query::default();
    query.service = seed::service(0).parse().ok();
    query
}

/// All files read, parsed and filtered, against the store's list of the same records by the same
/// filter.
pub(crate) async fn filtered(
    subject: &Subject,
    query: &Query,
    (dir, files): (&Path, usize),
) -> Figure {
    let wanted = subject.store.list(query).await.unwrap().deployments.len();
    assert!(wanted > 0, "the filter finds nothing");
    compare(
        format!(
            "{files} JSON files read, parsed and filtered, against {}'s list ({wanted} found)",
            subject.name
        ),
        Unit::Micros,
        60,
        |_| async move {
            let mut found = 0;
            let time = clocked(|| found = parse_all(dir, query));
            assert_eq!(found, wanted);
            time
        },
        |_| async move {
            let (time, page) = timed(subject.store.list(query)).await;
            assert_eq!(page.unwrap().deployments.len(), wanted);
            time
        },
    )
    .await
}

fn parse_all(dir: &Path, query: &Query) -> usize {
    let files = std::fs::read_dir(dir).unwrap();
    let records = files.map(|entry| {
        let json = std::fs::read(entry.unwrap().path()).unwrap();
        let kept: Kept = serde_json::from_slice(&json).unwrap();
        Deployment::replay(kept.header, Sequence(0), kept.events, Default::default()).unwrap()
    });
    records.filter(|d| query.matches(d)).count()
}
