//! [`Seen`]: all that a store shows, to be compared.

use rollback_core::deployment::Outcome;
use rollback_core::history::{HistoryReader, Query};

/// All that a store shows of its workloads and records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// What is so: the same again after a repetition.
    pub(super) what: Vec<String>,
    /// Versions, epochs and places in the order, which a repetition moves.
    numbers: Vec<u64>,
}

impl Seen {
    /// Looks at everything, and in every way that there is.
    pub(super) async fn of(store: &dyn HistoryReader) -> Self {
        let (mut what, mut numbers) = (Vec::new(), Vec::new());
        for state in store.workloads().await.unwrap().states {
            numbers.push(state.version.0);
            let in_flight = state.in_flight.map(|f| {
                numbers.push(f.epoch.0);
                (f.deployment, f.liveness)
            });
            what.push(format!(
                "{}: {:?} live, {in_flight:?} in flight, {:?}, {:?}",
                state.workload, state.live, state.hold, state.policy
            ));
        }
        let page = store.list(&Query::default().limit(1_000)).await.unwrap();
        assert_eq!(page.unreadable, []);
        for record in &page.deployments {
            numbers.push(record.sequence().0);
            let (new, events) = (record.opening(), record.events());
            what.push(format!("{new:?} {events:?} {:?}", record.annotations()));
            // The record itself says what the list says of it.
            let same = store.get(record.id()).await.unwrap();
            assert_eq!(same.as_ref(), Some(record));
            let outcome = record.outcome();
            assert_eq!(
                found_by(store, outcome, record.id().as_str()).await,
                outcome.is_some()
            );
        }
        let stats = store.stats(&Query::default()).await.unwrap();
        what.push(format!("{stats:?}"));
        Self { what, numbers }
    }
}

/// Whether a query for this outcome finds a record: what an index knows is what the record says.
async fn found_by(store: &dyn HistoryReader, outcome: Option<Outcome>, id: &str) -> bool {
    if outcome.is_none() {
        return false;
    }
    let mut query = Query::default();
    query.outcome = outcome;
    let page = store.list(&query).await.unwrap();
    page.deployments.iter().any(|d| d.id().as_str() == id)
}
