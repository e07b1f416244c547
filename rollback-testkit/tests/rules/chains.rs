//! What an error and those behind it say, they say once.

use std::error::Error as _;

use async_trait::async_trait;
use rollback_core::error::{HookError, StoreErrorKind};
use rollback_core::guard::ReleaseTask;
use rollback_core::prelude::*;
use rollback_testkit::faults::{Side, Verb, VerbFault};

use crate::support::{Bench, Setup, api, id, me, text, to};

/// No error's text has that of the one that caused it in it.
fn says_once(e: &Error) {
    let mut said = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let text = e.to_string();
        assert!(!said.contains(&text), "{said:?} repeats {text:?}");
        (said, cause) = (text, e.source());
    }
}

fn breaks(b: &Bench, verb: Verb, kind: BackendErrorKind) {
    b.setup.verbs.set(VerbFault {
        verb,
        nth: 1,
        more: usize::MAX,
        side: Side::Before,
        kind,
    });
}

#[tokio::test]
async fn what_the_backend_said_was_said_twice() {
    let b = Setup::new().await.engine();
    b.deploy("v1").await;
    let missing = b.engine.deploy(&api(), "missing", me()).await.unwrap_err();
    assert!(missing.backend_error().is_some(), "{missing:?}");
    says_once(&missing);
    breaks(&b, Verb::Observe, BackendErrorKind::Unreachable);
    says_once(&b.engine.deploy(&api(), "v2", me()).await.unwrap_err());
    says_once(&b.engine.adopt(&api(), me()).await.unwrap_err());
}

#[tokio::test]
async fn what_the_store_said_was_said_twice() {
    let b = Setup::new().await.engine();
    b.setup.trap.set(1, Side::Before, StoreErrorKind::Full);
    let not_begun = b.engine.deploy(&api(), "v1", me()).await.unwrap_err();
    assert_eq!(not_begun.kind(), ErrorKind::Store(StoreErrorKind::Full));
    says_once(&not_begun);
    // An event, and the end: what the engine has to add, it says in a sentence of its own.
    for nth in [2, 7] {
        b.setup.trap.set(nth, Side::Before, StoreErrorKind::Corrupt);
        let request = Request::deploy(api(), format!("v{nth}"), me());
        let stopped = b.run(request).await.unwrap_err();
        assert!(!b.setup.trap.is_set(), "{nth}");
        assert_eq!(stopped.kind(), ErrorKind::Store(StoreErrorKind::Corrupt));
        assert!(stopped.subject().is_some() && stopped.advised().is_some());
        assert!(stopped.source().is_some() && stopped.store_error().is_some());
        says_once(&stopped);
        b.engine.recover().await.unwrap();
    }
    let unknown: DeploymentId = "deploy-20200101-000000-abcd".parse().unwrap();
    says_once(&b.engine.attach(&unknown, me()).await.unwrap_err());
    says_once(&b.engine.cancel(&unknown, &me()).await.unwrap_err());
    let nothing = b.engine.abandon(&api(), text("stuck"), me()).await;
    let nothing = nothing.unwrap_err();
    assert_eq!(nothing.advised(), Some("nothing has to be given up"));
    says_once(&nothing);
}

#[tokio::test]
async fn what_a_rule_said_was_said_twice() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    for refused in [
        b.back(to(&v1)).await.unwrap_err(),
        b.back(Goal::LastHealthy).await.unwrap_err(),
        b.engine.adopt(&api(), me()).await.unwrap_err(),
        b.engine.state(&id("web@fake")).await.unwrap_err(),
    ] {
        says_once(&refused);
    }
    let mut policy = Policy::default();
    policy.deadlines.switch = std::time::Duration::ZERO;
    let no_policy = b.engine.configure(&api(), Some(&policy), &me()).await;
    says_once(&no_policy.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn recovery_said_twice_why_it_could_not_look() {
    let b = Setup::new().await.engine();
    b.setup.trap.set(2, Side::Before, StoreErrorKind::Corrupt);
    let request = Request::deploy(api(), "v1", me());
    b.run(request).await.unwrap_err();
    breaks(&b, Verb::Observe, BackendErrorKind::Denied);
    let recovered = b.engine.recover().await.unwrap();
    let e = recovered[0].result.as_ref().unwrap_err();
    assert!(e.backend_error().is_some(), "{e:?}");
    says_once(e);
    let told = serde_json::to_value(&recovered[0]).unwrap();
    assert!(told["error"].as_str().unwrap().contains("; cause: "));
}

/// Asks whether it may go on, and hands back what it was told.
#[derive(Debug)]
struct Asks;

#[async_trait]
impl ReleaseTask for Asks {
    fn name(&self) -> String {
        "asks".into()
    }

    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn run(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        let away = BackendError::new(BackendErrorKind::Failed, "the database is away");
        let refused = std::io::Error::other("connection refused");
        Err(away.because(refused).into())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_hook_that_asked_a_platform_said_two_things_of_what_is_live() {
    let b = Setup::new().await.with(|w| w.task(Asks));
    let failed = b.deploy("v1").await;
    let cause = failed.deployment().cause().unwrap().to_string();
    assert_eq!(cause.matches("live release").count(), 1, "{cause}");
    assert_eq!(cause.matches("connection refused").count(), 1, "{cause}");
}
