//! Several real processes on one store: killed, stopped, and racing. For stores in files.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryReader, HistoryStore, Liveness, Version};
use rollback_core::id::DeploymentId;
use rustix::process::Signal;

use super::other::{Other, listen, say};
use super::sample::{at, holder, sample};

/// How a process opens the store.
#[async_trait]
pub trait Open: Copy + Send + Sync {
    /// Opens the store at a place, a file or a directory that may not exist yet.
    async fn open(&self, place: &Path) -> Arc<dyn HistoryStore>;
}

const ROLE: &str = "ROLLBACK_STORE_TEST_PLACE";

fn step(n: u64) -> TimedEvent {
    let decision = format!("step {n}");
    TimedEvent::new(at(n), Event::TakenOver { decision, by: None })
}

/// What a child process does: it begins, says so, and appends for ever, saying each number after
/// the store has acknowledged it. Does nothing in a process that is no child.
///
/// To be called from a test of the name `child`, for the others start their own executable.
pub async fn child(open: impl Open) {
    let Some(path) = std::env::var_os(ROLE) else {
        return;
    };
    let store = open.open(Path::new(&path)).await;
    say("ready");
    listen();
    let new = sample("api@web-1", 0);
    match store.begin(&new, &holder(), Version(0)).await {
        Err(e) => say(&format!("{:?}", e.kind())),
        Ok(begun) => {
            say(new.id.as_str());
            for n in 0.. {
                store.append(&begun.lease, &[step(n)]).await.unwrap();
                say(&n.to_string());
            }
        }
    }
}

/// A case with a process that is killed while it appends; it counts what was acknowledged.
pub async fn what_a_killed_process_was_acknowledged_is_kept_and_its_deployment_taken_over(
    open: impl Open,
) {
    for wanted in [1, 25] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut other = Other::spawn(ROLE, path.as_os_str());
        other.go();
        let id: DeploymentId = other.hear().unwrap().parse().unwrap();
        let mut acknowledged = 0;
        while let Some(n) = other.hear() {
            acknowledged = n.parse::<u64>().unwrap() + 1;
            if acknowledged == wanted {
                other.signal(Signal::KILL);
            }
        }
        assert!(acknowledged >= wanted);
        other.wait();
        let store = open.open(&path).await;
        let record = store.get(&id).await.unwrap().unwrap();
        // One more may have been stored and not been said.
        let stored = record.events().len() as u64;
        assert!((acknowledged..=acknowledged + 1).contains(&stored));
        assert!(record.events().iter().cloned().eq((0..stored).map(step)));
        let state = store.workload(record.workload()).await.unwrap();
        let in_flight = state.in_flight.unwrap();
        assert_eq!(in_flight.liveness, Liveness::Dead);
        assert_eq!(in_flight.holder.pid, other.id());
        let lease = store.take_over(record.workload(), &holder()).await.unwrap();
        assert!(lease.epoch() > in_flight.epoch);
        store.append(&lease, &[step(stored)]).await.unwrap();
    }
}

/// A case with a process that is stopped, which is no death, and then killed.
pub async fn a_stopped_process_is_alive_and_is_not_taken_over(open: impl Open) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history");
    let mut other = Other::spawn(ROLE, path.as_os_str());
    other.go();
    let id: DeploymentId = other.hear().unwrap().parse().unwrap();
    other.hear().unwrap();
    let store = open.open(&path).await;
    other.signal(Signal::STOP);
    let new = sample("api@web-1", 1);
    let error = store.begin(&new, &holder(), Version(1)).await.unwrap_err();
    let conflict = error.conflict().unwrap();
    assert_eq!(conflict.liveness, Liveness::Alive);
    assert_eq!(
        (&conflict.deployment, conflict.holder.pid),
        (&id, other.id())
    );
    let error = store.take_over(&new.workload, &holder()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    other.signal(Signal::KILL);
    other.wait();
    store.take_over(&new.workload, &holder()).await.unwrap();
}

/// A case with two processes that are let go at the same instant.
pub async fn of_two_processes_that_begin_at_once_one_wins() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut both = [
            Other::spawn(ROLE, path.as_os_str()),
            Other::spawn(ROLE, path.as_os_str()),
        ];
        for other in &mut both {
            other.go();
        }
        let said: Vec<_> = both.iter_mut().map(|o| o.hear().unwrap()).collect();
        let won = said.iter().filter(|s| s.starts_with("deploy-")).count();
        let lost = said.iter().filter(|s| *s == "Conflict").count();
        assert_eq!((won, lost), (1, 1), "{said:?}");
    }
}
