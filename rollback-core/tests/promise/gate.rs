//! A gate that says "not yet", and what it notes.

use std::time::Duration;

use async_trait::async_trait;
use rollback_core::prelude::*;

use crate::support::Bench;

#[tokio::test(start_paused = true)]
async fn a_platform_that_could_not_tell_yet_failed_the_gate() {
    let b = Bench::new();
    // Longer than the start period, all retries, and one look's deadline.
    b.shelf.0.lock().unwrap().not_yet = 60;
    assert!(b.deploy("v1").await.succeeded());
    // And what is hopeless is not waited for.
    let began = tokio::time::Instant::now();
    assert_eq!(b.deploy("sick-v2").await.outcome(), Outcome::Failed);
    assert!(began.elapsed() < Duration::from_secs(1));
    // What can never tell is not waited for longer than the gate is open.
    b.shelf.0.lock().unwrap().not_yet = usize::MAX;
    let report = b.deploy("v3").await;
    let verdict = report.verdict().to_string();
    assert!(
        verdict.contains("before the deadline: it starts"),
        "{verdict}"
    );
}

/// An edge that is down.
#[derive(Debug)]
struct Down;

#[async_trait]
impl HealthCheck for Down {
    fn name(&self) -> String {
        "edge-1".into()
    }
    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        Err(Unhealthy::new("connection refused"))
    }
}

#[derive(Debug)]
struct Up;

#[async_trait]
impl HealthCheck for Up {
    fn name(&self) -> String {
        "edge-2".into()
    }
    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        Ok(Healthy::yes())
    }
}

#[tokio::test]
async fn a_failing_edge_among_several_left_no_note() {
    let b = Bench::with(|w| w.check(Down).check(Up));
    let report = b.deploy("v1").await;
    assert!(report.succeeded());
    let notes = report
        .deployment()
        .events()
        .iter()
        .find_map(|e| match &e.event {
            Event::Judged { notes, .. } => Some(notes.clone()),
            _ => None,
        });
    assert_eq!(notes.unwrap(), ["edge-1: connection refused"]);
}
