//! Bisection: the first bad deployment between a good one and a bad one.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::bisect::Judgement;
use rollback_core::engine::{Bisect, Judge};
use rollback_core::error::ErrorKind;
use rollback_core::prelude::*;
use support::{Bench, me};

/// Deploys these, and gives their ids.
async fn deployed(b: &Bench, references: &[&str]) -> Vec<DeploymentId> {
    let mut ids = Vec::new();
    for reference in references {
        ids.push(b.deploy(reference).await.deployment().id().clone());
    }
    ids
}

fn between(b: &Bench, good: &DeploymentId, bad: &DeploymentId) -> Bisect {
    Bisect::new(b.api.clone(), good.clone(), bad.clone(), me())
}

/// Whose releases from `v5` on are bad; answers so many times.
#[derive(Debug, Clone)]
struct FromFive {
    asked: Arc<Mutex<Vec<String>>>,
    answers: usize,
}

impl FromFive {
    fn answering(answers: usize) -> Self {
        Self {
            asked: Arc::default(),
            answers,
        }
    }
}

#[async_trait]
impl Judge for FromFive {
    async fn judge(&self, tried: &Deployment) -> Result<Judgement, HookError> {
        let mut asked = self.asked.lock().unwrap();
        if asked.len() >= self.answers {
            return Err(HookError::new("nobody is at the terminal"));
        }
        let release = tried.release().unwrap().to_string();
        asked.push(release.clone());
        let number: u32 = release.trim_start_matches('v').parse().unwrap();
        Ok(match number {
            4 => Judgement::Untold,
            n if n < 5 => Judgement::Good,
            _ => Judgement::Bad,
        })
    }
}

const MANY: [&str; 9] = ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"];

#[tokio::test]
async fn the_first_that_fails_its_gate_is_found_and_it_ends_where_it_began() {
    let b = Bench::new();
    let ids = deployed(&b, &["v1", "v2", "v3", "sick4", "sick5", "sick6", "v7"]).await;
    let found = b
        .engine
        .bisect(&between(&b, &ids[0], &ids[5]))
        .await
        .unwrap();
    assert_eq!(found.last_good, ids[2]);
    assert_eq!(found.first_bad, [ids[3].clone()]);
    assert!(found.tried.len() <= 3, "{found:?}");
    assert_eq!(b.live(), "v7");
    // It is no change to undo.
    b.rollback(Goal::Undo).await.unwrap();
    assert_eq!(b.live(), "sick6");
}

#[tokio::test]
async fn it_ends_where_it_began_also_where_what_was_tried_is_rolled_back() {
    let b = Bench::armed();
    b.deploy("v1").await;
    let policy = Policy::default().rollback(RollbackMode::Record);
    b.engine
        .configure(&b.api, Some(&policy), &me())
        .await
        .unwrap();
    let ids = deployed(&b, &["v2", "v3", "sick4", "sick5", "v6", "v7"]).await;
    b.engine.configure(&b.api, None, &me()).await.unwrap();
    let found = b
        .engine
        .bisect(&between(&b, &ids[0], &ids[3]))
        .await
        .unwrap();
    assert_eq!(found.first_bad, [ids[2].clone()]);
    assert_eq!(b.live(), "v7");
}

#[tokio::test]
async fn a_judge_finds_what_no_gate_sees_and_what_cannot_be_told_is_said() {
    let b = Bench::new();
    let ids = deployed(&b, &MANY).await;
    let judge = FromFive::answering(9);
    let search = between(&b, &ids[0], &ids[8]).judged_by(judge.clone());
    let found = b.engine.bisect(&search).await.unwrap();
    assert_eq!(found.last_good, ids[2]);
    assert_eq!(found.first_bad, [ids[3].clone(), ids[4].clone()]);
    assert_eq!(b.live(), "v9");
    // Asked again, nothing is tried again.
    let asked = judge.asked.lock().unwrap().len();
    assert_eq!(b.engine.bisect(&search).await.unwrap(), found);
    assert_eq!(judge.asked.lock().unwrap().len(), asked);
}

#[tokio::test]
async fn a_search_that_stopped_goes_on_where_it_was() {
    let b = Bench::new();
    let ids = deployed(&b, &MANY).await;
    let first = FromFive::answering(2);
    let search = between(&b, &ids[0], &ids[8]).judged_by(first.clone());
    let e = b.engine.bisect(&search).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted);
    assert!(e.to_string().contains("goes on from there"), "{e}");
    let second = FromFive::answering(9);
    let search = between(&b, &ids[0], &ids[8]).judged_by(second.clone());
    let found = b.engine.bisect(&search).await.unwrap();
    assert_eq!(found.last_good, ids[2]);
    let (first, second) = (first.asked.lock().unwrap(), second.asked.lock().unwrap());
    assert!(
        first.iter().all(|asked| !second.contains(asked)),
        "{first:?} {second:?}"
    );
    assert_eq!(b.live(), "v9");
}

#[tokio::test]
async fn two_in_the_wrong_order_are_no_search() {
    let b = Bench::new();
    let ids = deployed(&b, &["v1", "v2"]).await;
    let e = b
        .engine
        .bisect(&between(&b, &ids[1], &ids[0]))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest);
    let together = b
        .engine
        .bisect(&between(&b, &ids[0], &ids[1]))
        .await
        .unwrap();
    assert_eq!(together.first_bad, [ids[1].clone()]);
    assert_eq!(b.live(), "v2");
}
