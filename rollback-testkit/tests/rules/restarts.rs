//! Restart hooks: the last part of every switch, in either direction, and again when a switch is
//! repeated.

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::error::{HookError, StoreErrorKind};
use rollback_core::guard::Restart;
use rollback_core::prelude::*;
use rollback_testkit::fake::FakeTarget;
use rollback_testkit::faults::Side;

use crate::support::{Bench, Log, Setup, api, me, on_every_store};

/// Writes down what serves when it is asked to restart; fails for one release.
#[derive(Debug, Clone)]
struct Reload {
    log: Log,
    target: FakeTarget,
    fails: &'static str,
}

#[async_trait]
impl Restart for Reload {
    fn name(&self) -> String {
        "reload".into()
    }

    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn restart(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        let to = op.to.release().map(|r| r.artifact().digest.clone());
        assert_eq!(self.target.serving(), to, "after the switch, not before");
        let to = to.unwrap_or_else(|| "nothing".to_owned());
        self.log.say(&to);
        match to == self.fails {
            true => Err("no such process".into()),
            false => Ok(()),
        }
    }
}

fn reloading(setup: &Setup, fails: &'static str) -> (Bench, Log) {
    let log = Log::default();
    let reload = Reload {
        log: log.clone(),
        target: setup.target.clone(),
        fails,
    };
    (setup.with(|w| w.restart(reload)), log)
}

#[tokio::test]
async fn they_run_after_the_switch_forward_and_back() {
    on_every_store(async |setup| {
        let (b, log) = reloading(&setup, "v3");
        b.deploy("v1").await;
        b.deploy("v2").await;
        assert_eq!(log.take(), ["v1", "v2"]);
        let report = b.deploy("v3").await;
        assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
        let said = report.summary();
        assert!(
            said.contains("restart reload failed: no such process"),
            "{said}"
        );
        assert_eq!(
            log.take(),
            ["v3", "v2"],
            "and what is put back is restarted too"
        );
        b.back(Goal::LastHealthy).await.unwrap();
        assert_eq!(log.take(), ["v1"]);
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn they_run_again_when_the_process_died_before_the_switch_was_recorded() {
    on_every_store(async |setup| {
        let (b, log) = reloading(&setup, "");
        b.deploy("v1").await;
        log.take();
        // The writes: begin, prepare, prepared, switch; then `switched` is not written any more.
        setup.trap.set(5, Side::Before, StoreErrorKind::ReadOnly);
        let died = b.run(Request::deploy(api(), "v2", me())).await;
        died.unwrap_err();
        assert_eq!(log.take(), ["v2"]);
        let (b, log) = reloading(&setup, "");
        let recovered = b.engine.recover().await.unwrap();
        assert!(recovered[0].result.as_ref().unwrap().succeeded());
        assert_eq!(log.take(), ["v2"], "whether it ran, nobody could know");
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn they_run_again_when_the_process_died_on_the_way_back() {
    on_every_store(async |setup| {
        let (b, log) = reloading(&setup, "v2");
        b.deploy("v1").await;
        log.take();
        // As above, then going back, switch back; `switched back` is not written any more.
        setup.trap.set(7, Side::Before, StoreErrorKind::ReadOnly);
        let died = b.run(Request::deploy(api(), "v2", me())).await;
        died.unwrap_err();
        assert_eq!(log.take(), ["v2", "v1"]);
        let (b, log) = reloading(&setup, "v2");
        let recovered = b.engine.recover().await.unwrap();
        let report = recovered[0].result.as_ref().unwrap();
        assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
        assert_eq!(log.take(), ["v1"]);
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn once_the_switch_is_recorded_they_do_not_run_again() {
    on_every_store(async |setup| {
        let (b, log) = reloading(&setup, "");
        // `switched` was written, and nothing after it.
        setup.trap.set(5, Side::After, StoreErrorKind::ReadOnly);
        let died = b.run(Request::deploy(api(), "v1", me())).await;
        died.unwrap_err();
        log.take();
        let recovered = b.engine.recover().await.unwrap();
        assert!(recovered[0].result.as_ref().unwrap().succeeded());
        assert_eq!(log.take(), Vec::<String>::new());
        b.at_rest().await;
    })
    .await;
}
