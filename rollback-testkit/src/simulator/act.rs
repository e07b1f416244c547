//! What processes do: the act of a scenario, and what every machine does after one.

use std::future::IntoFuture;

use rollback_core::engine::{Recovered, Report, RollbackEngine};
use rollback_core::error::Error;
use rollback_core::history::Query;
use rollback_core::policy::{Keep, Retention};
use rollback_core::request::Goal;

use super::process::{Composed, api, me};
use super::scenario::{By, Release, Verb};

/// How an act ended.
#[derive(Debug)]
pub(super) enum Ended {
    Report(Box<Report>),
    CleanedUp,
    Recovered(Vec<Recovered>),
    Failed(Error),
}

impl From<Result<Report, Error>> for Ended {
    fn from(result: Result<Report, Error>) -> Self {
        match result {
            Ok(report) => Self::Report(Box::new(report)),
            Err(e) => Self::Failed(e),
        }
    }
}

/// What is done before the act.
pub(super) async fn base(engine: RollbackEngine, verb: Verb) -> Result<(), Error> {
    let deployed: &[&str] = match verb {
        Verb::FirstDeploy | Verb::Adopt => &[],
        Verb::Rollback | Verb::Redeploy => &["v1", "v2"],
        Verb::CleanUp => &["v1", "v2", "v3"],
        _ => &["v1"],
    };
    for reference in deployed {
        deploy(&engine, reference).await?;
    }
    Ok(())
}

/// Deploys a reference, whatever comes of it.
pub(super) async fn deploy(engine: &RollbackEngine, reference: &str) -> Result<Report, Error> {
    engine.deploy(&api(), reference, me()).await?.await
}

/// Adopts what is live.
pub(super) async fn adopted(engine: &RollbackEngine) -> Result<Report, Error> {
    engine.adopt(&api(), me()).await?.await
}

/// Does what the scenario is about, to its end.
pub(super) async fn act(composed: Composed, verb: Verb, release: Release) -> Ended {
    let engine = composed.engine();
    match verb {
        Verb::FirstDeploy | Verb::Deploy => deploy(&engine, release.reference()).await.into(),
        Verb::DeployAgain => deploy(&engine, "v1").await.into(),
        Verb::Rollback => back(&engine).await.into(),
        Verb::Redeploy => again(&engine).await.into(),
        Verb::Cancel(event, by) => cancelled(engine, composed, release, event, by).await.into(),
        Verb::Adopt | Verb::AdoptDrifted => adopted(&engine).await.into(),
        Verb::CleanUp => {
            let none = Keep::new(0, 0);
            let rules = Retention::new(none, none);
            match engine.clean_up(&api(), Some(rules), &me()).await {
                Ok(_) => Ended::CleanedUp,
                Err(e) => Ended::Failed(e),
            }
        }
    }
}

/// Recovers what dead processes left.
pub(super) async fn recover(engine: RollbackEngine) -> Ended {
    match engine.recover().await {
        Ok(recovered) => Ended::Recovered(recovered),
        Err(e) => Ended::Failed(e),
    }
}

async fn back(engine: &RollbackEngine) -> Result<Report, Error> {
    engine.rollback(&api(), Goal::Previous, me()).await?.await
}

async fn again(engine: &RollbackEngine) -> Result<Report, Error> {
    let mut records = engine.list(&Query::workload(&api())).await?;
    let oldest = records.deployments.pop().expect("a record");
    engine.redeploy(oldest.id(), me()).await?.await
}

/// A deployment that is cancelled once this event is durable.
async fn cancelled(
    engine: RollbackEngine,
    composed: Composed,
    release: Release,
    event: &'static str,
    by: By,
) -> Result<Report, Error> {
    let mut notices = engine.subscribe();
    let run = engine.deploy(&api(), release.reference(), me()).await?;
    let canceller = async {
        while let Ok(notice) = notices.recv().await {
            if notice.event.is_some_and(|e| e.event.name() == event) {
                let from = match by {
                    By::Itself => engine.clone(),
                    By::Another => composed.engine(),
                };
                // One that has just ended is in flight no more.
                let _ = from.cancel(&notice.deployment, &me()).await;
                break;
            }
        }
        std::future::pending::<Result<Report, Error>>().await
    };
    tokio::select! {
        biased;
        report = run.into_future() => report,
        never = canceller => never,
    }
}
