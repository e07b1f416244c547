//! The gate's soak and notes; remediations, and the breaker that lets them rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::engine::Report;
use rollback_core::error::{HookError, StoreErrorKind};
use rollback_core::guard::Remediation;
use rollback_core::policy::{Breaker, Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::faults::{ManualClock, ScriptedCheck, Side, Verb, VerbFault};

use crate::support::{Setup, api, me};

const MINUTE: i64 = 60 * 1_000_000;

/// Does nothing that helps, and counts.
#[derive(Debug, Clone, Default)]
struct Placebo(Arc<AtomicUsize>);

impl Placebo {
    fn tried(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Remediation for Placebo {
    fn name(&self) -> String {
        "placebo".into()
    }

    async fn attempt(&self, _: &Context, _: &Operation, _: &str) -> Result<String, HookError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok("gave it".into())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}

fn withheld(report: &Report) -> Option<String> {
    let events = report.deployment().events();
    events.iter().find_map(|e| match &e.event {
        Event::RemediationWithheld { name, why } => {
            assert_eq!(name, "placebo");
            Some(why.clone())
        }
        _ => None,
    })
}

#[tokio::test]
async fn remediations_rest_after_three_in_an_hour_and_the_timeline_says_so() {
    let (clock, placebo) = (ManualClock::default(), Placebo::default());
    let setup = Setup::new().await.clock(&clock);
    let b = setup.with(|w| w.remediation(placebo.clone()));
    b.deploy("v1").await;
    for n in 1..=3 {
        clock.set(n * 10 * MINUTE);
        let report = b.deploy(&format!("broken{n}")).await;
        assert_eq!(withheld(&report), None);
        let name = "placebo".to_owned();
        let events = report.deployment().events();
        let intended = Event::RemediationIntended { name };
        assert_eq!(events.iter().filter(|e| e.event == intended).count(), 1);
    }
    assert_eq!(placebo.tried(), 3);
    // A new process knows as much as the one before.
    clock.set(69 * MINUTE);
    let other = setup.with(|w| w.remediation(placebo.clone()));
    let why = withheld(&other.deploy("broken4").await).unwrap();
    assert!(
        why.contains("3 remediations") && why.contains("3600 s"),
        "{why}"
    );
    assert_eq!(placebo.tried(), 3);
    // The first is an hour ago.
    clock.set(70 * MINUTE);
    assert_eq!(withheld(&other.deploy("broken5").await), None);
    assert_eq!(placebo.tried(), 4);
    assert!(withheld(&other.deploy("broken6").await).is_some());
}

#[tokio::test]
async fn an_attempt_that_a_crash_cut_short_counts() {
    let (clock, placebo) = (ManualClock::default(), Placebo::default());
    let setup = Setup::new().await.clock(&clock);
    let breaker = Breaker::new(1, Duration::from_secs(60));
    let policy = Policy::default().breaker(breaker);
    let b = setup.with(|w| w.remediation(placebo.clone()).policy(policy));
    // The writes: begin, prepare, prepared, switch, switched, judged, diagnosed, remediation; then
    // it dies.
    setup.trap.set(9, Side::Before, StoreErrorKind::ReadOnly);
    let died = b.run(Request::deploy(api(), "broken1", me())).await;
    died.unwrap_err();
    assert_eq!(placebo.tried(), 1);
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.outcome(), Outcome::Failed);
    assert_eq!(placebo.tried(), 1, "not tried again after the crash");
    assert!(withheld(&b.deploy("broken2").await).is_some());
}

#[tokio::test]
async fn a_breaker_of_none_withholds_every_remediation() {
    let placebo = Placebo::default();
    let policy = Policy::default().breaker(Breaker::default().attempts(0));
    let setup = Setup::new().await;
    let b = setup.with(|w| w.remediation(placebo.clone()).policy(policy));
    assert!(withheld(&b.deploy("broken1").await).is_some());
    assert_eq!(placebo.tried(), 0);
}

fn soaking(retries: u32) -> Gate {
    Gate::default()
        .retries(retries)
        .interval(Duration::from_secs(1))
        .start_period(Duration::ZERO)
        .soak(Duration::from_secs(10))
}

#[tokio::test(start_paused = true)]
async fn a_release_has_to_stay_healthy_for_the_soak() {
    let setup = Setup::new().await;
    let b = setup.with(|w| w.gate(soaking(1)).check(ScriptedCheck::default()));
    let began = tokio::time::Instant::now();
    assert!(b.deploy("v1").await.succeeded());
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(10), "{took:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_while_it_soaks_is_unhealthy() {
    let setup = Setup::new().await;
    let script = [true, true, true, false];
    let b = setup.with(|w| w.gate(soaking(1)).check(ScriptedCheck::new(script)));
    let report = b.deploy("v1").await;
    assert!(report.verdict().is_failed(), "{:?}", report.verdict());
}

#[tokio::test(start_paused = true)]
async fn one_no_while_it_soaks_is_forgiven_and_retries_in_a_row_are_not() {
    let setup = Setup::new().await;
    for (script, good) in [
        (vec![true, false, true, false, true], true),
        (vec![true, false, false], false),
    ] {
        let check = ScriptedCheck::new(script.clone());
        let b = setup.with(|w| w.gate(soaking(2)).check(check));
        let report = b.deploy("v1").await;
        assert_eq!(report.verdict().is_good(), good, "{script:?}");
    }
}

/// Healthy, but by a lesser proof.
#[derive(Debug)]
struct Lesser;

#[async_trait]
impl HealthCheck for Lesser {
    fn name(&self) -> String {
        "GET /healthz".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        Ok(Healthy::noting("no such path; the port answers"))
    }
}

#[tokio::test]
async fn what_a_check_remarks_about_its_yes_is_recorded_and_seen() {
    let setup = Setup::new().await;
    let b = setup.with(|w| w.check(Lesser));
    let report = b.deploy("v1").await;
    assert!(report.succeeded());
    let notes = |e: &TimedEvent| match &e.event {
        Event::Judged { notes, .. } => Some(notes.clone()),
        _ => None,
    };
    let stored = b.engine.get(report.deployment().id()).await.unwrap();
    let notes: Vec<_> = stored.events().iter().filter_map(notes).collect();
    assert_eq!(notes, [["GET /healthz: no such path; the port answers"]]);
    let health = b.engine.health(&api()).await.unwrap();
    let (name, looked) = &health.checks[0];
    assert_eq!(name, "GET /healthz");
    let note = looked.as_ref().unwrap().note.as_deref();
    assert_eq!(note, Some("no such path; the port answers"));
}

#[tokio::test]
async fn short_records_do_not_hide_attempts_from_the_breaker() {
    let placebo = Placebo::default();
    let short = Keep::new(1, 0);
    let policy = Policy::default().retention(Retention::new(short, short));
    let setup = Setup::new().await;
    let b = setup.with(|w| w.remediation(placebo.clone()).policy(policy));
    b.deploy("v1").await;
    for n in 1..=5 {
        b.deploy(&format!("broken{n}")).await;
    }
    assert_eq!(placebo.tried(), 3, "3 an hour");
}

/// Says yes, and never lets go of what it was given: a look that was given up and hangs.
#[derive(Debug, Clone, Default)]
struct Clinging(Arc<std::sync::Mutex<Vec<Context>>>);

#[async_trait]
impl HealthCheck for Clinging {
    fn name(&self) -> String {
        "clinging".into()
    }

    async fn check(&self, cx: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        self.0.lock().unwrap().push(cx.clone());
        Ok(Healthy::yes())
    }
}

#[tokio::test]
async fn a_look_that_never_ended_kept_the_lease_of_what_was_settled() {
    crate::support::on_every_store(async |setup| {
        let clinging = Clinging::default();
        let b = setup.with(|w| w.check(clinging.clone()));
        assert!(b.deploy("v1").await.succeeded());
        assert!(b.deploy("v2").await.succeeded());
        assert!(clinging.0.lock().unwrap().len() >= 2);
    })
    .await;
}

#[tokio::test]
async fn what_was_seen_of_a_failed_release_went_away_with_it() {
    let setup = Setup::new().await;
    let b = setup.armed();
    b.deploy("v1").await;
    let report = b.deploy("broken2").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let seen = report.diagnosis().expect("it was looked at");
    assert!(seen.attempts.iter().any(|a| a.saw.contains("answers 500")));
    assert_eq!(
        seen.platform.facts["runs"], "true",
        "nothing had stopped it"
    );
    assert_eq!(seen.platform.log, ["broken2 starts", "broken2 is sick"]);
    let stored = b.engine.get(report.deployment().id()).await.unwrap();
    assert_eq!(stored.diagnosis(), Some(seen));
    // Right after the verdict: nothing has touched it yet.
    let names: Vec<_> = stored.events().iter().map(|e| e.event.name()).collect();
    let at = names.iter().position(|name| *name == "diagnosed").unwrap();
    assert_eq!(names[at - 1], "judged");
    // What is healthy is not diagnosed.
    assert_eq!(b.deploy("v3").await.diagnosis(), None);
    b.at_rest().await;
}

#[tokio::test]
async fn what_was_asked_to_run_nowhere_failed_because_a_check_found_nobody() {
    let nobody = ScriptedCheck::new([false; 9]);
    let setup = Setup::new().await;
    let b = setup.with(|w| w.check(nobody).auto_rollback());
    let report = b.deploy("idle1").await;
    assert_eq!(report.outcome(), Outcome::Succeeded);
    assert_eq!(*report.deployment().verdict(), Verdict::Unknown);
    let now = b.engine.health(&api()).await.unwrap();
    assert_eq!(now.verdict(), Verdict::Unknown, "{now:?}");
    assert_eq!(now.platform, View::Idle("scaled to none".into()));
    b.at_rest().await;
}

#[tokio::test]
async fn a_platform_that_has_no_words_is_in_nobodys_way() {
    let setup = Setup::new().await;
    let b = setup.armed();
    b.deploy("v1").await;
    setup.verbs.set(VerbFault {
        verb: Verb::Diagnose,
        nth: 1,
        more: 0,
        side: Side::Before,
        kind: BackendErrorKind::Failed,
    });
    let report = b.deploy("broken2").await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let seen = report.diagnosis().unwrap();
    assert!(seen.platform.facts["not_known"].contains("injected"));
    assert!(!seen.attempts.is_empty());
    b.at_rest().await;
}
