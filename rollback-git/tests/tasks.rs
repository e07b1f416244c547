//! Release tasks, which build in the directory that is about to go live.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rollback_core::backend::{Live, Operation};
use rollback_core::context::Context;
use rollback_core::deployment::{Outcome, TriggerKind};
use rollback_core::drift::drift;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::HookError;
use rollback_core::guard::ReleaseTask;
use rollback_core::id::Actor;
use rollback_core::memory::MemoryStore;
use rollback_core::request::Request;
use support::GitWorld;

/// Builds; or fails when half of it is done.
#[derive(Debug)]
struct Build {
    releases: PathBuf,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl ReleaseTask for Build {
    fn name(&self) -> String {
        "build".to_owned()
    }

    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn run(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        let handle = &op.to.instance().unwrap().handle;
        let built = self.releases.join(handle.as_str()).join("built.txt");
        let fails = self.fails.load(Ordering::SeqCst);
        fs::write(built, if fails { "half" } else { "whole" }).unwrap();
        match fails {
            true => Err("the registry does not answer".into()),
            false => Ok(()),
        }
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_task_that_failed_spoiled_what_was_live() {
    let w = GitWorld::new();
    let fails = Arc::new(AtomicBool::new(false));
    let task = Build {
        releases: w.root().join("releases"),
        fails: Arc::clone(&fails),
    };
    let site = w.workload.clone();
    let store = MemoryStore::new();
    let engine = RollbackEngine::builder(store.clone())
        .workload(Workload::new(w.git()).task(task))
        .build()
        .unwrap();
    let me = || Actor::user("me").unwrap();
    let built = || fs::read_to_string(w.root().join("current/built.txt")).unwrap();
    let deploy = async |reference: &str| {
        let running = engine.deploy(&site, reference, me()).await.unwrap();
        running.await.unwrap().deployment().clone()
    };
    let first = deploy("v1").await;
    assert_eq!(first.outcome(), Some(Outcome::Succeeded));
    assert_eq!(built(), "whole");

    // The same once more, as a pipeline does.
    fails.store(true, Ordering::SeqCst);
    let second = deploy("v1").await;
    assert_eq!(second.outcome(), Some(Outcome::Failed));
    assert_eq!(built(), "whole", "what is live was built upon");
    let seen = rollback_core::backend::Backend::observe(&w.git(), &support::cx())
        .await
        .unwrap();
    assert!(matches!(seen.live, Live::One(_)), "{seen:?}");
    assert!(!drift(first.instance(), &seen).is_drift(), "{seen:?}");

    fails.store(false, Ordering::SeqCst);
    let third = deploy("v1").await;
    assert_eq!(third.outcome(), Some(Outcome::Succeeded));
    assert_ne!(third.instance(), first.instance(), "built aside");
    assert_eq!(built(), "whole");

    // A plan that a program without tasks has made, as an earlier version might.
    let other = RollbackEngine::builder(store)
        .workload(Workload::new(w.git()))
        .build()
        .unwrap();
    let request = Request::deploy(site.clone(), "v1", me());
    let plan = other.preview(&request).await.unwrap();
    fails.store(true, Ordering::SeqCst);
    let fourth = engine.execute(plan).await.unwrap().await.unwrap();
    assert_eq!(fourth.deployment().outcome(), Some(Outcome::Failed));
    assert_eq!(built(), "whole", "by a plan of somebody else's");
}
